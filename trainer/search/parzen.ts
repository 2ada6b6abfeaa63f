import type { Random } from '../../models/networks/random.ts';
import { normalCumulative } from './normal.ts';
import { levelAt, levelCentre } from './space.ts';

/** How many of `finished` trials are the good ones: a tenth, rounded up, 25 at most. */
export function gamma(finished: number): number {
  return Math.min(Math.ceil(0.1 * finished), 25);
}

/** The older rule of hyperopt: a quarter of the square root, 25 at most. */
export function squareRootGamma(finished: number): number {
  return Math.min(Math.ceil(0.25 * Math.sqrt(finished)), 25);
}

/** Weights of n observations, oldest first: the newest 25 weigh 1, those before rise in a line from 1/n to 1. */
export function rampWeights(n: number): number[] {
  const old = Math.max(0, n - 25);
  return Array.from({ length: n }, (_, index) => {
    if (index >= old) return 1;
    return old === 1 ? 1 / n : 1 / n + ((1 - 1 / n) * index) / (old - 1);
  });
}

export interface ParzenOptions {
  /** Weight of the prior's one kernel beside those of the observations; more than 0. */
  readonly priorWeight: number;
  /** Whether the outermost observations reach to the ends of the range even where their neighbour is nearer. */
  readonly endpoints: boolean;
  /** Whether no kernel is narrower than the range over the number of kernels and one, 100 at most. */
  readonly magicClip: boolean;
}

export const PARZEN_DEFAULTS: ParzenOptions = { priorWeight: 1, endpoints: false, magicClip: true };

/** A mixture of normal kernels cut off at the ends of a range; the prior is the last kernel. */
export interface Kernels {
  readonly low: number;
  readonly high: number;
  /** Sum 1. */
  readonly weights: readonly number[];
  readonly means: readonly number[];
  readonly deviations: readonly number[];
}

/**
 * Places a kernel on every observation, and one as wide as the range in its middle.
 *
 * Does: a kernel is as wide as the gap to the farther of its observation's two neighbours, the ends of the range standing in for a missing one. Is
 * wrong when observations come in no order of time: the weights forget the first ones.
 *
 * @param observations oldest first, within [low, high]
 * @example fitKernels([-0.4, 0.4, 0.41, 0.42], -1, 1, { priorWeight: 1, endpoints: true, magicClip: false }).deviations // [0.8, 0.8, 0.01, 0.58, 2]
 * @see Bergstra, Bardenet, Bengio, Kegl 2011, section 4.2; the widths are those that Optuna tests (reference/ml.md 3.8)
 */
export function fitKernels(observations: readonly number[], low: number, high: number, options: ParzenOptions = PARZEN_DEFAULTS): Kernels {
  const n = observations.length;
  const width = high - low;
  const order = observations.map((_, index) => index).sort((a, b) => observations[a] - observations[b]);
  const narrowest = options.magicClip ? width / Math.min(100, n + 2) : 1e-12;
  const deviations = new Array<number>(n);
  order.forEach((index, rank) => {
    const mean = observations[index];
    const below = rank > 0 ? mean - observations[order[rank - 1]] : undefined;
    const above = rank < n - 1 ? observations[order[rank + 1]] - mean : undefined;
    // A lone observation has no neighbour, so it is given the ends whatever the option says.
    const ends = options.endpoints || n === 1;
    const gap = Math.max(below ?? (ends ? mean - low : 0), above ?? (ends ? high - mean : 0));
    deviations[index] = Math.min(width, Math.max(narrowest, gap));
  });
  const raw = n === 0 ? [1] : [...rampWeights(n), options.priorWeight];
  const total = raw.reduce((sum, weight) => sum + weight, 0);
  return {
    low,
    high,
    weights: raw.map((weight) => weight / total),
    means: [...observations, (low + high) / 2],
    deviations: [...deviations, width],
  };
}

/**
 * The distribution of one categorical parameter: a mixture in which every observation adds one to its choice, over an even share of the prior.
 *
 * @param observed levels, oldest first
 * @returns probabilities of the choices, sum 1
 * @example fitChoices([1], 3) // [0.2667, 0.4667, 0.2667]: the mean of [.2, .6, .2] and the prior's [1/3, 1/3, 1/3]
 */
export function fitChoices(observed: readonly number[], choices: number, { priorWeight }: ParzenOptions = PARZEN_DEFAULTS): number[] {
  const n = observed.length;
  if (n === 0) return new Array<number>(choices).fill(1 / choices);
  const weights = rampWeights(n);
  const total = weights.reduce((sum, weight) => sum + weight, priorWeight);
  const share = priorWeight / (n + 1);
  const kernel = 1 + choices * share;
  const probabilities = new Array<number>(choices).fill(priorWeight / total / choices);
  observed.forEach((choice, index) => {
    const weight = weights[index] / total / kernel;
    for (let other = 0; other < choices; other++) probabilities[other] += weight * share;
    probabilities[choice] += weight;
  });
  return probabilities;
}

/** A distribution over one unit coordinate. */
export interface Estimator {
  /** A coordinate in [0, 1]. */
  draw(random: Random): number;
  /** Logarithm of the density there, or of the probability of the level there. */
  logLikelihood(unit: number): number;
}

function drawIndex(probabilities: readonly number[], random: Random): number {
  let left = random.uniform();
  for (let index = 0; index < probabilities.length - 1; index++) {
    left -= probabilities[index];
    if (left < 0) return index;
  }
  return probabilities.length - 1;
}

/** Shares of each kernel that lie within [low, high]: at least .34, since every mean lies there and no kernel is wider than the range. */
function massesOf({ low, high, means, deviations }: Kernels): number[] {
  return means.map(
    (mean, index) => normalCumulative((high - mean) / deviations[index]) - normalCumulative((low - mean) / deviations[index]),
  );
}

function drawFrom({ low, high, weights, means, deviations }: Kernels, random: Random): number {
  const kernel = drawIndex(weights, random);
  for (;;) {
    const value = means[kernel] + deviations[kernel] * random.normal();
    if (value >= low && value <= high) return value;
  }
}

/** Of a continuous coordinate. */
export function continuousEstimator(observations: readonly number[], options?: ParzenOptions): Estimator {
  const kernels = fitKernels(observations, 0, 1, options);
  const masses = massesOf(kernels);
  const { weights, means, deviations } = kernels;
  return {
    draw: (random) => drawFrom(kernels, random),
    logLikelihood(unit) {
      let density = 0;
      for (let index = 0; index < weights.length; index++) {
        const z = (unit - means[index]) / deviations[index];
        density += (weights[index] * Math.exp(-0.5 * z * z)) / (deviations[index] * masses[index]);
      }
      return Math.log(density * 0.3989422804014327);
    },
  };
}

/** Of a whole number: the kernels of the continuous one, summed over each level's share of [0, 1]. */
export function levelEstimator(observations: readonly number[], levels: number, options?: ParzenOptions): Estimator {
  const kernels = fitKernels(observations, 0, 1, options);
  const masses = massesOf(kernels);
  const { weights, means, deviations } = kernels;
  return {
    draw: (random) => levelCentre(levelAt(drawFrom(kernels, random), levels), levels),
    logLikelihood(unit) {
      const level = levelAt(unit, levels);
      let probability = 0;
      for (let index = 0; index < weights.length; index++) {
        const upper = normalCumulative(((level + 1) / levels - means[index]) / deviations[index]);
        const lower = normalCumulative((level / levels - means[index]) / deviations[index]);
        probability += (weights[index] * (upper - lower)) / masses[index];
      }
      return Math.log(probability);
    },
  };
}

/** Of a categorical parameter. */
export function choiceEstimator(observations: readonly number[], choices: number, options?: ParzenOptions): Estimator {
  const probabilities = fitChoices(
    observations.map((unit) => levelAt(unit, choices)),
    choices,
    options,
  );
  return {
    draw: (random) => levelCentre(drawIndex(probabilities, random), choices),
    logLikelihood: (unit) => Math.log(probabilities[levelAt(unit, choices)]),
  };
}
