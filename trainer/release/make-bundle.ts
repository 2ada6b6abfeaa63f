import { adapterLayout } from '../../models/adapters/adapter.ts';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import { answerBank, type Bundle, type BundleDescription, baseDigest, FILES, writeBundle } from '../../models/bundle/bundle.ts';
import { FORMAT_VERSION, type Manifest } from '../../models/bundle/schema/manifest.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { WeightFile } from '../../models/bundle/schema/weight-file.ts';
import { type Engine, emptyTensor, floatTensor, type TensorData } from '../../models/engine/engine.ts';
import type { NetworkOptions } from '../../models/networks/index.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { Network } from '../../models/networks/network.ts';
import { Random } from '../../models/networks/random.ts';
import { calibrationGraph, mergeRange, quantizableWeights, quantize, quantizeWeights, type Range } from '../../models/quantize/int8.ts';
import type { Graph } from '../../models/trace/graph.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceFrontEnd, traceInference } from '../../models/training/trace-inference.ts';
import { type NetworkWeights, type TrainingOptions, traceTrainingStep } from '../../models/training/trace-training.ts';
import type { Recording } from '../data/recording-set.ts';
import { cutWindows, type Windows } from '../data/windows.ts';
import type { Metrics } from '../evaluate/metrics.ts';
import { runWindows } from '../train/train-network.ts';

/** Windows of one step of the adaptation graph: 48 of the machine, 24 for replay. */
export const ADAPT_BATCH = 72;
const CALIBRATION_WINDOWS = 512;
const KNOWN_ANSWERS = 3;
/** Replay windows of each class. */
const REPLAY_WINDOWS = 6;
/** Largest difference of a logit between engines: they add floats in other orders, and now and then an activation rounds the other way. */
const ANSWER_TOLERANCE = 0.05;

export interface TrainedNetwork {
  readonly options: NetworkOptions;
  readonly weights: NetworkWeights;
}

export interface BundleRequest {
  readonly name: string;
  readonly classes: readonly string[];
  readonly recipe: Manifest['recipe'];
  readonly primary: TrainedNetwork;
  readonly backup?: TrainedNetwork;
  readonly adapter: AdapterScheme;
  readonly temperature: number;
  readonly lineage: Manifest['lineage'];
  readonly version: string;
}

/** int16 codes with one scale a window and channel, as a device sends them: [count, window, channels] and [count, channels]. */
export function encodeWindows(windows: Windows, channels: number): { codes: Int16Array; scales: Float32Array } {
  const size = windows.samples.length / windows.count;
  const codes = new Int16Array(windows.samples.length);
  const scales = new Float32Array(windows.count * channels);
  for (let row = 0; row < windows.count; row++) {
    for (let channel = 0; channel < channels; channel++) {
      let largest = 1e-9;
      for (let at = row * size + channel; at < (row + 1) * size; at += channels) largest = Math.max(largest, Math.abs(windows.samples[at]));
      const scale = Math.fround(largest / 32_767);
      scales[row * channels + channel] = scale;
      for (let at = row * size + channel; at < (row + 1) * size; at += channels) codes[at] = Math.round(windows.samples[at] / scale);
    }
  }
  return { codes, scales };
}

/** Feeds of the deciding graph for some windows, all with row `adapter` of the bank. */
export function inferenceFeeds(
  windows: Windows,
  { window, channels }: { window: number; channels: number },
  bank: TensorData,
  adapter: number,
  [from, count]: readonly [number, number] = [0, windows.count],
): Record<string, TensorData> {
  const { codes, scales } = encodeWindows(windows, channels);
  const size = window * channels;
  return {
    window: { type: 'int16', shape: [count, window, channels], values: codes.subarray(from * size, (from + count) * size) },
    scale: floatTensor(scales.subarray(from * channels, (from + count) * channels), [count, channels]),
    adapterBank: bank,
    adapterIndex: { type: 'int32', shape: [count], values: new Int32Array(count).fill(adapter) },
  };
}

/** Some windows of every class, spread evenly over those that there are. */
export function spreadWindows(windows: Windows, perClass: number, size: number): Windows {
  const rows: number[] = [];
  const classes = windows.labels.reduce((largest, label) => Math.max(largest, label), 0) + 1;
  for (let label = 0; label < classes; label++) {
    const own = Array.from(windows.labels.keys()).filter((row) => windows.labels[row] === label);
    const count = Math.min(perClass, own.length);
    for (let index = 0; index < count; index++) rows.push(own[Math.floor(((index + 0.5) * own.length) / count)]);
  }
  const samples = new Float32Array(rows.length * size);
  rows.forEach((row, index) => {
    samples.set(windows.samples.subarray(row * size, (row + 1) * size), index * size);
  });
  return {
    samples,
    labels: Int32Array.from(rows, (row) => windows.labels[row]),
    recordings: Int32Array.from(rows, (row) => windows.recordings[row]),
    count: rows.length,
  };
}

/** Runs calibration windows through a float graph and rewrites it to int8. */
export async function quantizeCalibrated(
  engine: Engine,
  graph: Graph,
  feedsOf: (from: number, count: number) => Record<string, TensorData>,
  count: number,
): Promise<Graph> {
  const calibration = calibrationGraph(graph);
  const session = await engine.load({ graph: encodeOnnx(calibration.graph) });
  const ranges = new Map<string, Range>();
  for (let from = 0; from < count; from += 64) {
    const results = await session.run(feedsOf(from, Math.min(64, count - from)));
    for (const name of calibration.activations) {
      const [min, max] = ['min', 'max'].map((kind) => (results[`${kind}:${name}`].values as Float32Array)[0]);
      ranges.set(name, mergeRange(ranges.get(name), { min, max }));
    }
  }
  await session.release();
  return quantize(graph, ranges);
}

/**
 * Makes the deciding graph (int8), the back-up's, the adaptation step and the front end from trained networks, with one weight file for
 * all, and writes the bundle.
 *
 * @param train recordings for calibration, replay windows and known answers
 * @param measure called with the finished deciding graph's model before anything is written; its metrics go into the manifest
 */
export async function makeBundle(
  folder: string,
  engine: Engine,
  request: BundleRequest,
  train: readonly Recording[],
  measure: (probabilities: (windows: Windows) => Promise<Float32Array>) => Promise<Metrics>,
): Promise<Bundle> {
  const { primary, backup, adapter, classes, recipe, temperature } = request;
  const network = createNetwork(primary.options);
  const { window } = recipe;
  const channels = recipe.channels.length;
  const shape = { window, channels };
  const size = window * channels;
  const layout = adapterLayout(adapter, network);
  const cut = cutWindows(train, classes, window, recipe.stride);
  const calibration = spreadWindows(cut, Math.ceil(CALIBRATION_WINDOWS / classes.length), size);
  const zeroBank = emptyTensor('float32', [1, layout.size]);
  const feeds = inferenceFeeds(calibration, shape, zeroBank, 0);
  const slice = (from: number, count: number): Record<string, TensorData> => ({
    window: {
      ...feeds.window,
      shape: [count, window, channels],
      values: feeds.window.values.subarray(from * size, (from + count) * size) as Int16Array,
    },
    scale: floatTensor(feeds.scale.values.subarray(from * channels, (from + count) * channels) as Float32Array, [count, channels]),
    adapterBank: zeroBank,
    adapterIndex: { type: 'int32', shape: [count], values: new Int32Array(count) },
  });
  const decide = (trained: TrainedNetwork, own: Network, scheme: AdapterScheme | undefined) =>
    quantizeCalibrated(
      engine,
      traceInference(own, { input: 'int16', adapter: scheme, reference: false, temperature }, trained.weights),
      slice,
      calibration.count,
    );

  const float = traceInference(network, { input: 'int16', adapter, reference: false, temperature }, primary.weights);
  const infer = await decide(primary, network, adapter);
  const adapt = quantizeWeights(traceTrainingStep(network, adaptTraining(adapter), primary.weights), quantizableWeights(float));
  const features = traceFrontEnd(network, 'int16', primary.weights.statistics);
  const graphs: [string, Graph][] = [[FILES.infer, infer]];
  if (backup) graphs.push([FILES.backup, await decide(backup, createNetwork(backup.options), undefined)]);
  const file = new WeightFile(FILES.weights);
  for (const [, graph] of [...graphs, [FILES.adapt, adapt], [FILES.features, features]] as [string, Graph][]) file.take(graph);
  const weights = new Map([[FILES.weights as string, file.bytes()]]);
  const core = new Map([...graphs.map(([name, graph]): [string, Uint8Array] => [name, encodeOnnx(graph)]), ...weights]);

  const base = baseDigest(core);
  const trained = layout.initialize(new Random(request.lineage.seed));
  core.set(FILES.adapter, encodeAdapter(adapter, network, trained, base));
  const session = await engine.load({ graph: core.get(FILES.infer)!, files: weights });
  const probabilities = async (windows: Windows) => {
    const all = new Float32Array(windows.count * classes.length);
    for (let from = 0; from < windows.count; from += 64) {
      const count = Math.min(64, windows.count - from);
      const part: Windows = { ...windows, samples: windows.samples.subarray(from * size, (from + count) * size), count };
      all.set((await session.run(inferenceFeeds(part, shape, zeroBank, 0))).probabilities.values as Float32Array, from * classes.length);
    }
    return all;
  };
  const { accuracy, balancedAccuracy, macroF1, windows } = await measure(probabilities);
  core.set(FILES.answers, await knownAnswers(session, spreadWindows(cut, 1, size), shape, answerBank(layout.size)));
  await session.release();

  const adaptPart = new Map([
    [FILES.adapt as string, encodeOnnx(adapt)],
    [FILES.features as string, encodeOnnx(features)],
    [FILES.replay as string, await replayWindows(engine, network, primary.weights, spreadWindows(cut, REPLAY_WINDOWS, size))],
  ]);
  const description: BundleDescription = {
    formatVersion: FORMAT_VERSION,
    name: request.name,
    recipe,
    classes: [...classes],
    network: primary.options as Manifest['network'],
    ...(backup && { backup: backup.options as Manifest['network'] }),
    adapter: adapter as Manifest['adapter'],
    adapterTensors: layout.parameters.map(({ name, shape: dims }) => ({ name, shape: [...dims] })),
    temperature,
    answers: { count: KNOWN_ANSWERS, tolerance: ANSWER_TOLERANCE },
    lineage: request.lineage,
    measured: { accuracy, balancedAccuracy, macroF1, windows },
    runtime: { tremolo: request.version, operators: [...new Set(graphs.flatMap(([, graph]) => graph.nodes.map(({ op }) => op)))].sort() },
  };
  return writeBundle(folder, description, { core, adapt: adaptPart });
}

/** The training step that a bundle carries: an adapter on features, on the frozen int8 base. */
export function adaptTraining(adapter: AdapterScheme): TrainingOptions {
  return { batch: ADAPT_BATCH, input: 'features', adapter, dropout: false, featureMask: false, distillation: false };
}

/** An adapter as safetensors, with the base that it belongs to. flat: as trained, [P] */
export function encodeAdapter(scheme: AdapterScheme, network: Network, flat: Float32Array, base: string): Uint8Array {
  const { parameters } = adapterLayout(scheme, network);
  const tensors = Object.fromEntries(
    parameters.map(({ name, shape, offset, size }) => [name, floatTensor(flat.subarray(offset, offset + size), shape)]),
  );
  return encodeSafetensors({ tensors, metadata: { base, scheme: JSON.stringify(scheme) } });
}

/** Inputs of the deciding graph with the logits it gives, half of them through the default adapter. */
async function knownAnswers(
  session: { run(feeds: Record<string, TensorData>): Promise<Record<string, TensorData>> },
  windows: Windows,
  shape: { window: number; channels: number },
  bank: TensorData,
): Promise<Uint8Array> {
  const count = Math.min(KNOWN_ANSWERS, windows.count);
  const feeds = inferenceFeeds(windows, shape, bank, 0, [0, count]);
  (feeds.adapterIndex.values as Int32Array).forEach((_, row, all) => {
    all[row] = row % 2;
  });
  const { logits } = await session.run(feeds);
  const { window, scale, adapterIndex } = feeds;
  return encodeSafetensors({ tensors: { window, scale, adapterIndex, logits }, metadata: {} });
}

/** Standardised features of known windows with their labels, so that a gateway does not forget while it adapts. */
async function replayWindows(engine: Engine, network: Network, weights: NetworkWeights, windows: Windows): Promise<Uint8Array> {
  const { window, channels } = network.frontEnd;
  const values = await runWindows(
    engine,
    encodeOnnx(traceFrontEnd(network, 'float32', weights.statistics)),
    windows,
    [window, channels],
    'features',
  );
  return encodeSafetensors({
    tensors: {
      features: floatTensor(values, [windows.count, values.length / windows.count]),
      labels: { type: 'int32', shape: [windows.count], values: windows.labels },
    },
    metadata: {},
  });
}
