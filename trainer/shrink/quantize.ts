import type { Engine, TensorData } from '../../models/engine/engine.ts';
import { type CalibrationMethod, Histogram, methodName } from '../../models/quantize/calibration.ts';
import {
  calibrationGraph,
  DEFAULT_QUANTIZATION,
  mergeRange,
  type QuantizationOptions,
  quantizableWeights,
  quantize,
  type Range,
} from '../../models/quantize/int8.ts';
import type { Graph } from '../../models/trace/graph.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';

/** Inputs of one run of a graph. */
export type Feeds = Readonly<Record<string, TensorData>>;

/** Ranges of a graph's activations, by their names. */
type Ranges = ReadonlyMap<string, Range>;

const MINMAX: CalibrationMethod = { kind: 'minmax' };

/**
 * Static ranges of all activations that int8 needs, by every method asked for, from one pass over the calibration windows, and a second one
 * for histograms where a method needs them.
 *
 * @returns in the order of `methods`
 */
export async function calibrate(
  engine: Engine,
  graph: Graph,
  feeds: readonly Feeds[],
  methods: readonly CalibrationMethod[] = [MINMAX],
): Promise<Ranges[]> {
  const whole = new Map<string, Range>();
  const scalars = calibrationGraph(graph);
  await runAll(engine, scalars.graph, feeds, (results) => {
    const bound = (end: string, name: string) => (results[`${end}:${name}`].values as Float32Array)[0];
    for (const name of scalars.activations)
      whole.set(name, mergeRange(whole.get(name), { min: bound('min', name), max: bound('max', name) }));
  });
  if (methods.every(({ kind }) => kind === 'minmax')) return methods.map(() => whole);
  const histograms = new Map([...whole].map(([name, range]) => [name, new Histogram(range)]));
  await runAll(engine, calibrationGraph(graph, 'values').graph, feeds, (results) => {
    for (const [name, histogram] of histograms) histogram.add(results[`values:${name}`].values as Float32Array);
  });
  return methods.map((method) =>
    method.kind === 'minmax' ? whole : new Map([...histograms].map(([name, histogram]) => [name, histogram.range(method)])),
  );
}

async function runAll(
  engine: Engine,
  graph: Graph,
  feeds: readonly Feeds[],
  read: (results: Record<string, TensorData>) => void,
): Promise<void> {
  const session = await engine.load({ graph: encodeOnnx(graph) });
  try {
    for (const batch of feeds) read(await session.run(batch));
  } finally {
    await session.release();
  }
}

/** Feeds of `count` windows in batches. */
export function feedBatches(feedsOf: (from: number, count: number) => Feeds, count: number, batch = 64): Feeds[] {
  return Array.from({ length: Math.ceil(count / batch) }, (_, index) => feedsOf(index * batch, Math.min(batch, count - index * batch)));
}

/** Runs calibration windows through a float graph and rewrites it to int8, all of it and unmeasured. */
export async function quantizeCalibrated(
  engine: Engine,
  graph: Graph,
  feeds: readonly Feeds[],
  options: QuantizationOptions = DEFAULT_QUANTIZATION,
): Promise<Graph> {
  const [ranges] = await calibrate(engine, graph, feeds);
  return quantize(graph, ranges, options);
}

/** Labelled windows on which int8 is held against float. */
export interface QuantizationCheck {
  readonly feeds: readonly Feeds[];
  /** Class of every window of all feeds, in their order. */
  readonly labels: ArrayLike<number>;
}

export interface MeasuredQuantizationOptions {
  readonly weightBits: QuantizationOptions['weightBits'];
  readonly sparsity: number;
  /** All are tried; of those that hold, the one that stays closest to float is taken. */
  readonly methods: readonly CalibrationMethod[];
  /** Accuracy that may be lost, a share of the windows. */
  readonly allowed: number;
  /** Largest mean |difference| of a logit from float, as a share of the logits' standard deviation. */
  readonly allowedDifference: number;
}

const DEFAULT_MEASURED_QUANTIZATION: MeasuredQuantizationOptions = {
  weightBits: 7,
  sparsity: 0,
  methods: [MINMAX, { kind: 'percentile', percentile: 99.9 }, { kind: 'percentile', percentile: 99.99 }, { kind: 'entropy' }],
  allowed: 0.003,
  allowedDifference: 0.05,
};

/** How far a graph's answers lie from those of float, on the check's windows. */
export interface QuantizationLoss {
  /** Accuracy of float less that of int8; below 0 where int8 does better. */
  readonly accuracy: number;
  /** Mean |difference| of a logit, as a share of the float logits' standard deviation. */
  readonly difference: number;
  /** Mean Kullback-Leibler divergence of the probabilities, KL(float || int8), nats. */
  readonly divergence: number;
}

export interface MeasuredQuantization {
  readonly graph: Graph;
  /** Names of the weights that stayed in float32. */
  readonly kept: readonly string[];
  readonly method: CalibrationMethod;
  readonly loss: QuantizationLoss;
  /** Of all methods tried, with everything in int8; names as {@link methodName} gives them. */
  readonly tried: readonly { readonly method: string; readonly loss: QuantizationLoss }[];
  /** What {@link quantizeWeights} needs to give the adaptation graph the very same weights. */
  readonly options: QuantizationOptions;
}

/**
 * Static int8 that is held against float: everything is quantised, by the calibration method that stays closest to float of those that
 * hold; where none does, weights go back to float32 one after the other, the most harmful first (each measured alone in int8, all others in
 * float), until it holds.
 *
 * A window's answer depends on that window alone: all ranges are constants of the graph.
 *
 * @param graph float, with the outputs `logits` and `probabilities`
 * @param calibration feeds of training windows
 * @param check windows of the validation part
 * @throws Error where there are no windows to calibrate or to check with
 */
export async function quantizeMeasured(
  engine: Engine,
  graph: Graph,
  calibration: readonly Feeds[],
  check: QuantizationCheck,
  given: Partial<MeasuredQuantizationOptions> = {},
): Promise<MeasuredQuantization> {
  const settings = { ...DEFAULT_MEASURED_QUANTIZATION, ...given };
  const { weightBits, sparsity, methods, allowed, allowedDifference } = settings;
  if (calibration.length === 0 || check.labels.length === 0) throw new Error('int8 needs windows to calibrate and to check with');
  const weights = quantizableWeights(graph);
  const float = await answersOf(engine, graph, check);
  const candidates = await calibrate(engine, graph, calibration, methods);
  const attempt = async (ranges: Ranges, keep: readonly string[]) => {
    const options: QuantizationOptions = { weightBits, sparsity, keep };
    const made = quantize(graph, ranges, options);
    return { graph: made, options, loss: lossOf(float, await answersOf(engine, made, check), check.labels) };
  };
  const whole = [];
  for (const [index, ranges] of candidates.entries()) whole.push({ method: methods[index], ranges, ...(await attempt(ranges, [])) });
  const holds = ({ loss }: { loss: QuantizationLoss }) => loss.accuracy <= allowed && loss.difference <= allowedDifference;
  const holding = whole.filter(holds);
  const best = (holding.length > 0 ? holding : whole).reduce((a, b) => (b.loss.divergence < a.loss.divergence ? b : a));

  let made: Awaited<ReturnType<typeof attempt>> = best;
  const kept: string[] = [];
  if (!holds(made)) {
    const effects: { name: string; divergence: number }[] = [];
    for (const name of weights) {
      const { loss } = await attempt(
        best.ranges,
        weights.filter((other) => other !== name),
      );
      effects.push({ name, divergence: loss.divergence });
    }
    effects.sort((a, b) => b.divergence - a.divergence);
    while (!holds(made) && kept.length < weights.length) {
      kept.push(effects[kept.length].name);
      made = await attempt(best.ranges, kept.slice());
    }
  }
  const tried = whole.map(({ method, loss }) => ({ method: methodName(method), loss }));
  return { graph: made.graph, kept, method: best.method, loss: made.loss, tried, options: made.options };
}

/** Both [windows, classes]. */
interface Answers {
  readonly logits: Float32Array;
  readonly probabilities: Float32Array;
}

async function answersOf(engine: Engine, graph: Graph, { feeds, labels }: QuantizationCheck): Promise<Answers> {
  const rows: Record<keyof Answers, number[]> = { logits: [], probabilities: [] };
  await runAll(engine, graph, feeds, (results) => {
    for (const name of ['logits', 'probabilities'] as const) for (const value of results[name].values) rows[name].push(Number(value));
  });
  if (rows.logits.length % labels.length !== 0) throw new Error(`${labels.length} labels for ${rows.logits.length} logits`);
  return { logits: Float32Array.from(rows.logits), probabilities: Float32Array.from(rows.probabilities) };
}

function lossOf(float: Answers, int8: Answers, labels: ArrayLike<number>): QuantizationLoss {
  const classes = float.logits.length / labels.length;
  const mean = float.logits.reduce((sum, value) => sum + value, 0) / float.logits.length;
  let [lost, difference, square, divergence] = [0, 0, 0, 0];
  for (let row = 0; row < labels.length; row++) {
    const [from, to] = [row * classes, (row + 1) * classes];
    const right = ({ logits }: Answers) => (largestAt(logits.subarray(from, to)) === labels[row] ? 1 : 0);
    lost += right(float) - right(int8);
    for (let at = from; at < to; at++) {
      difference += Math.abs(float.logits[at] - int8.logits[at]);
      square += (float.logits[at] - mean) ** 2;
      const [p, q] = [float.probabilities[at], Math.max(int8.probabilities[at], 1e-12)];
      if (p > 0) divergence += p * Math.log(p / q);
    }
  }
  const deviation = Math.sqrt(square / float.logits.length);
  return {
    accuracy: lost / labels.length,
    difference: difference / float.logits.length / Math.max(deviation, 1e-12),
    divergence: divergence / labels.length,
  };
}

function largestAt(values: Float32Array): number {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index] > values[best]) best = index;
  return best;
}
