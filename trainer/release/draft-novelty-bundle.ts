import { adapterLayout } from '../../models/adapters/adapter.ts';
import { DEFAULT_SCHEME, HEAD_SCHEME } from '../../models/adapters/scheme.ts';
import { answerBank, type BundleDescription, baseDigest, FILES, writeBundle } from '../../models/bundle/bundle.ts';
import { FORMAT_VERSION, type Manifest } from '../../models/bundle/schema/manifest.ts';
import { WeightFile } from '../../models/bundle/schema/weight-file.ts';
import { type Engine, emptyTensor, type Model } from '../../models/engine/engine.ts';
import { createNetwork } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import type { Graph } from '../../models/trace/graph.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import type { Windows } from '../data/windows.ts';
import { BundleDecider } from '../evaluate/bundle-decider.ts';
import type { NoveltyFit } from '../evaluate/novelty.ts';
import { calibrateNovelty, NOVELTY_CLASSES, noveltyGraph, withoutHead } from '../evaluate/novelty-training.ts';
import { sliceWindows, spreadOverClasses } from '../evaluate/sampling.ts';
import { feedBatches, quantizeCalibrated } from '../shrink/quantize.ts';
import { encodeBase, type TrainedNetwork } from './base.ts';
import { ANSWER_TOLERANCE, CALIBRATION_WINDOWS, encodeAdapter, KNOWN_ANSWERS, knownAnswers } from './bundle-parts.ts';
import type { DraftBundle } from './draft-bundle.ts';
import { inferenceFeeds } from './feeds.ts';

export interface NoveltyBundleRequest {
  readonly name: string;
  readonly recipe: Manifest['recipe'];
  /** The network whose embedding is measured in; its head is not looked at. */
  readonly embedder: TrainedNetwork;
  readonly reference: NoveltyFit;
  /** Share of healthy windows that may be called novel. */
  readonly share: number;
  /** Label of the recordings that count as normal. */
  readonly known: string;
  /** The most that may leave a site. */
  readonly leaves: Manifest['leaves'];
  readonly lineage: Manifest['lineage'];
  readonly version: string;
}

/** The draft of a bundle that decides between `normal` and `novel`, and where it draws the line. */
export type NoveltyDraft = DraftBundle & Required<Pick<DraftBundle, 'novelty'>>;

/**
 * Makes the deciding graph in int8 and draws the line by its own scores of windows that training has not seen. There is no part `adapt`: a gateway
 * has no faults to learn from.
 *
 * @param train windows for calibration and known answers
 * @param validation windows that choose the threshold
 * @throws Refusal data/short where validation is too short for the share
 */
export async function draftNoveltyBundle(
  engine: Engine,
  { embedder, reference, share, recipe, ...request }: NoveltyBundleRequest,
  train: Windows,
  validation: Windows,
): Promise<NoveltyDraft> {
  const trained = withoutHead(embedder);
  const network = createNetwork(trained.options);
  const scheme = trained.options.kind === 'linear' ? HEAD_SCHEME : DEFAULT_SCHEME;
  const layout = adapterLayout(scheme, network);
  const shape = { window: recipe.window, channels: recipe.channels.length };
  const bank = emptyTensor('float32', [1, layout.size]);
  const score = async (graph: Graph, windows: Windows) => {
    const decider = new BundleDecider(await engine.load({ graph: encodeOnnx(graph) }), shape, layout.size);
    const scores = await decider.run(windows, 'novelty');
    await decider.release();
    return scores;
  };

  // Any line will do until the int8 graph has its own scores.
  const float = noveltyGraph({ trained, reference, decision: { threshold: 1, slope: 1 } }, scheme);
  const chosen = spreadOverClasses(train, CALIBRATION_WINDOWS);
  const feeds = feedBatches((from, count) => inferenceFeeds(sliceWindows(chosen, from, count), shape, bank, 0), chosen.count);
  const undecided = await quantizeCalibrated(engine, float, feeds);
  const { graph: infer, decision } = calibrateNovelty(undecided, await score(undecided, validation), share);

  // With its weights inside, before they move to a file of their own.
  const bytes = encodeOnnx(infer).length;
  const file = new WeightFile(FILES.weights);
  file.take(infer);
  const weights = new Map([[FILES.weights as string, file.bytes()]]);
  const core = new Map<string, Uint8Array>([[FILES.infer, encodeOnnx(infer)], ...weights]);
  const initial = layout.initialize(new Random(request.lineage.seed));
  core.set(FILES.adapter, encodeAdapter(scheme, network, initial, baseDigest(core)));
  const model: Model = { graph: core.get(FILES.infer)!, files: weights };
  const decider = new BundleDecider(await engine.load(model), shape, layout.size);

  const write: DraftBundle['write'] = async (folder, { measured }, server = new Map()) => {
    core.set(FILES.answers, await knownAnswers(decider.session, spreadOverClasses(train, KNOWN_ANSWERS), shape, answerBank(layout.size)));
    const { name, known, leaves, lineage, version } = request;
    const description: BundleDescription = {
      formatVersion: FORMAT_VERSION,
      name,
      recipe,
      classes: [...NOVELTY_CLASSES],
      network: trained.options as Manifest['network'],
      adapter: scheme as Manifest['adapter'],
      adapterTensors: layout.parameters.map(({ name: tensor, shape: dims }) => ({ name: tensor, shape: [...dims] })),
      temperature: 1,
      novelty: { threshold: decision.threshold, share, known },
      ...(leaves && { leaves: { ...leaves } }),
      // Logits are scores times the slope; what engines differ by in a score is as much larger in a logit.
      answers: { count: KNOWN_ANSWERS, tolerance: ANSWER_TOLERANCE * Math.max(1, decision.slope) },
      lineage,
      measured,
      runtime: { tremolo: version, operators: [...new Set(infer.nodes.map(({ op }) => op))].sort() },
    };
    return writeBundle(folder, description, { core, server: new Map([[FILES.base, encodeBase({ primary: trained })], ...server]) });
  };
  return {
    model,
    bytes,
    temperature: 1,
    kept: [],
    novelty: { threshold: decision.threshold, share, scores: (windows) => decider.run(windows, 'novelty') },
    logits: (windows) => decider.run(windows, 'logits'),
    probabilities: (windows) => decider.probabilitiesOf(windows),
    seen: (windows) => decider.runAll(windows, ['embedding', 'novelty']),
    feeds: (windows) => decider.feeds(windows),
    write,
    release: () => decider.release(),
  };
}
