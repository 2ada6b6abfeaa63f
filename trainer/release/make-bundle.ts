import { adapterLayout } from '../../models/adapters/adapter.ts';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import { answerBank, type Bundle, type BundleDescription, baseDigest, FILES, writeBundle } from '../../models/bundle/bundle.ts';
import { FORMAT_VERSION, type Manifest } from '../../models/bundle/schema/manifest.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { WeightFile } from '../../models/bundle/schema/weight-file.ts';
import { type Engine, emptyTensor, floatTensor, type Model, type Session, type TensorData } from '../../models/engine/engine.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { Network } from '../../models/networks/network.ts';
import { Random } from '../../models/networks/random.ts';
import { quantizableWeights, quantizeWeights } from '../../models/quantize/int8.ts';
import type { Graph } from '../../models/trace/graph.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceFrontEnd, traceInference } from '../../models/training/trace-inference.ts';
import { type NetworkWeights, type TrainingOptions, traceTrainingStep } from '../../models/training/trace-training.ts';
import type { DriftReference } from '../../runtime/drift/calibrate.ts';
import type { Recording } from '../data/recording-set.ts';
import { cutWindows, type Windows } from '../data/windows.ts';
import { fitTemperature } from '../evaluate/calibration.ts';
import type { Metrics } from '../evaluate/metrics.ts';
import { conformalThreshold, type NoveltyReference } from '../evaluate/novelty.ts';
import { pickWindows } from '../evaluate/sampling.ts';
import {
  feedBatches,
  type MeasuredQuantization,
  type MeasuredQuantizationOptions,
  quantizeCalibrated,
  quantizeMeasured,
} from '../shrink/quantize.ts';
import { bankOfMeans } from '../train/reference-bank.ts';
import { standardizedFeatures } from '../train/run-windows.ts';
import { encodeBase, type TrainedNetwork } from './base.ts';

export { quantizeCalibrated };

/** Windows of one step of the adaptation graph: 48 of the machine, 24 for replay. */
export const ADAPT_BATCH = 72;
export const CALIBRATION_WINDOWS = 512;
export const KNOWN_ANSWERS = 3;
/** Replay windows of each class. */
const REPLAY_WINDOWS = 6;
/** Largest difference of a logit between engines: they add floats in other orders, and now and then an activation rounds the other way. */
export const ANSWER_TOLERANCE = 0.05;

/** The novelty score of a deciding graph. */
export interface NoveltyRequest {
  readonly reference: NoveltyReference;
  /** Share of known windows that may be called novel. */
  readonly share: number;
  /** Windows from whose scores the threshold is taken. */
  readonly known: Windows;
  /** The threshold as a multiple of that of these windows; above 1 where the network has seen them. */
  readonly excess: number;
}

export interface BundleRequest {
  readonly name: string;
  readonly classes: readonly string[];
  readonly recipe: Manifest['recipe'];
  readonly primary: TrainedNetwork;
  readonly backup?: TrainedNetwork;
  readonly adapter: AdapterScheme;
  /** Gives the deciding graph the output `novelty`. */
  readonly novelty?: NoveltyRequest;
  /** Thresholds of the drift statistics. */
  readonly drift?: DriftReference;
  /** Field that tells machines apart, where the network takes references. */
  readonly referenceKey?: string;
  /** Divides the logits; fitted on the validation windows where absent, 1 without any. */
  readonly temperature?: number;
  readonly lineage: Manifest['lineage'];
  readonly version: string;
  /** How int8 is made where there are validation windows to hold it against float. */
  readonly int8?: Partial<MeasuredQuantizationOptions>;
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

/**
 * Feeds of the deciding graph for some windows, all with row `adapter` of the bank.
 *
 * @param references bank [K, R] of a graph that takes them, of which each window gets its machine's row; row 0 where no machine is known
 */
export function inferenceFeeds(
  windows: Windows,
  { window, channels }: { window: number; channels: number },
  bank: TensorData,
  adapter: number,
  [from, count]: readonly [number, number] = [0, windows.count],
  references?: TensorData,
): Record<string, TensorData> {
  const { codes, scales } = encodeWindows(windows, channels);
  const size = window * channels;
  return {
    window: { type: 'int16', shape: [count, window, channels], values: codes.subarray(from * size, (from + count) * size) },
    scale: floatTensor(scales.subarray(from * channels, (from + count) * channels), [count, channels]),
    adapterBank: bank,
    adapterIndex: { type: 'int32', shape: [count], values: new Int32Array(count).fill(adapter) },
    ...(references && {
      referenceBank: references,
      referenceIndex: { type: 'int32', shape: [count], values: machinesOf(windows, from, count) },
    }),
  };
}

function machinesOf({ commissioning }: Windows, from: number, count: number): Int32Array {
  return commissioning ? commissioning.machines.slice(from, from + count) : new Int32Array(count);
}

/**
 * Commissions machines as a gateway does: the bank of references [K, R] from the deciding graph's own output `features` over healthy windows.
 *
 * @throws Error where the windows know of no references
 */
export async function commissionMachines(
  session: Pick<Session, 'run' | 'inputs'>,
  { commissioning }: Windows,
  shape: { window: number; channels: number },
  bank: TensorData,
): Promise<TensorData> {
  if (!commissioning) throw new Error('the deciding graph takes references, and these windows know of none');
  const { references } = commissioning;
  const size = session.inputs.find(({ name }) => name === 'referenceBank')!.shape[1] as number;
  const strangers = { ...references, commissioning: undefined };
  const means = await runDecisions(session, strangers, shape, bank, size, 'features', 0, emptyTensor('float32', [1, size]));
  const values = bankOfMeans(means, references.commissioning!.machines);
  return floatTensor(values, [values.length / size, size]);
}

/** Some windows of every class, spread evenly over those that there are. */
export function spreadWindows(windows: Windows, perClass: number): Windows {
  const rows: number[] = [];
  const classes = windows.labels.reduce((largest, label) => Math.max(largest, label), 0) + 1;
  for (let label = 0; label < classes; label++) {
    const own = Array.from(windows.labels.keys()).filter((row) => windows.labels[row] === label);
    const count = Math.min(perClass, own.length);
    for (let index = 0; index < count; index++) rows.push(own[Math.floor(((index + 0.5) * own.length) / count)]);
  }
  return pickWindows(windows, rows);
}

/** An int8 graph and what did not become int8. */
type Shrunk = Pick<MeasuredQuantization, 'graph' | 'kept'> & Partial<MeasuredQuantization>;

/** A bundle that is whole but not yet written: its graphs run, so that it can be measured before it says what it reached. */
export interface DraftBundle {
  /** The deciding graph, and the weights of all graphs. */
  readonly model: Model;
  /** Of the deciding graph with its own weights. */
  readonly bytes: number;
  readonly temperature: number;
  /** Weights of the deciding graph that stayed in float32. */
  readonly kept: readonly string[];
  /** Logits of the deciding graph as it will be deployed, without an adapter, [windows, classes]. */
  logits(windows: Windows): Promise<Float32Array>;
  probabilities(windows: Windows): Promise<Float32Array>;
  /** Where the deciding graph scores novelty: above the threshold is novel. */
  readonly novelty?: { readonly threshold: number; readonly share: number; scores(windows: Windows): Promise<Float32Array> };
  /** Feeds of the deciding graph for some windows, without an adapter. */
  feeds(windows: Windows): Record<string, TensorData>;
  /** Writes all of it or nothing. @param server further files that stay on the server, as the report */
  write(folder: string, measured: Manifest['measured'], server?: ReadonlyMap<string, Uint8Array>): Promise<Bundle>;
  release(): Promise<void>;
}

/**
 * Makes the deciding graph (int8), the back-up's, the adaptation step and the front end from trained networks, with one weight file for all.
 *
 * @param train recordings for calibration, replay windows and known answers
 * @param validation windows on which the temperature is fitted; 1 where absent
 */
export async function draftBundle(
  engine: Engine,
  request: BundleRequest,
  train: readonly Recording[],
  validation?: Windows,
): Promise<DraftBundle> {
  const { primary, backup, adapter, classes, recipe } = request;
  const network = createNetwork(primary.options);
  const { window } = recipe;
  const channels = recipe.channels.length;
  const shape = { window, channels };
  const size = window * channels;
  const layout = adapterLayout(adapter, network);
  const cut = cutWindows(train, classes, window, recipe.stride);
  const calibration = spreadWindows(cut, Math.ceil(CALIBRATION_WINDOWS / classes.length));
  const zeroBank = emptyTensor('float32', [1, layout.size]);
  const references = network.reference ? await commissionFloat(engine, primary, cut, shape) : undefined;
  const feedsOf = (windows: Windows) => inferenceFeeds(windows, shape, zeroBank, 0, undefined, references);
  const calibrationFeeds = feedBatches((from, count) => feedsOf(partOf(calibration, size, from, count)), calibration.count);
  const check = validation && {
    feeds: feedBatches((from, count) => feedsOf(partOf(validation, size, from, count)), validation.count),
    labels: validation.labels,
  };
  const shrink = async (
    trained: TrainedNetwork,
    own: Network,
    scheme: AdapterScheme | undefined,
    novelty?: NoveltyRequest,
  ): Promise<Shrunk> => {
    const reference = own.reference ?? false;
    const float = traceInference(own, { input: 'int16', adapter: scheme, reference, temperature: 1, novelty }, trained.weights);
    if (check) return quantizeMeasured(engine, float, calibrationFeeds, check, request.int8);
    return { graph: await quantizeCalibrated(engine, float, calibrationFeeds), kept: [] };
  };

  const { graph: infer, kept, options: int8 } = await shrink(primary, network, adapter, request.novelty);
  const fitted = async () => (validation ? fitGraphTemperature(engine, infer, validation, classes.length, shape, zeroBank, references) : 1);
  const temperature = request.temperature ?? (await fitted());
  infer.initializers.set('temperature', { name: 'temperature', type: 'float32', shape: [], values: Float32Array.of(temperature) });
  const quantized = quantizableWeights(
    traceInference(network, { input: 'int16', adapter, reference: network.reference ?? false, temperature }, primary.weights),
  );
  const adapt = quantizeWeights(
    traceTrainingStep(network, adaptTraining(adapter), primary.weights),
    quantized.filter((name) => !kept.includes(name)),
    int8,
  );
  const features = traceFrontEnd(network, 'int16', primary.weights.statistics);
  const graphs: [string, Graph][] = [[FILES.infer, infer]];
  if (backup) graphs.push([FILES.backup, (await shrink(backup, createNetwork(backup.options), undefined)).graph]);
  // With its weights inside, before they move to the file that all graphs share.
  const bytes = encodeOnnx(infer).length;
  const file = new WeightFile(FILES.weights);
  for (const [, graph] of [...graphs, [FILES.adapt, adapt], [FILES.features, features]] as [string, Graph][]) file.take(graph);
  const weights = new Map([[FILES.weights as string, file.bytes()]]);
  const core = new Map([...graphs.map(([name, graph]): [string, Uint8Array] => [name, encodeOnnx(graph)]), ...weights]);

  const base = baseDigest(core);
  const trained = layout.initialize(new Random(request.lineage.seed));
  core.set(FILES.adapter, encodeAdapter(adapter, network, trained, base));
  const model: Model = { graph: core.get(FILES.infer)!, files: weights };
  const session = await engine.load(model);
  const run =
    (output: string, width = classes.length) =>
    (windows: Windows) =>
      runDecisions(session, windows, shape, zeroBank, width, output, 0, references);
  const scores = run('novelty', 1);
  const novelty = request.novelty && { ...(await thresholdOf(request.novelty, scores)), scores };

  const write: DraftBundle['write'] = async (folder, measured, server = new Map()) => {
    core.set(FILES.answers, await knownAnswers(session, spreadWindows(cut, 1), shape, answerBank(layout.size), references));
    const adaptPart = new Map([
      [FILES.adapt as string, encodeOnnx(adapt)],
      [FILES.features as string, encodeOnnx(features)],
      [FILES.replay as string, await replayWindows(engine, network, primary.weights, spreadWindows(cut, REPLAY_WINDOWS))],
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
      ...(novelty && { novelty: { threshold: novelty.threshold, share: novelty.share } }),
      ...(request.drift && { drift: { ...request.drift, thresholds: request.drift.thresholds.map((one) => ({ ...one })) } }),
      ...(network.reference && {
        reference: { windows: referenceWindows(cut), ...(request.referenceKey && { key: request.referenceKey }) },
      }),
      answers: { count: KNOWN_ANSWERS, tolerance: ANSWER_TOLERANCE },
      lineage: request.lineage,
      measured,
      runtime: { tremolo: request.version, operators: [...new Set(graphs.flatMap(([, graph]) => graph.nodes.map(({ op }) => op)))].sort() },
    };
    const own = new Map([[FILES.base as string, encodeBase({ primary, ...(backup && { backup }) })], ...server]);
    return writeBundle(folder, description, { core, adapt: adaptPart, server: own });
  };
  return {
    model,
    bytes,
    temperature,
    kept,
    novelty,
    logits: run('logits'),
    probabilities: run('probabilities'),
    feeds: feedsOf,
    write,
    release: () => session.release(),
  };
}

async function thresholdOf(
  { share, known, excess }: NoveltyRequest,
  scores: (windows: Windows) => Promise<Float32Array>,
): Promise<{ threshold: number; share: number }> {
  return { threshold: excess * conformalThreshold(await scores(known), share), share };
}

/** Drafts, measures and writes a bundle in one go. */
export async function makeBundle(
  folder: string,
  engine: Engine,
  request: BundleRequest,
  train: readonly Recording[],
  measure: (probabilities: DraftBundle['probabilities']) => Promise<Metrics>,
): Promise<Bundle> {
  const draft = await draftBundle(engine, request, train);
  const { accuracy, balancedAccuracy, macroF1, windows } = await measure(draft.probabilities);
  const bundle = await draft.write(folder, { accuracy, balancedAccuracy, macroF1, windows });
  await draft.release();
  return bundle;
}

/** Some neighbouring windows; a view. */
export function partOf(windows: Windows, size: number, from: number, count: number): Windows {
  return {
    samples: windows.samples.subarray(from * size, (from + count) * size),
    labels: windows.labels.subarray(from, from + count),
    recordings: windows.recordings.subarray(from, from + count),
    count,
    ...(windows.commissioning && {
      commissioning: { ...windows.commissioning, machines: windows.commissioning.machines.subarray(from, from + count) },
    }),
  };
}

/** One output of a deciding graph for all windows, [windows.count, classes]. */
export async function runDecisions(
  session: Pick<Session, 'run'>,
  windows: Windows,
  shape: { window: number; channels: number },
  bank: TensorData,
  classes: number,
  output: string,
  adapter = 0,
  references?: TensorData,
): Promise<Float32Array> {
  const size = shape.window * shape.channels;
  const all = new Float32Array(windows.count * classes);
  for (let from = 0; from < windows.count; from += 64) {
    const part = partOf(windows, size, from, Math.min(64, windows.count - from));
    all.set(
      (await session.run(inferenceFeeds(part, shape, bank, adapter, undefined, references)))[output].values as Float32Array,
      from * classes,
    );
  }
  return all;
}

/** The bank of references by the float graph, whose output `features` is that of the int8 one: nothing before it is quantised. */
async function commissionFloat(
  engine: Engine,
  { options, weights }: TrainedNetwork,
  windows: Windows,
  shape: { window: number; channels: number },
): Promise<TensorData> {
  const graph = traceInference(createNetwork(options), { input: 'int16', reference: true, temperature: 1 }, weights);
  const session = await engine.load({ graph: encodeOnnx(graph) });
  const bank = await commissionMachines(session, windows, shape, emptyTensor('float32', [1, 1]));
  await session.release();
  return bank;
}

/** Windows that the machine with the fewest has for its reference. */
function referenceWindows({ commissioning }: Windows): number {
  const counts = new Map<number, number>();
  for (const machine of commissioning!.references.commissioning!.machines) counts.set(machine, (counts.get(machine) ?? 0) + 1);
  return Math.min(...counts.values());
}

async function fitGraphTemperature(
  engine: Engine,
  graph: Graph,
  windows: Windows,
  classes: number,
  shape: { window: number; channels: number },
  bank: TensorData,
  references?: TensorData,
): Promise<number> {
  const session = await engine.load({ graph: encodeOnnx(graph) });
  const logits = await runDecisions(session, windows, shape, bank, classes, 'logits', 0, references);
  await session.release();
  return Math.fround(fitTemperature(logits, windows.labels, classes));
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
export async function knownAnswers(
  session: { run(feeds: Record<string, TensorData>): Promise<Record<string, TensorData>> },
  windows: Windows,
  shape: { window: number; channels: number },
  bank: TensorData,
  references?: TensorData,
): Promise<Uint8Array> {
  const count = Math.min(KNOWN_ANSWERS, windows.count);
  const feeds = {
    ...inferenceFeeds(windows, shape, bank, 0, [0, count], references),
    ...(references && ownReferences(windows, count, references)),
  };
  (feeds.adapterIndex.values as Int32Array).forEach((_, row, all) => {
    all[row] = row % 2;
  });
  const { logits } = await session.run(feeds);
  const inputs = Object.entries(feeds).filter(([name]) => name !== 'adapterBank');
  return encodeSafetensors({ tensors: { ...Object.fromEntries(inputs), logits }, metadata: {} });
}

/** A bank of no more references than some windows need: zero, and a row for each of their machines. */
function ownReferences(windows: Windows, count: number, { values, shape }: TensorData): Record<string, TensorData> {
  const machines = machinesOf(windows, 0, count);
  const rows = [0, ...new Set(machines)];
  const bank = rows.flatMap((machine) => [...(values as Float32Array).subarray(machine * shape[1], (machine + 1) * shape[1])]);
  return {
    referenceBank: floatTensor(Float32Array.from(bank), [rows.length, shape[1]]),
    referenceIndex: { type: 'int32', shape: [count], values: machines.map((machine) => rows.lastIndexOf(machine)) },
  };
}

/** Standardised features of known windows with their labels, so that a gateway does not forget while it adapts. */
async function replayWindows(engine: Engine, network: Network, weights: NetworkWeights, windows: Windows): Promise<Uint8Array> {
  const values = await standardizedFeatures(engine, network, weights.statistics, windows);
  return encodeSafetensors({
    tensors: {
      features: floatTensor(values, [windows.count, values.length / windows.count]),
      labels: { type: 'int32', shape: [windows.count], values: windows.labels },
    },
    metadata: {},
  });
}
