import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import type { Graph } from '../../models/trace/graph.ts';
import { NOVELTY_CONSTANTS } from '../../models/training/novelty.ts';
import { traceInference } from '../../models/training/trace-inference.ts';
import type { Recording } from '../data/recording-set.ts';
import type { Windows } from '../data/windows.ts';
import { Refusal } from '../refusal.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { runNetwork } from '../train/run-windows.ts';
import type { TrainRequest, TrainSettings } from '../train/train-network.ts';
import { conformalThreshold, fitMahalanobis, type NoveltyDecision, type NoveltyFit } from './novelty.ts';
import { PRETEXT_CLASSES, pretextRecordings } from './pretext.ts';

/** Classes of a novelty bundle. */
export const NOVELTY_CLASSES = ['normal', 'novel'] as const;
/** Share of healthy windows that may be called novel. */
export const FALSE_ALARM_SHARE = 0.01;
/** Changed copies of a recording, each kind of change. */
const VARIANTS = 2;

export interface FittedNovelty {
  /** With two classes, as the manifest has them; its head is zero and decides nothing. */
  readonly trained: TrainedNetwork;
  readonly reference: NoveltyFit;
  /** Of the float network; take {@link calibrateNovelty} for the graph that is deployed. */
  readonly decision: NoveltyDecision;
}

/** What an embedding of healthy recordings is trained by: to tell them from changed copies of themselves. */
export function pretextTraining(
  train: readonly Recording[],
  options: NetworkOptions,
  settings: TrainSettings,
): Pick<TrainRequest, 'options' | 'recordings' | 'classes' | 'settings'> {
  return {
    options: { ...options, classes: PRETEXT_CLASSES.length },
    // Copies take seconds and memory; a training that is found in the cache asks for none.
    get recordings() {
      return pretextRecordings(train, VARIANTS, new Random(settings.seed));
    },
    classes: PRETEXT_CLASSES,
    settings,
  };
}

/** Where the windows of a training set lie in a network's embedding. */
export async function fitReference(engine: Engine, trained: TrainedNetwork, windows: Windows, seed: number): Promise<NoveltyFit> {
  const { embeddings } = await runNetwork(engine, trained, windows);
  return fitMahalanobis(embeddings, windows.labels, { parts: embeddingParts(trained.options), seed });
}

/** An attention network's embedding is its class token and the mean of the others; those of other kinds are of one piece. */
function embeddingParts({ kind }: NetworkOptions): number {
  return kind === 'attention' ? 2 : 1;
}

/**
 * From scores of held-out healthy windows to probabilities. P(novel) is one half at the conformal threshold and `share` at the median: log-odds are
 * a straight line in the score through these two points.
 *
 * @throws Refusal data/short where there are too few scores for so small a share
 */
export function noveltyDecision(scores: Float32Array, share: number = FALSE_ALARM_SHARE): NoveltyDecision {
  refuseFewWindows(scores.length, share);
  const threshold = conformalThreshold(scores, share);
  const median = scores.slice().sort()[scores.length >> 1];
  // Scores that are all alike leave no slope to see; any steep one will do.
  return { threshold, slope: Math.log((1 - share) / share) / Math.max(threshold - median, 1e-3) };
}

/** How many known windows can show that no more than a share of them are called novel. */
export function windowsNeeded(share: number): number {
  return Math.ceil(1 / share - 1e-9) - 1;
}

/** @throws Refusal data/short */
export function refuseFewWindows(count: number, share: number): void {
  const needed = windowsNeeded(share);
  if (count < needed) {
    throw new Refusal(
      'data/short',
      `${count} healthy windows are left to choose a threshold on, ${needed} are needed for ${100 * share} % false alarms; record longer or allow more with --alarms`,
    );
  }
}

/** The same network with a head for two classes, all zero. */
export function withoutHead({ options, weights }: TrainedNetwork): TrainedNetwork {
  const shaped = { ...options, classes: NOVELTY_CLASSES.length };
  const [from, to] = [createNetwork(options).parameters, createNetwork(shaped).parameters];
  const parameters = new Float32Array(to.size);
  for (const { name } of to.parameters) {
    if (!name.startsWith('head.')) to.view(parameters, name).set(from.view(weights.parameters, name));
  }
  return { options: shaped, weights: { parameters, statistics: weights.statistics } };
}

/** The deciding graph of a novelty bundle in float32, ready for the int8 pass: `logits`, `probabilities`, `embedding`, `novelty`. */
export function noveltyGraph({ trained, reference, decision }: FittedNovelty, adapter?: AdapterScheme): Graph {
  const options = { input: 'int16', adapter, reference: false, temperature: 1, novelty: { reference, decision } } as const;
  return traceInference(createNetwork(trained.options), options, trained.weights);
}

/**
 * The same graph, which decides by what it makes of held-out healthy windows itself: int8 moves scores a little.
 *
 * @param graph of {@link noveltyGraph}, before or after the int8 pass
 * @param scores its output `novelty` on validation windows
 */
export function calibrateNovelty(
  graph: Graph,
  scores: Float32Array,
  share: number = FALSE_ALARM_SHARE,
): { graph: Graph; decision: NoveltyDecision } {
  const decision = noveltyDecision(scores, share);
  const initializers = new Map(graph.initializers);
  const replace = (name: string, values: Float32Array) => {
    const initializer = initializers.get(name);
    if (!initializer) throw new Error(`the graph has no constant ${name}; it does not decide by novelty`);
    initializers.set(name, { ...initializer, values });
  };
  replace(NOVELTY_CONSTANTS.threshold, Float32Array.of(decision.threshold));
  replace(NOVELTY_CONSTANTS.slope, Float32Array.of(0, decision.slope));
  return { graph: { ...graph, initializers }, decision };
}
