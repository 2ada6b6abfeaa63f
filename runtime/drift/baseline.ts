import { DIRECTIONS, FEATURES } from './features.ts';
import { Moments } from './moments.ts';

/** Least deviation, as a share of the mean one: a direction that never moved would find everything new. */
const RIDGE = 1e-3;
/** Weight of the newest window in the mean of late ones. */
export const NEWEST = 0.2;
/**
 * Share of the windows' own covariance that is added to that of the late means: in the first minute, in which a machine has been in two or three of its
 * states, and for ever. Measured on simulated machines: less, and young baselines alarm more often than ripe ones; more, and they see less.
 */
const YOUNG = 0.2;
const EVER = 0.02;
/** Windows of that first minute. */
const MINUTE = 256;

/** How a stream was while its reference was taken. */
export interface Baseline {
  /** [FEATURES]; the first is NaN where there is no novelty. */
  readonly mean: Float64Array;
  /** Deviation of the log novelty, and of means of late ones, which scatter as far as the machine's states lie apart and not only as its windows do. */
  readonly noveltyDeviation: number;
  readonly noveltyDeviationMeans: number;
  /** Lower triangle L^-1 of the projections' covariance L L', row-major [DIRECTIONS, DIRECTIONS]: makes them uncorrelated and of variance 1. */
  readonly whiten: Float64Array;
  /** The same for means of late projections. */
  readonly whitenMeans: Float64Array;
}

/** Sums up a stream's reference windows. */
export class BaselineSum {
  readonly #windows: Moments;
  readonly #means: Moments;
  /** The mean of late windows, from the first one: one for all sums beside each other. [FEATURES] */
  readonly #late: Float64Array;

  private constructor(windows: Moments, means: Moments, late: Float64Array) {
    this.#windows = windows;
    this.#means = means;
    this.#late = late;
  }

  /** @param first features of the window that distances are taken from, which keeps the sums of squares exact; any that the stream has had */
  static from(first: ArrayLike<number>, at = 0): BaselineSum {
    const origin = Float64Array.from({ length: FEATURES }, (_, i) => first[at + i]);
    return new BaselineSum(new Moments(origin), new Moments(new Float64Array(FEATURES)), new Float64Array(FEATURES));
  }

  get count(): number {
    return this.#windows.count;
  }

  /** features: [FEATURES], as `WindowFeatures` gives them, from `from` on */
  add(features: ArrayLike<number>, from = 0): void {
    const { origin } = this.#windows;
    this.#windows.add(features, from);
    for (let i = 0; i < FEATURES; i++) this.#late[i] += NEWEST * (features[from + i] - origin[i] - this.#late[i]);
    this.#means.add(this.#late);
  }

  clear(): void {
    this.#windows.clear();
    this.#means.clear();
  }

  /** An empty sum of the same stream, which can be added to this one. */
  beside(): BaselineSum {
    return new BaselineSum(this.#windows.beside(), this.#means.beside(), this.#late);
  }

  /** All windows of a sum made {@link beside} this one, and of these what leaves `most`. */
  with(other: BaselineSum, most: number): BaselineSum {
    return new BaselineSum(this.#windows.with(other.#windows, most), this.#means.with(other.#means, most), this.#late);
  }

  /** @throws RangeError for fewer windows than there are directions */
  baseline(): Baseline {
    const { count, mean } = this.#windows;
    if (count <= DIRECTIONS) throw new RangeError(`${count} reference windows for ${DIRECTIONS} directions; take more`);
    const own = new Float64Array(DIRECTIONS * DIRECTIONS);
    const late = new Float64Array(DIRECTIONS * DIRECTIONS);
    let average = 0;
    for (let i = 0; i < DIRECTIONS; i++) average += this.#windows.covariance(i + 1, i + 1) / DIRECTIONS;
    const share = YOUNG * Math.min(1, MINUTE / count) + EVER;
    for (let i = 0; i < DIRECTIONS; i++) {
      for (let j = 0; j <= i; j++) {
        const at = i * DIRECTIONS + j;
        own[at] = this.#windows.covariance(i + 1, j + 1) + (i === j ? RIDGE * average + Number.EPSILON : 0);
        late[at] = this.#means.covariance(i + 1, j + 1) + share * own[at];
      }
    }
    const novelty = this.#windows.covariance(0, 0);
    return {
      mean,
      noveltyDeviation: Math.sqrt(novelty) + RIDGE,
      noveltyDeviationMeans: Math.sqrt(this.#means.covariance(0, 0) + share * novelty) + RIDGE,
      whiten: inverseFactor(own),
      whitenMeans: inverseFactor(late),
    };
  }

  /** All that a sum is, for {@link BaselineSum.restored}. */
  kept(): number[] {
    return [...this.#windows.kept(), ...this.#means.kept(), ...this.#late];
  }

  /** @throws RangeError where the numbers are not as many as {@link kept} gives */
  static restored(numbers: readonly number[]): BaselineSum {
    const size = Moments.size(FEATURES);
    if (numbers.length !== 2 * size + FEATURES) throw new RangeError(`${numbers.length} numbers are no baseline`);
    return new BaselineSum(
      Moments.restored(numbers.slice(0, size), FEATURES),
      Moments.restored(numbers.slice(size, 2 * size), FEATURES),
      Float64Array.from(numbers.slice(2 * size)),
    );
  }
}

/** Length of the way from a baseline's mean, in deviations of its windows. mean: [FEATURES] */
export function distance(mean: ArrayLike<number>, from: Baseline): number {
  const away = Float64Array.from({ length: DIRECTIONS }, (_, i) => mean[1 + i] - from.mean[1 + i]);
  return whitenedLength(from.whiten, away);
}

/** whiten: lower triangle, row-major [DIRECTIONS, DIRECTIONS]; vector: [DIRECTIONS] */
export function whitenedLength(whiten: Float64Array, vector: Float64Array): number {
  let square = 0;
  for (let i = 0; i < DIRECTIONS; i++) {
    let sum = 0;
    for (let j = 0; j <= i; j++) sum += whiten[i * DIRECTIONS + j] * vector[j];
    square += sum * sum;
  }
  return Math.sqrt(square);
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
