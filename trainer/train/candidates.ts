import type { Engine } from '../../models/engine/engine.ts';
import { SPECTRAL_TOKENS, STUDENT } from '../../models/networks/attention-network.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import { LINEAR, type LinearNetworkOptions } from '../../models/networks/linear-network.ts';
import type { Recording } from '../data/recording-set.ts';
import { cutWindows, type Windows } from '../data/windows.ts';
import { ColumnScaling } from '../evaluate/column-scaling.ts';
import { gramThroughEngine } from '../evaluate/engine-gram.ts';
import { argmaxRows, metricsOf } from '../evaluate/metrics.ts';
import { RidgeClassifier, RidgeSystem } from '../evaluate/ridge.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { measureStatistics, runNetwork, standardizedFeatures } from './run-windows.ts';
import type { TrainingChoice } from './settings.ts';
import { crossEntropy, type Distillation, type TrainSettings, trainNetwork } from './train-network.ts';

const RIDGE_ALPHA = 1;
const WINDOW = 512;

/** A network and the way to train it, among which validation chooses. */
export interface Recipe {
  readonly name: string;
  readonly network: NetworkOptions;
  readonly training: TrainingChoice;
  /** How a linear network is solved. */
  readonly ridge?: {
    /** Penalty on the squared weights, of features with unit deviation. */
    readonly alpha: number;
  };
}

/**
 * The first is the best on most splits and decides where all are alike. Fine spectra tell more where machines are much alike. Where little carries
 * over to another machine, ridges carry over most: how magnitudes of bands swing and how spiked a waveform is tell a fault of a size never seen, the
 * log spectrum is the baseline itself.
 */
export const RECIPES: readonly Recipe[] = [
  { name: 'attention on frames', network: STUDENT, training: {} },
  { name: 'attention on all spectra', network: { ...STUDENT, tokens: SPECTRAL_TOKENS }, training: { steps: 800 } },
  { name: 'sum of ridges', network: { ...LINEAR, tokens: ['bands', 'demodulation', 'shape'] }, training: {} },
  { name: 'ridge on the log spectrum', network: LINEAR, training: {} },
];

/**
 * Where machines are commissioned: the waveform itself, less the mean of the machine's healthy ones. It needs windows that all start at the same
 * moment of a cycle, as one window a recording of a triggered measurement does (`--stride`): a sample later nothing fits.
 */
const REFERENCED: Recipe = {
  name: 'ridge on the waveform less its reference',
  network: { ...LINEAR, tokens: ['patches'], patch: WINDOW, reference: true },
  training: {},
  ridge: { alpha: 0.1 },
};

/** What there is to choose from. @param commissioned whether recordings know their machine's reference */
export function recipesFor(commissioned: boolean): readonly Recipe[] {
  return commissioned ? [...RECIPES, REFERENCED] : RECIPES;
}

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

/** Trains what a recipe describes. @param rest `stride` in samples, of the windows that a ridge is solved on; `distillation` of what is not solved */
export async function trainRecipe(
  engine: Engine,
  recipe: Recipe,
  recordings: readonly Recording[],
  classes: readonly string[],
  settings: TrainSettings,
  rest: {
    stride: number;
    budgetSeconds?: number;
    distillation?: Distillation;
    onProgress?: (share: number) => void;
    signal?: AbortSignal;
  },
): Promise<TrainedNetwork> {
  const options = shaped(recipe.network, recordings, classes);
  if (options.kind === 'linear') {
    return solveLinear(engine, options, cutWindows(recordings, classes, options.window, rest.stride), recipe.ridge?.alpha, rest);
  }
  return trainNetwork(engine, {
    options,
    recordings,
    classes,
    settings,
    budgetSeconds: rest.budgetSeconds,
    distillation: rest.distillation,
    onProgress: ({ step, steps }) => rest.onProgress?.(step / steps),
    signal: rest.signal,
  });
}

/**
 * A linear network whose matrix is solved: a ridge for each kind of features by itself, their scores added. One ridge on all of them would lean on
 * the kind that tells the training machines apart best; separate ones have a say each, whatever the others found.
 *
 * @param alpha penalty of every ridge
 */
export async function solveLinear(
  engine: Engine,
  options: LinearNetworkOptions,
  windows: Windows,
  alpha = RIDGE_ALPHA,
  { onProgress = () => {}, signal }: { onProgress?: (share: number) => void; signal?: AbortSignal } = {},
): Promise<TrainedNetwork> {
  const network = createNetwork(options);
  const { classes } = options;
  const { count, labels } = windows;
  const statistics = await measureStatistics(engine, network, windows);
  const features = await standardizedFeatures(engine, network, statistics, windows);
  const parameters = new Float32Array(network.parameters.size);
  const weight = network.parameters.view(parameters, 'head.weight');
  const bias = network.parameters.view(parameters, 'head.bias');
  let first = 0;
  for (const [index, { tokens, width }] of network.parts.entries()) {
    const columns = tokens * width;
    const own = columnsOf(features, count, first, columns);
    const scaling = ColumnScaling.of(own, count);
    const report = (share: number) => onProgress((index + share) / network.parts.length);
    const gram = count < columns ? undefined : await gramThroughEngine(engine, own, scaling, report, signal);
    const ridge = new RidgeClassifier(own, labels, classes, alpha, new RidgeSystem(own, labels, classes, scaling, gram));
    weight.set(ridge.weights, first * classes);
    ridge.bias.forEach((value, label) => {
      bias[label] += value;
    });
    first += columns;
  }
  return { options, weights: { parameters, statistics } };
}

/** Neighbouring columns of a matrix. x: [rows, ...] -> [rows, columns] */
function columnsOf(x: Float32Array, rows: number, first: number, columns: number): Float32Array {
  const width = x.length / rows;
  if (columns === width) return x;
  const own = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) own.set(x.subarray(row * width + first, row * width + first + columns), row * columns);
  return own;
}

/**
 * Tries recipes on folds of the training part and names the best by mean balanced accuracy.
 *
 * @param settingsOf the training settings of a recipe
 * @param rest `stride` in samples, of the windows that ridges are solved and all are judged on
 * @param onProgress share done of everything, and what is tried just now
 */
export async function chooseRecipe(
  engine: Engine,
  recipes: readonly Recipe[],
  folds: readonly FoldData[],
  classes: readonly string[],
  settingsOf: (recipe: Recipe) => TrainSettings,
  rest: { stride: number; budgetSeconds?: number; onProgress: (share: number, note: string) => void; signal?: AbortSignal },
): Promise<{ scores: RecipeScore[]; best: number }> {
  const scores: RecipeScore[] = [];
  // Ridges take no time worth counting.
  const budgetSeconds = rest.budgetSeconds && rest.budgetSeconds / (recipes.filter((recipe) => !isSolved(recipe)).length * folds.length);
  for (const [index, recipe] of recipes.entries()) {
    const scored: number[] = [];
    for (const [place, fold] of folds.entries()) {
      const share = (done: number) => (index + (place + done) / folds.length) / recipes.length;
      const trained = await trainRecipe(engine, recipe, fold.train, classes, settingsOf(recipe), {
        stride: rest.stride,
        budgetSeconds,
        signal: rest.signal,
        onProgress: (done) => rest.onProgress(share(done), `${recipe.name}, fold ${place + 1} of ${folds.length}`),
      });
      scored.push((await scoreOn(engine, trained, fold.validation, classes, rest.stride)).balancedAccuracy);
    }
    scores.push({ name: recipe.name, folds: scored, mean: scored.reduce((a, b) => a + b, 0) / scored.length });
    if (scores[bestOf(scores)].mean >= ENOUGH) break;
  }
  return { scores, best: pickRecipe(recipes, scores) };
}

const isSolved = ({ network }: Recipe) => network.kind === 'linear';

/** The first that no later one beats by the margin. */
function bestOf(scores: readonly RecipeScore[]): number {
  return scores.reduce((best, { mean }, index) => (mean > scores[best].mean + MARGIN ? index : best), 0);
}

/**
 * The best recipe; but where that is a network and folds disagree by so much that a solved recipe is within one standard error of it, the solved
 * one (the one-standard-error rule, Breiman et al. 1984): it has no luck of its seed in it, and fewer ways to fit the machines that were seen.
 *
 * @param scores of the first recipes, of as many as were tried
 * @returns index of the recipe
 */
export function pickRecipe(recipes: readonly Recipe[], scores: readonly RecipeScore[]): number {
  const best = bestOf(scores);
  // One fold cannot disagree.
  if (isSolved(recipes[best]) || scores[best].folds.length < 2) return best;
  const solved = [...scores.keys()].filter((index) => isSolved(recipes[index]));
  if (solved.length === 0) return best;
  const bestSolved = solved[bestOf(solved.map((index) => scores[index]))];
  return scores[bestSolved].mean >= scores[best].mean - standardError(scores[best]) ? bestSolved : best;
}

/** Of the mean over two folds or more. */
function standardError({ folds, mean }: RecipeScore): number {
  const squares = folds.reduce((sum, fold) => sum + (fold - mean) ** 2, 0);
  return Math.sqrt(squares / (folds.length - 1) / folds.length);
}

/** A float network on recordings, a window every `stride` samples: balanced accuracy and mean cross-entropy. */
export async function scoreOn(
  engine: Engine,
  trained: TrainedNetwork,
  recordings: readonly Recording[],
  classes: readonly string[],
  stride: number,
): Promise<{ balancedAccuracy: number; loss: number }> {
  const { labels, ...windows } = cutWindows(recordings, classes, trained.options.window, stride);
  const { logits } = await runNetwork(engine, trained, { labels, ...windows });
  const { balancedAccuracy } = metricsOf(labels, argmaxRows(logits, classes.length), classes.length);
  return { balancedAccuracy, loss: crossEntropy(logits, labels, classes.length) };
}

/** A network's options for so many channels and classes. */
export function shaped<T extends NetworkOptions>(options: T, recordings: readonly Recording[], classes: readonly string[]): T {
  return { ...options, channels: recordings[0].channels.length, classes: classes.length };
}
