import { type Baseline, NEWEST, whitenedLength } from './baseline.ts';
import { DIRECTIONS } from './features.ts';

/** Half the rise of the log novelty that is found soonest, in its own deviations. Large: a small one multiplies what the baseline is wrong by. */
const ALLOWANCE = 1;
/** No single window counts for more, in deviations: a knock on the machine is not a drift. */
const LARGEST_RISE = 2.5;
/** The sum goes no higher, so that a drift that is over is seen to be: far above any threshold. */
const LARGEST_SUM = 16;
/** Largest length of a whitened projection; that of most windows is about the root of DIRECTIONS. One window alone then stays below a threshold. */
const LARGEST_STEP = 8;

/**
 * The two statistics of a stream, window by window, against its own baseline:
 *
 * - `novelty`: one-sided CUSUM of the log novelty (Page 1954). Windows get less like all that the model knows.
 * - `shift`: length of the exponentially weighted mean of the projections, whitened by how such means scattered while the baseline was taken (MEWMA;
 *   Lowry et al. 1992, who take that scatter from independent windows). Windows get unlike what they were, whether the model knows them or not.
 *
 * Each window counts to a bound, so that thresholds depend little on tails that no calibration has seen. Nothing is allocated by `update`.
 */
export class DriftStatistics {
  #baseline: Baseline;
  readonly #mean = new Float64Array(DIRECTIONS);
  readonly #away = new Float64Array(DIRECTIONS);
  novelty = 0;
  shift = 0;

  constructor(baseline: Baseline) {
    this.#baseline = baseline;
  }

  /** Goes on against a baseline that has learned more. */
  rebase(baseline: Baseline): void {
    this.#baseline = baseline;
  }

  /** features: [FEATURES] from `from` on */
  update(features: ArrayLike<number>, from = 0): void {
    const { mean, noveltyDeviation, whiten, whitenMeans } = this.#baseline;
    const rise = (features[from] - mean[0]) / noveltyDeviation;
    // NaN where there is no novelty: the sum stays where it is.
    if (!Number.isNaN(rise)) this.novelty = Math.max(0, Math.min(LARGEST_SUM, this.novelty + Math.min(rise, LARGEST_RISE) - ALLOWANCE));
    for (let i = 0; i < DIRECTIONS; i++) this.#away[i] = features[from + 1 + i] - mean[1 + i];
    const bound = NEWEST * Math.min(1, LARGEST_STEP / (whitenedLength(whiten, this.#away) + Number.EPSILON));
    for (let i = 0; i < DIRECTIONS; i++) this.#mean[i] = (1 - NEWEST) * this.#mean[i] + bound * this.#away[i];
    this.shift = whitenedLength(whitenMeans, this.#mean);
  }

  clear(): void {
    this.novelty = 0;
    this.shift = 0;
    this.#mean.fill(0);
  }
}
