import { adapterLayout } from '../../models/adapters/adapter.ts';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import { answerBank, type Bundle, type BundleDescription, baseDigest, FILES, writeBundle } from '../../models/bundle/bundle.ts';
import { FORMAT_VERSION, type Manifest } from '../../models/bundle/schema/manifest.ts';
import { WeightFile } from '../../models/bundle/schema/weight-file.ts';
import { type Engine, emptyTensor, type Model, type TensorData } from '../../models/engine/engine.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { Network } from '../../models/networks/network.ts';
import { Random } from '../../models/networks/random.ts';
import { quantizableWeights, quantizeWeights } from '../../models/quantize/int8.ts';
import type { Graph } from '../../models/trace/graph.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceFrontEnd, traceInference } from '../../models/training/trace-inference.ts';
import { traceTrainingStep } from '../../models/training/trace-training.ts';
import type { DriftReference } from '../../runtime/drift/calibrate.ts';
import type { Recording } from '../data/recording-set.ts';
import { cutWindows, type Windows } from '../data/windows.ts';
import { BundleDecider, type WindowShape } from '../evaluate/bundle-decider.ts';
import { conformalThreshold, type NoveltyReference } from '../evaluate/novelty.ts';
import { sliceWindows, spreadOverClasses } from '../evaluate/sampling.ts';
import {
  feedBatches,
  type MeasuredQuantization,
  type MeasuredQuantizationOptions,
  quantizeCalibrated,
  quantizeMeasured,
} from '../shrink/quantize.ts';
import { type TransportSize, transportSize, zeroShare } from '../shrink/transport.ts';
import { encodeBase, type TrainedNetwork } from './base.ts';
import {
  ANSWER_TOLERANCE,
  adaptTraining,
  CALIBRATION_WINDOWS,
  encodeAdapter,
  KNOWN_ANSWERS,
  knownAnswers,
  REPLAY_WINDOWS,
  replayWindows,
} from './bundle-parts.ts';
import { inferenceFeeds } from './feeds.ts';

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
  /** The most that may leave a site. */
  readonly leaves?: Manifest['leaves'];
  /** Field that tells machines apart, where the network takes references. */
  readonly referenceKey?: string;
  /** Divides the logits of the primary; those of the back-up are taken as they are. */
  readonly temperature: number;
  readonly lineage: Manifest['lineage'];
  readonly version: string;
  /** How int8 is made where there are validation windows to hold it against float. */
  readonly int8?: Partial<MeasuredQuantizationOptions>;
}

/** An int8 graph and what did not become int8. */
type Shrunk = Pick<MeasuredQuantization, 'graph' | 'kept'> & Partial<MeasuredQuantization>;

/** What a bundle says of itself that only its own graphs can tell. */
export type BundleFigures = Pick<Manifest, 'measured' | 'decision' | 'dual'> & { readonly drift?: DriftReference };

/** A bundle that is whole but not yet written: its graphs run, so that it can be measured before it says what it reached. */
export interface DraftBundle {
  /** The deciding graph, and the weights of all graphs. */
  readonly model: Model;
  /** Of the deciding graph with its own weights. */
  readonly bytes: number;
  /** Where small weights were set to zero: their share, and what the deciding graph weighs packed. */
  readonly sparse?: TransportSize & { readonly zeros: number };
  readonly temperature: number;
  /** Weights of the deciding graph that stayed in float32. */
  readonly kept: readonly string[];
  /** Logits of the deciding graph as it will be deployed, without an adapter, [windows, classes]. */
  logits(windows: Windows): Promise<Float32Array>;
  probabilities(windows: Windows): Promise<Float32Array>;
  /** Where the deciding graph scores novelty: above the threshold is novel. */
  readonly novelty?: { readonly threshold: number; readonly share: number; scores(windows: Windows): Promise<Float32Array> };
  /** What the drift statistics see of windows: embeddings [windows, E] and, where it is scored, novelty [windows]. */
  seen(windows: Windows): Promise<{ readonly embedding: Float32Array; readonly novelty?: Float32Array }>;
  /** Feeds of the deciding graph for some windows, without an adapter. */
  feeds(windows: Windows): Record<string, TensorData>;
  /** Probabilities of the back-up as it will be deployed, where there is one. */
  backup?(windows: Windows): Promise<Float32Array>;
  /** Writes all of it or nothing. @param server further files that stay on the server, as the report */
  write(folder: string, figures: BundleFigures, server?: ReadonlyMap<string, Uint8Array>): Promise<Bundle>;
  release(): Promise<void>;
}

/**
 * Makes the deciding graph (int8), the back-up's, the adaptation step and the front end from trained networks, with one weight file for all.
 *
 * @param train recordings for calibration, replay windows and known answers
 * @param validation windows on which int8 is held against float; nothing is where absent
 */
export async function draftBundle(
  engine: Engine,
  request: BundleRequest,
  train: readonly Recording[],
  validation?: Windows,
): Promise<DraftBundle> {
  const { primary, backup, adapter, classes, recipe, temperature } = request;
  const network = createNetwork(primary.options);
  const { window } = recipe;
  const shape = { window, channels: recipe.channels.length };
  const layout = adapterLayout(adapter, network);
  const cut = cutWindows(train, classes, window, recipe.stride);
  const calibration = spreadOverClasses(cut, Math.ceil(CALIBRATION_WINDOWS / classes.length));
  const zeroBank = emptyTensor('float32', [1, layout.size]);
  const references = network.reference ? await commissionFloat(engine, primary, cut, shape) : undefined;
  const feedsOf = (windows: Windows) => inferenceFeeds(windows, shape, zeroBank, 0, undefined, references);
  const calibrationFeeds = feedBatches((from, count) => feedsOf(sliceWindows(calibration, from, count)), calibration.count);
  const check = validation && {
    feeds: feedBatches((from, count) => feedsOf(sliceWindows(validation, from, count)), validation.count),
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
  const encoded = encodeOnnx(infer);
  const bytes = encoded.length;
  const sparse = request.int8?.sparsity ? { zeros: zeroShare(infer), ...transportSize(encoded) } : undefined;
  const file = new WeightFile(FILES.weights);
  for (const [, graph] of [...graphs, [FILES.adapt, adapt], [FILES.features, features]] as [string, Graph][]) file.take(graph);
  const weights = new Map([[FILES.weights as string, file.bytes()]]);
  const core = new Map([...graphs.map(([name, graph]): [string, Uint8Array] => [name, encodeOnnx(graph)]), ...weights]);

  const base = baseDigest(core);
  const trained = layout.initialize(new Random(request.lineage.seed));
  core.set(FILES.adapter, encodeAdapter(adapter, network, trained, base));
  const model: Model = { graph: core.get(FILES.infer)!, files: weights };
  const decider = new BundleDecider(await engine.load(model), shape, layout.size, references);
  const substitute = backup && new BundleDecider(await engine.load({ graph: core.get(FILES.backup)!, files: weights }), shape, layout.size);
  const scores = (windows: Windows) => decider.run(windows, 'novelty');
  const novelty = request.novelty && { ...(await thresholdOf(request.novelty, scores)), scores };

  const write: DraftBundle['write'] = async (folder, { measured, decision, dual, drift }, server = new Map()) => {
    core.set(FILES.answers, await knownAnswers(decider.session, spreadOverClasses(cut, 1), shape, answerBank(layout.size), references));
    const adaptPart = new Map([
      [FILES.adapt as string, encodeOnnx(adapt)],
      [FILES.features as string, encodeOnnx(features)],
      [FILES.replay as string, await replayWindows(engine, network, primary.weights, spreadOverClasses(cut, REPLAY_WINDOWS))],
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
      ...(request.leaves && { leaves: { ...request.leaves } }),
      ...(drift && { drift: { ...drift, thresholds: drift.thresholds.map((one) => ({ ...one })) } }),
      ...(network.reference && {
        reference: { windows: referenceWindows(cut), ...(request.referenceKey && { key: request.referenceKey }) },
      }),
      ...(decision && { decision }),
      ...(dual && { dual }),
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
    ...(sparse && { sparse }),
    temperature,
    kept,
    novelty,
    logits: (windows) => decider.run(windows, 'logits'),
    probabilities: (windows) => decider.probabilitiesOf(windows),
    seen: (windows) => decider.runAll(windows, novelty ? ['embedding', 'novelty'] : ['embedding']),
    ...(substitute && { backup: (windows: Windows) => substitute.probabilitiesOf(windows) }),
    feeds: (windows) => decider.feeds(windows),
    write,
    async release() {
      await decider.release();
      await substitute?.release();
    },
  };
}

async function thresholdOf(
  { share, known, excess }: NoveltyRequest,
  scores: (windows: Windows) => Promise<Float32Array>,
): Promise<{ threshold: number; share: number }> {
  return { threshold: excess * conformalThreshold(await scores(known), share), share };
}

/** The bank of references by the float graph, whose output `features` is that of the int8 one: nothing before it is quantised. */
async function commissionFloat(
  engine: Engine,
  { options, weights }: TrainedNetwork,
  windows: Windows,
  shape: WindowShape,
): Promise<TensorData | undefined> {
  const graph = traceInference(createNetwork(options), { input: 'int16', reference: true, temperature: 1 }, weights);
  const decider = new BundleDecider(await engine.load({ graph: encodeOnnx(graph) }), shape, 1);
  const bank = await decider.commission(windows);
  await decider.release();
  return bank;
}

/** Windows that the machine with the fewest has for its reference. */
function referenceWindows({ commissioning }: Windows): number {
  const counts = new Map<number, number>();
  for (const machine of commissioning!.references.commissioning!.machines) counts.set(machine, (counts.get(machine) ?? 0) + 1);
  return Math.min(...counts.values());
}
