import type { Engine, TensorData } from '../../models/engine/engine.ts';
import { emptyTensor, floatTensor } from '../../models/engine/engine.ts';
import type { AttentionNetworkOptions } from '../../models/networks/attention-network.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { ParameterLayout } from '../../models/networks/parameters.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceGradient } from '../../models/training/trace-training.ts';
import type { TrainedNetwork } from '../release/base.ts';

/** How much is left of an attention network. */
export interface PruningPlan {
  /** Heads of every layer. */
  readonly heads: number;
  /** Hidden units of every feed-forward layer. */
  readonly feedForward: number;
  /** 64 keeps every second one of the half-overlapping frames that hop 32 makes. */
  readonly hop: number;
}

/** Importance of every head and every feed-forward unit, one array a layer; 0 or more. */
export interface UnitImportance {
  readonly heads: readonly Float64Array[];
  readonly units: readonly Float64Array[];
}

/**
 * Plans by falling strength for the student's shape (8 heads, 96 units, hop 32): a pipeline tries the first, and takes the next where too much
 * accuracy is lost. Times as fast as the unpruned student, batch 64, one thread: 1.5, 1.2. Half the frames (hop 64) would be 1.8 times as fast with
 * { heads: 6, feedForward: 64 }; on a load that training never saw it lost 0.3 points, where these lose 0.1.
 */
export const PRUNING_LADDER: readonly PruningPlan[] = [
  { heads: 4, feedForward: 48, hop: 32 },
  { heads: 6, feedForward: 64, hop: 32 },
];

/** Where a parameter's numbers belong: to heads or feed-forward units, by column or by row. */
interface Grouping {
  readonly kind: keyof UnitImportance;
  readonly axis: 'row' | 'column';
}

const GROUPINGS: readonly [ending: string, Grouping][] = [
  ...['q.weight', 'q.bias', 'k.weight', 'v.weight', 'v.bias'].map((name): [string, Grouping] => [
    `attention.${name}`,
    { kind: 'heads', axis: 'column' },
  ]),
  ['attention.o.weight', { kind: 'heads', axis: 'row' }],
  ['ffn.in.weight', { kind: 'units', axis: 'column' }],
  ['ffn.in.bias', { kind: 'units', axis: 'column' }],
  ['ffn.out.weight', { kind: 'units', axis: 'row' }],
];

function groupingOf(name: string): (Grouping & { layer: number }) | undefined {
  const [, layer, rest] = /^layer(\d+)\.(.*)$/.exec(name) ?? [];
  const found = GROUPINGS.find(([ending]) => ending === rest);
  return found && { ...found[1], layer: Number(layer) };
}

/** A bias is a matrix of one row. */
function matrixShape(shape: readonly number[]): readonly [rows: number, columns: number] {
  return shape.length === 2 ? [shape[0], shape[1]] : [1, shape[0]];
}

function attentionOptions({ options }: TrainedNetwork): AttentionNetworkOptions {
  if (options.kind !== 'attention') throw new Error(`a network of kind ${options.kind} has no heads to prune`);
  return options;
}

/** Adds |sum of weight * gradient| over each unit's parameters to its importance. */
function accumulateTaylor(
  layout: ParameterLayout,
  { headDepth }: AttentionNetworkOptions,
  weights: Float32Array,
  gradient: Float32Array,
  importance: UnitImportance,
): void {
  const sums = {
    heads: importance.heads.map(({ length }) => new Float64Array(length)),
    units: importance.units.map(({ length }) => new Float64Array(length)),
  };
  for (const { name, shape, offset, size } of layout.parameters) {
    const grouping = groupingOf(name);
    if (!grouping) continue;
    const [, columns] = matrixShape(shape);
    const depth = grouping.kind === 'heads' ? headDepth : 1;
    const sum = sums[grouping.kind][grouping.layer];
    for (let index = 0; index < size; index++) {
      const place = grouping.axis === 'column' ? index % columns : Math.floor(index / columns);
      sum[Math.floor(place / depth)] += weights[offset + index] * gradient[offset + index];
    }
  }
  for (const kind of ['heads', 'units'] as const) {
    importance[kind].forEach((into, layer) => {
      for (let unit = 0; unit < into.length; unit++) into[unit] += Math.abs(sums[kind][layer][unit]);
    });
  }
}

/**
 * How much the loss would change if a head or a feed-forward unit went, to first order: |sum over its parameters of weight * gradient|
 * (Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", whose groups these are), summed over batches. Batches that
 * are small tell more: over many samples the gradient of a trained network vanishes.
 *
 * It tells well what can go without recovery (cwru12, load 0 unseen, half of all units: .991 against .935 for a random half), and little
 * that 100 steps of recovery would not repair (.9987 and .9993).
 *
 * @param batches feeds as `BatchSampler.next` makes them, all of one size; each is read before the next is asked for
 * @throws Error where the network has no heads, or there is no batch
 */
export async function unitImportance(
  engine: Engine,
  trained: TrainedNetwork,
  batches: Iterable<Readonly<Record<string, TensorData>>>,
): Promise<UnitImportance> {
  const options = attentionOptions(trained);
  const network = createNetwork(options);
  const { size } = network.parameters;
  const zeros = (count: number) => Array.from({ length: options.layers }, () => new Float64Array(count));
  const importance: UnitImportance = { heads: zeros(options.heads), units: zeros(options.feedForward) };
  const constant = { trainable: floatTensor(trained.weights.parameters, [size]), accumulated: emptyTensor('float32', [size]) };
  let session: Awaited<ReturnType<Engine['load']>> | undefined;
  for (const feeds of batches) {
    if (!session) {
      const training = {
        batch: feeds.target.shape[0],
        input: 'windows',
        dropout: 'dropoutMask' in feeds,
        featureMask: 'featureMask' in feeds,
        distillation: false,
      } as const;
      session = await engine.load({ graph: encodeOnnx(traceGradient(network, training, trained.weights)) });
    }
    const { gradient } = await session.run({ ...feeds, ...constant });
    accumulateTaylor(network.parameters, options, trained.weights.parameters, gradient.values as Float32Array, importance);
  }
  if (!session) throw new Error('the importance of units needs at least one batch');
  await session.release();
  return importance;
}

/** The `count` most important, in their old order; equal ones by their place. */
function mostImportant(importance: Float64Array, count: number): number[] {
  const order = Array.from(importance.keys()).sort((a, b) => importance[b] - importance[a] || a - b);
  return order.slice(0, count).sort((a, b) => a - b);
}

/** Rows of `positions` that stay: all, or without those of every second frame. */
function keptPositions(before: AttentionNetworkOptions, hop: number): number[] {
  const kept = [0];
  let at = 1;
  for (const { kind, tokens } of createNetwork(before).parts) {
    const step = kind === 'frames' ? hop / before.hop : 1;
    for (let token = 0; token < tokens; token += step) kept.push(at + token);
    at += tokens;
  }
  return kept;
}

function refuseImpossible(before: AttentionNetworkOptions, { heads, feedForward, hop }: PruningPlan): void {
  const within = (count: number, most: number) => Number.isInteger(count) && count >= 1 && count <= most;
  if (!within(heads, before.heads)) throw new RangeError(`${heads} heads out of ${before.heads}`);
  if (!within(feedForward, before.feedForward)) throw new RangeError(`${feedForward} feed-forward units out of ${before.feedForward}`);
  if (hop !== before.hop && hop !== 2 * before.hop) throw new RangeError(`hop ${hop} out of ${before.hop}`);
}

/**
 * A smaller network of the same kind: whole heads, feed-forward units and frame tokens gone, the weights of those that stay copied bit by
 * bit. The same count goes from every layer, so that the options still describe the network. It needs some steps of training to recover.
 *
 * @throws RangeError where the plan asks for more than there is; Error where the network has no heads
 */
export function pruneNetwork(trained: TrainedNetwork, importance: UnitImportance, plan: PruningPlan): TrainedNetwork {
  const before = attentionOptions(trained);
  refuseImpossible(before, plan);
  const options: AttentionNetworkOptions = { ...before, heads: plan.heads, feedForward: plan.feedForward, hop: plan.hop };
  const [from, to] = [createNetwork(before).parameters, createNetwork(options).parameters];
  const { headDepth } = before;
  const heads = importance.heads.map((layer) =>
    mostImportant(layer, plan.heads).flatMap((head) => Array.from({ length: headDepth }, (_, index) => head * headDepth + index)),
  );
  const units = importance.units.map((layer) => mostImportant(layer, plan.feedForward));
  const positions = keptPositions(before, plan.hop);
  const all = (count: number) => Array.from({ length: count }, (_, index) => index);

  const parameters = new Float32Array(to.size);
  for (const { name, shape } of from.parameters) {
    const [rows, columns] = matrixShape(shape);
    const grouping = groupingOf(name);
    const kept = grouping && { heads, units }[grouping.kind][grouping.layer];
    const keptRows = name === 'positions' ? positions : grouping?.axis === 'row' ? kept! : all(rows);
    const keptColumns = grouping?.axis === 'column' ? kept! : all(columns);
    const source = from.view(trained.weights.parameters, name);
    const into = to.view(parameters, name);
    let at = 0;
    for (const row of keptRows) for (const column of keptColumns) into[at++] = source[row * columns + column];
  }
  return { options, weights: { parameters, statistics: trained.weights.statistics.slice() } };
}
