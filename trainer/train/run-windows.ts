import { type Engine, emptyTensor, floatTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import { featureCount } from '../../models/networks/front-end.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { Network } from '../../models/networks/network.ts';
import { Random } from '../../models/networks/random.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceFrontEnd } from '../../models/training/trace-inference.ts';
import { traceForward } from '../../models/training/trace-training.ts';
import type { Windows } from '../data/windows.ts';
import { joinRows, pickWindows } from '../evaluate/sampling.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { bankOfMeans, subtractReferences, tokenMeans } from './reference-bank.ts';

/** Windows a run. */
const BATCH = 64;

/** Windows whose features are in memory at a time where only what comes of them is wanted. */
const PART = 2048;

function* partsOf(windows: Windows): Generator<Windows> {
  for (let from = 0; from < windows.count; from += PART) {
    const count = Math.min(PART, windows.count - from);
    yield pickWindows(
      windows,
      Array.from({ length: count }, (_, row) => from + row),
    );
  }
}

/** Windows through a graph in batches: one output's rows, [count, width]. */
export async function runWindows(
  engine: Engine,
  graph: Uint8Array,
  windows: Windows,
  [window, channels]: readonly [number, number],
  output: string,
): Promise<Float32Array> {
  const session = await engine.load({ graph });
  let rows = new Float32Array(0);
  const size = window * channels;
  for (let from = 0; from < windows.count; from += BATCH) {
    const count = Math.min(BATCH, windows.count - from);
    const feeds: Record<string, TensorData> = {
      window: floatTensor(windows.samples.subarray(from * size, (from + count) * size), [count, window, channels]),
      scale: floatTensor(new Float32Array(count * channels).fill(1), [count, channels]),
    };
    const made = (await session.run(feeds))[output].values as Float32Array;
    if (from === 0) rows = new Float32Array((made.length / count) * windows.count);
    rows.set(made, from * (made.length / count));
  }
  await session.release();
  return rows;
}

/** Mean and inverse deviation of every feature over the windows, as the network's statistics; tokens of one kind share theirs. */
export async function measureStatistics(engine: Engine, network: Network, windows: Windows): Promise<Float32Array> {
  const { window, channels } = network.frontEnd;
  const graph = encodeOnnx(traceFrontEnd(network, 'float32'));
  const sums = network.parts.map(({ width }) => ({ sum: new Float64Array(width), square: new Float64Array(width) }));
  for (const part of partsOf(windows)) {
    const features = await runWindows(engine, graph, part, [window, channels], 'features');
    let at = 0;
    for (let row = 0; row < part.count; row++) {
      for (const [index, { tokens, width }] of network.parts.entries()) {
        const { sum, square } = sums[index];
        for (let column = 0; column < tokens * width; column++) {
          const value = features[at++];
          sum[column % width] += value;
          square[column % width] += value * value;
        }
      }
    }
  }
  const statistics = network.statistics.initialize(new Random(0));
  for (const [index, { kind, tokens, width }] of network.parts.entries()) {
    const mean = network.statistics.view(statistics, `${kind}.mean`);
    const inverse = network.statistics.view(statistics, `${kind}.inverseDeviation`);
    const { sum, square } = sums[index];
    const count = windows.count * tokens;
    for (let column = 0; column < width; column++) {
      mean[column] = sum[column] / count;
      const variance = Math.max(0, square[column] / count - (sum[column] / count) ** 2);
      // A feature that never changed says nothing; without the floor its first change would drown all others.
      inverse[column] = 1 / Math.max(Math.sqrt(variance), 1e-2);
    }
  }
  return statistics;
}

/**
 * Standardised features of windows as a network is given them, [count, F]: where it takes references, each less its machine's.
 *
 * @throws Error where it takes references and the windows know of none
 */
export async function standardizedFeatures(
  engine: Engine,
  network: Network,
  statistics: Float32Array,
  windows: Windows,
): Promise<Float32Array> {
  const { window, channels } = network.frontEnd;
  const frontEnd = encodeOnnx(traceFrontEnd(network, 'float32', statistics));
  const featuresOf = (some: Windows) => runWindows(engine, frontEnd, some, [window, channels], 'features');
  const features = await featuresOf(windows);
  if (!network.reference || windows.count === 0) return features;
  if (!windows.commissioning) throw new Error('the network takes references, and these windows know of none');
  const { machines, references } = windows.commissioning;
  const means = tokenMeans(await featuresOf(references), network.parts, references.count);
  return subtractReferences(features, network.parts, machines, bankOfMeans(means, references.commissioning!.machines));
}

/** Logits and embeddings of windows through a float network, [count, classes] and [count, E]. */
export async function runNetwork(
  engine: Engine,
  { options, weights }: TrainedNetwork,
  windows: Windows,
): Promise<{ logits: Float32Array; embeddings: Float32Array }> {
  const network = createNetwork(options);
  const runner = await FeatureRunner.create(engine, network, weights.statistics);
  const [logits, embeddings]: [Float32Array[], Float32Array[]] = [[], []];
  for (const part of partsOf(windows)) {
    const made = await runner.run(weights.parameters, await standardizedFeatures(engine, network, weights.statistics, part), part.count);
    logits.push(made.logits);
    embeddings.push(made.embeddings);
  }
  await runner.release();
  return { logits: joinRows(logits), embeddings: joinRows(embeddings) };
}

/** Runs a network on features that were made once, with whatever parameters it has just now. */
export class FeatureRunner {
  readonly #session: Session;
  readonly #width: number;

  private constructor(session: Session, width: number) {
    this.#session = session;
    this.#width = width;
  }

  static async create(engine: Engine, network: Network, statistics: Float32Array): Promise<FeatureRunner> {
    const graph = traceForward(network, { batch: BATCH, input: 'features', featureMask: false }, { statistics });
    return new FeatureRunner(await engine.load({ graph: encodeOnnx(graph) }), featureCount(network.parts));
  }

  /** features: standardised, [count, F] -> logits [count, classes], embeddings [count, E] */
  async run(parameters: Float32Array, features: Float32Array, count: number): Promise<{ logits: Float32Array; embeddings: Float32Array }> {
    const trainable = floatTensor(parameters, [parameters.length]);
    const padded = emptyTensor('float32', [BATCH, this.#width]);
    const [logits, embeddings]: [Float32Array[], Float32Array[]] = [[], []];
    for (let from = 0; from < count; from += BATCH) {
      const rows = Math.min(BATCH, count - from);
      (padded.values as Float32Array).set(features.subarray(from * this.#width, (from + rows) * this.#width));
      const made = await this.#session.run({ trainable, features: padded });
      const taken = ({ values }: TensorData) => (values as Float32Array).slice(0, (rows * values.length) / BATCH);
      logits.push(taken(made.logits));
      embeddings.push(taken(made.embedding));
    }
    return { logits: joinRows(logits), embeddings: joinRows(embeddings) };
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}
