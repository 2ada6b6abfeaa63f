import { Random } from '../../models/networks/random.ts';
import { type NoveltyDecision, type NoveltyReference, projectedMeans } from '../../models/training/novelty.ts';
import { symmetricEigen } from './eigen.ts';

export type { NoveltyDecision, NoveltyReference };

/** Directions and means that a reference keeps at most: with 48 and 48, 14 kB in an int8 graph. */
const MOST_DIRECTIONS = 48;
const MOST_MEANS = 48;
const CLUSTER_ROUNDS = 20;
/** Numbers of an embedding at most: eigenvectors of more take minutes. */
export const WIDEST_EMBEDDING = 512;
/** Least variance of a direction, as a share of the mean one: a direction that never moved would find everything new. */
const VARIANCE_FLOOR = 1e-6;
/** Least variance of all, of embeddings scaled to unit length: below it there is only rounding. */
const LEAST_VARIANCE = 1e-12;

export interface NoveltyFit extends NoveltyReference {
  /** Share of the covariance that was replaced by its mean variance in every direction, 0 to 1. */
  readonly shrinkage: number;
}

export interface FitOptions {
  /** Equal parts of an embedding that are each scaled to unit length: 2 of an attention network, [class token, mean]. Default 1. */
  readonly parts?: number;
  readonly most?: { readonly directions?: number; readonly means?: number };
  readonly seed?: number;
}

/**
 * Gaussians about means of known windows with one covariance for all (Lee et al. 2018), by which {@link noveltyScores} measures. Three
 * differences, each measured on cwru12: embeddings are scaled to unit length first (Mueller and Hein 2025), a class has several means where there
 * is room (k-means; one class may be recorded at several loads), and only the directions of largest variance count.
 *
 * The covariance is shrunk towards a multiple of the identity by the share that Ledoit and Wolf (2004) derive for independent samples; windows
 * of a recording are not independent, so it is rather too little than too much.
 *
 * @param embeddings row-major [rows, E] of training windows
 * @param labels class index of each row; all the same where nothing is known of classes
 * @throws RangeError where embeddings are wider than 512, as those of a linear network are
 */
export function fitMahalanobis(embeddings: Float32Array, labels: Int32Array, options: FitOptions = {}): NoveltyFit {
  const { parts = 1, seed = 1, most: { directions = MOST_DIRECTIONS, means = MOST_MEANS } = {} } = options;
  const width = embeddings.length / labels.length;
  if (width > WIDEST_EMBEDDING) {
    throw new RangeError(`an embedding of ${width} numbers is too wide for a covariance; at most ${WIDEST_EMBEDDING}`);
  }
  const scaled = scaleParts(embeddings, width, parts);
  const classes = new Set(labels).size;
  const perClass = Math.floor(means / classes);
  const clusters = perClass < 2 ? labels : clusterWithin(scaled, labels, width, perClass, new Random(seed));
  return { ...gaussian(scaled, clusters, width, Math.min(directions, width)), parts };
}

/** Embeddings with each of their parts scaled to unit length. [rows, width] -> the same */
function scaleParts(embeddings: Float32Array, width: number, parts: number): Float32Array {
  const scaled = new Float32Array(embeddings.length);
  const part = width / parts;
  for (let start = 0; start < embeddings.length; start += part) {
    let square = 1e-12;
    for (let at = start; at < start + part; at++) square += embeddings[at] ** 2;
    for (let at = start; at < start + part; at++) scaled[at] = embeddings[at] / Math.sqrt(square);
  }
  return scaled;
}

/** [rows, width] -> [rows, rank] */
function project(rows: Float32Array, { width, rank, whiten }: Pick<NoveltyReference, 'width' | 'rank' | 'whiten'>): Float32Array {
  return projectedMeans({ width, rank, whiten, mean: rows, parts: 1 });
}

/** Means of the groups and the whitening matrix of what is left. values: [rows, width]; groups: [rows] */
function gaussian(values: Float32Array, groups: Int32Array, width: number, rank: number): Omit<NoveltyFit, 'parts'> {
  const rows = groups.length;
  const present = [...new Set(groups)].sort((a, b) => a - b);
  const index = new Map(present.map((group, at) => [group, at]));
  const counts = new Float64Array(present.length);
  for (const group of groups) counts[index.get(group)!]++;
  const means = new Float64Array(present.length * width);
  for (let row = 0; row < rows; row++) {
    const at = index.get(groups[row])!;
    for (let column = 0; column < width; column++) means[at * width + column] += values[row * width + column] / counts[at];
  }
  const centred = new Float64Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const at = index.get(groups[row])!;
    for (let column = 0; column < width; column++)
      centred[row * width + column] = values[row * width + column] - means[at * width + column];
  }
  const { values: variances, vectors } = symmetricEigen(covarianceOf(centred, rows, width), width);
  const average = variances.reduce((sum, value) => sum + value, 0) / width;
  const shrinkage = ledoitWolf(centred, rows, width, variances, average);
  const whiten = new Float32Array(width * rank);
  for (let column = 0; column < rank; column++) {
    const variance = (1 - shrinkage) * variances[column] + shrinkage * average;
    const inverse = 1 / Math.sqrt(Math.max(variance, VARIANCE_FLOOR * average, LEAST_VARIANCE));
    for (let row = 0; row < width; row++) whiten[row * rank + column] = vectors[row * width + column] * inverse;
  }
  return { width, rank, mean: Float32Array.from(means), whiten, shrinkage };
}

/** Divides the rows of each class into `count` clusters (k-means from k-means++; Arthur and Vassilvitskii 2007). Returns a group for each row. */
function clusterWithin(values: Float32Array, labels: Int32Array, width: number, count: number, random: Random): Int32Array {
  const groups = new Int32Array(labels.length);
  for (const label of [...new Set(labels)].sort((a, b) => a - b)) {
    const rows = [...labels.keys()].filter((row) => labels[row] === label);
    const own = kMeans(values, rows, width, Math.min(count, rows.length), random);
    rows.forEach((row, at) => {
      groups[row] = label * count + own[at];
    });
  }
  return groups;
}

function kMeans(values: Float32Array, rows: readonly number[], width: number, count: number, random: Random): Int32Array {
  const centres: Float64Array[] = [];
  const distance = (row: number, centre: Float64Array) => {
    let sum = 0;
    for (let column = 0; column < width; column++) sum += (values[row * width + column] - centre[column]) ** 2;
    return sum;
  };
  const nearest = new Float64Array(rows.length).fill(Number.POSITIVE_INFINITY);
  for (let made = 0; made < count; made++) {
    // The first anywhere, the others where the distance to all before them is large.
    let left = random.uniform() * nearest.reduce((sum, value) => sum + value, 0);
    let pick = made === 0 ? random.below(rows.length) : 0;
    while (made > 0 && pick < rows.length - 1 && left >= nearest[pick]) left -= nearest[pick++];
    const centre = Float64Array.from(values.subarray(rows[pick] * width, (rows[pick] + 1) * width));
    centres.push(centre);
    rows.forEach((row, at) => {
      nearest[at] = Math.min(nearest[at], distance(row, centre));
    });
  }
  const groups = new Int32Array(rows.length);
  for (let round = 0; round < CLUSTER_ROUNDS; round++) {
    rows.forEach((row, at) => {
      let least = Number.POSITIVE_INFINITY;
      centres.forEach((centre, group) => {
        const found = distance(row, centre);
        if (found < least) [least, groups[at]] = [found, group];
      });
    });
    centres.forEach((centre, group) => {
      const own = rows.filter((_, at) => groups[at] === group);
      if (own.length === 0) return;
      centre.fill(0);
      for (const row of own) for (let column = 0; column < width; column++) centre[column] += values[row * width + column] / own.length;
    });
  }
  return groups;
}

function covarianceOf(centred: Float64Array, rows: number, width: number): Float64Array {
  const covariance = new Float64Array(width * width);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < width; i++) {
      const value = centred[row * width + i] / rows;
      for (let j = 0; j <= i; j++) covariance[i * width + j] += value * centred[row * width + j];
    }
  }
  for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) covariance[j * width + i] = covariance[i * width + j];
  return covariance;
}

/**
 * min(1, b^2 / d^2): the sampling error of the covariance over its distance from the target, both squared Frobenius norms.
 * sum_i |x_i x_i' - S|^2 = sum_i |x_i|^4 - n |S|^2.
 */
function ledoitWolf(centred: Float64Array, rows: number, width: number, values: Float64Array, average: number): number {
  const squared = values.reduce((sum, value) => sum + value * value, 0);
  const distance = values.reduce((sum, value) => sum + (value - average) ** 2, 0);
  let fourth = 0;
  for (let row = 0; row < rows; row++) {
    let norm = 0;
    for (let column = 0; column < width; column++) norm += centred[row * width + column] ** 2;
    fourth += norm * norm;
  }
  const error = (fourth / rows - squared) / rows;
  return distance === 0 ? 1 : Math.max(0, Math.min(1, error / distance));
}

/** Distance of each row to the nearest known mean, as the graph makes it, [rows]. embeddings: row-major [rows, E] */
export function noveltyScores(reference: NoveltyReference, embeddings: Float32Array): Float32Array {
  const { width, parts, rank } = reference;
  const means = projectedMeans(reference);
  const projected = project(scaleParts(embeddings, width, parts), reference);
  return Float32Array.from({ length: embeddings.length / width }, (_, row) => {
    let nearest = Number.POSITIVE_INFINITY;
    for (let mean = 0; mean < means.length; mean += rank) {
      let distance = 0;
      for (let column = 0; column < rank; column++) distance += (projected[row * rank + column] - means[mean + column]) ** 2;
      nearest = Math.min(nearest, distance);
    }
    return Math.sqrt(nearest);
  });
}

/**
 * Split-conformal threshold (Vovk et al. 2005; Lei et al. 2018): the ceil((n + 1)(1 - share))-th lowest of n calibration scores. A further known
 * window has a higher score with a probability of at most `share`, where it is exchangeable with the calibration windows. Windows of the
 * same recordings are; those of another day or load may not be.
 *
 * @param scores of known windows that the reference was not fitted on
 * @param share of known windows that may be called new
 * @returns infinity where there are too few scores for so small a share
 */
export function conformalThreshold(scores: Float32Array, share: number): number {
  const rank = Math.ceil((scores.length + 1) * (1 - share) - 1e-9);
  return rank > scores.length ? Number.POSITIVE_INFINITY : scores.slice().sort()[rank - 1];
}

/** Area under the ROC curve: the probability that a new window scores higher than a known one, ties counting half (Mann and Whitney 1947). */
export function auroc(known: Float32Array, novel: Float32Array): number {
  const sorted = known.slice().sort();
  const below = (value: number, orEqual: boolean) => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value || (orEqual && sorted[middle] === value)) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  let sum = 0;
  for (const score of novel) sum += (below(score, false) + below(score, true)) / 2;
  return sum / (known.length * novel.length);
}
