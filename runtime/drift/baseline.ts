import { DIRECTIONS, FEATURES } from './features.ts';

/** Least deviation, as a share of the mean one: a direction that never moved would find everything new. */
const RIDGE = 1e-3;

/** How a stream was while its reference was taken. */
export interface Baseline {
  /** [FEATURES]; the first is NaN where there is no novelty. */
  readonly mean: Float64Array;
  /** Deviation of the log novelty. */
  readonly noveltyDeviation: number;
  /** Lower triangle L^-1 of the projections' covariance L L', row-major [DIRECTIONS, DIRECTIONS]: makes them uncorrelated and of variance 1. */
  readonly whiten: Float64Array;
}

/** Sums up a stream's reference windows. */
export class BaselineSum {
  #count = 0;
  readonly #sum = new Float64Array(FEATURES);
  readonly #products = new Float64Array(FEATURES * FEATURES);
  readonly #first = new Float64Array(FEATURES);

  get count(): number {
    return this.#count;
  }

  /** features: [FEATURES], as `WindowFeatures` gives them, from `from` on */
  add(features: ArrayLike<number>, from = 0): void {
    // Distances from the first window keep the sums of squares exact.
    if (this.#count === 0) for (let i = 0; i < FEATURES; i++) this.#first[i] = features[from + i];
    this.#count++;
    for (let i = 0; i < FEATURES; i++) {
      const value = features[from + i] - this.#first[i];
      this.#sum[i] += value;
      for (let j = 0; j <= i; j++) this.#products[i * FEATURES + j] += value * (features[from + j] - this.#first[j]);
    }
  }

  clear(): void {
    this.#count = 0;
    this.#sum.fill(0);
    this.#products.fill(0);
  }

  /** @throws RangeError for fewer windows than there are directions */
  baseline(): Baseline {
    const count = this.#count;
    if (count <= DIRECTIONS) throw new RangeError(`${count} reference windows for ${DIRECTIONS} directions; take more`);
    const covariance = (i: number, j: number) => (this.#products[i * FEATURES + j] - (this.#sum[i] * this.#sum[j]) / count) / (count - 1);
    const own = new Float64Array(DIRECTIONS * DIRECTIONS);
    let average = 0;
    for (let i = 0; i < DIRECTIONS; i++) {
      average += covariance(i + 1, i + 1) / DIRECTIONS;
      for (let j = 0; j <= i; j++) own[i * DIRECTIONS + j] = covariance(i + 1, j + 1);
    }
    for (let i = 0; i < DIRECTIONS; i++) own[i * DIRECTIONS + i] += RIDGE * average + Number.EPSILON;
    return {
      mean: this.#sum.map((sum, i) => this.#first[i] + sum / count),
      noveltyDeviation: Math.sqrt(covariance(0, 0)) + RIDGE,
      whiten: inverseFactor(own),
    };
  }
}

/** L^-1 of A = L L' (Cholesky). A: lower triangle, row-major [DIRECTIONS, DIRECTIONS], overwritten. */
function inverseFactor(matrix: Float64Array): Float64Array {
  const n = DIRECTIONS;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * n + j];
      for (let k = 0; k < j; k++) sum -= matrix[i * n + k] * matrix[j * n + k];
      matrix[i * n + j] = i === j ? Math.sqrt(Math.max(sum, Number.EPSILON)) : sum / matrix[j * n + j];
    }
  }
  const inverse = new Float64Array(n * n);
  for (let column = 0; column < n; column++) {
    inverse[column * n + column] = 1 / matrix[column * n + column];
    for (let i = column + 1; i < n; i++) {
      let sum = 0;
      for (let k = column; k < i; k++) sum -= matrix[i * n + k] * inverse[k * n + column];
      inverse[i * n + column] = sum / matrix[i * n + i];
    }
  }
  return inverse;
}
