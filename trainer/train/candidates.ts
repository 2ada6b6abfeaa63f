import type { Engine } from '../../models/engine/engine.ts';
import { SPECTRAL_TOKENS, STUDENT } from '../../models/networks/attention-network.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import { LINEAR } from '../../models/networks/linear-network.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceFrontEnd } from '../../models/training/trace-inference.ts';
import type { Recording } from '../data/recording-set.ts';
import { cutWindows } from '../data/windows.ts';
import { ColumnScaling } from '../evaluate/column-scaling.ts';
import { gramThroughEngine } from '../evaluate/engine-gram.ts';
import { argmaxRows, metricsOf } from '../evaluate/metrics.ts';
import { RidgeClassifier, RidgeSystem } from '../evaluate/ridge.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { measureStatistics, runNetwork, runWindows } from './run-windows.ts';
import type { TrainingChoice } from './settings.ts';
import { crossEntropy, type TrainSettings, trainNetwork } from './train-network.ts';

const RIDGE_ALPHA = 1;

/** A network and the way to train it, among which validation chooses. */
export interface Recipe {
  readonly name: string;
  readonly network: NetworkOptions;
  readonly training: TrainingChoice;
}

/**
 * The first is the best on most splits and decides where all are alike. Fine spectra tell more where machines are much alike; where little carries over to
 * another machine, a ridge carries over most.
 */
export const RECIPES: readonly Recipe[] = [
  { name: 'attention on frames', network: STUDENT, training: {} },
  { name: 'attention on all spectra', network: { ...STUDENT, tokens: SPECTRAL_TOKENS }, training: { steps: 800 } },
  { name: 'ridge on the log spectrum', network: LINEAR, training: {} },
];

export interface RecipeScore {
  readonly name: string;
  /** Balanced accuracy on each fold's validation windows. */
  readonly folds: readonly number[];
  readonly mean: number;
}

/** A recipe must be so much better than an earlier one to be preferred. */
const MARGIN = 0.002;
/** Where the first recipe reaches this, nothing is left to choose. */
const ENOUGH = 0.998;

export interface FoldData {
  readonly train: readonly Recording[];
  readonly validation: readonly Recording[];
}

/** Trains what a recipe describes. */
export async function trainRecipe(
  engine: Engine,
  options: NetworkOptions,
  recordings: readonly Recording[],
  classes: readonly string[],
  settings: TrainSettings,
  rest: { budgetSeconds?: number; onProgress?: (share: number) => void; signal?: AbortSignal },
): Promise<TrainedNetwork> {
  if (options.kind === 'linear') return solveLinear(engine, options, recordings, classes, rest.onProgress, rest.signal);
  return trainNetwork(engine, {
    options,
    recordings,
    classes,
    settings,
    budgetSeconds: rest.budgetSeconds,
    onProgress: ({ step, steps }) => rest.onProgress?.(step / steps),
    signal: rest.signal,
  });
}

/** A linear network whose matrix is the ridge solution on its own standardised features. */
async function solveLinear(
  engine: Engine,
  options: NetworkOptions,
  recordings: readonly Recording[],
  classes: readonly string[],
  onProgress: (share: number) => void = () => {},
  signal?: AbortSignal,
): Promise<TrainedNetwork> {
  const network = createNetwork(options);
  const { window, channels } = network.frontEnd;
  const windows = cutWindows(recordings, classes, window, window / 2);
  const statistics = await measureStatistics(engine, network, windows);
  const features = await runWindows(
    engine,
    encodeOnnx(traceFrontEnd(network, 'float32', statistics)),
    windows,
    [window, channels],
    'features',
  );
  const scaling = ColumnScaling.of(features, windows.count);
  const gram = windows.count < scaling.mean.length ? undefined : await gramThroughEngine(engine, features, scaling, onProgress, signal);
  const system = new RidgeSystem(features, windows.labels, classes.length, scaling, gram);
  const ridge = new RidgeClassifier(features, windows.labels, classes.length, RIDGE_ALPHA, system);
  const parameters = new Float32Array(network.parameters.size);
  network.parameters.view(parameters, 'head.weight').set(ridge.weights);
  network.parameters.view(parameters, 'head.bias').set(ridge.bias);
  return { options, weights: { parameters, statistics } };
}

/**
 * Tries recipes on folds of the training part and names the best by mean balanced accuracy.
 *
 * @param settingsOf the training settings of a recipe
 * @param onProgress share done of everything, and what is tried just now
 */
export async function chooseRecipe(
  engine: Engine,
  recipes: readonly Recipe[],
  folds: readonly FoldData[],
  classes: readonly string[],
  settingsOf: (recipe: Recipe) => TrainSettings,
  rest: { budgetSeconds?: number; onProgress: (share: number, note: string) => void; signal?: AbortSignal },
): Promise<{ scores: RecipeScore[]; best: number }> {
  const scores: RecipeScore[] = [];
  let best = 0;
  const budgetSeconds = rest.budgetSeconds && rest.budgetSeconds / (recipes.length * folds.length);
  for (const [index, recipe] of recipes.entries()) {
    const scored: number[] = [];
    for (const [place, fold] of folds.entries()) {
      const share = (done: number) => (index + (place + done) / folds.length) / recipes.length;
      const trained = await trainRecipe(engine, shaped(recipe.network, fold.train, classes), fold.train, classes, settingsOf(recipe), {
        budgetSeconds,
        signal: rest.signal,
        onProgress: (done) => rest.onProgress(share(done), `${recipe.name}, fold ${place + 1} of ${folds.length}`),
      });
      scored.push((await scoreOn(engine, trained, fold.validation, classes)).balancedAccuracy);
    }
    scores.push({ name: recipe.name, folds: scored, mean: scored.reduce((a, b) => a + b, 0) / scored.length });
    if (scores[index].mean > scores[best].mean + MARGIN) best = index;
    if (scores[best].mean >= ENOUGH) break;
  }
  return { scores, best };
}

/** A float network on recordings: balanced accuracy and mean cross-entropy. */
export async function scoreOn(
  engine: Engine,
  trained: TrainedNetwork,
  recordings: readonly Recording[],
  classes: readonly string[],
): Promise<{ balancedAccuracy: number; loss: number }> {
  const { window } = trained.options;
  const { labels, ...windows } = cutWindows(recordings, classes, window, window / 2);
  const { logits } = await runNetwork(engine, trained, { labels, ...windows });
  const { balancedAccuracy } = metricsOf(labels, argmaxRows(logits, classes.length), classes.length);
  return { balancedAccuracy, loss: crossEntropy(logits, labels, classes.length) };
}

/** A network's options for so many channels and classes. */
export function shaped<T extends NetworkOptions>(options: T, recordings: readonly Recording[], classes: readonly string[]): T {
  return { ...options, channels: recordings[0].channels.length, classes: classes.length };
}
