import { type Baseline, NEWEST, whitenedLength } from './baseline.ts';
import { DIRECTIONS } from './features.ts';

/** No single window counts for more, in deviations: a knock on the machine is not a drift. */
const LARGEST_RISE = 5;
/** Largest length of a whitened projection; that of most windows is about the root of DIRECTIONS. One window alone then stays below a threshold. */
const LARGEST_STEP = 8;

/**
 * The two statistics of a stream, window by window, against its own baseline:
 *
 * - `novelty`: exponentially weighted mean of the log novelty's rise (EWMA; Roberts 1959), in deviations of such means. Windows get less like all that the
 *   model knows. A CUSUM, which sums up small rises, alarms at each state of a machine that its first minute did not have: run lengths of thousands of
 *   windows asked for the highest threshold it can reach (measured on simulated machines).
 * - `shift`: length of the exponentially weighted mean of the projections, whitened by how such means scattered while the baseline was taken (MEWMA;
 *   Lowry et al. 1992, who take that scatter from independent windows). Windows get unlike what they were, whether the model knows them or not.
 *
 * Each window counts to a bound, so that thresholds depend little on tails that no calibration has seen. Nothing is allocated by `update`.
 */
export class DriftStatistics {
  #baseline: Baseline;
  readonly #mean = new Float64Array(DIRECTIONS);
  readonly #away = new Float64Array(DIRECTIONS);
  #rise = 0;
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
    const { mean, noveltyDeviation, noveltyDeviationMeans, whiten, whitenMeans } = this.#baseline;
    const largest = LARGEST_RISE * noveltyDeviation;
    const rise = Math.max(-largest, Math.min(largest, features[from] - mean[0]));
    // NaN where there is no novelty: the mean stays where it is.
    if (!Number.isNaN(rise)) {
      this.#rise += NEWEST * (rise - this.#rise);
      this.novelty = Math.max(0, this.#rise / noveltyDeviationMeans);
    }
    for (let i = 0; i < DIRECTIONS; i++) this.#away[i] = features[from + 1 + i] - mean[1 + i];
    const bound = NEWEST * Math.min(1, LARGEST_STEP / (whitenedLength(whiten, this.#away) + Number.EPSILON));
    for (let i = 0; i < DIRECTIONS; i++) this.#mean[i] = (1 - NEWEST) * this.#mean[i] + bound * this.#away[i];
    this.shift = whitenedLength(whitenMeans, this.#mean);
  }

  clear(): void {
    this.#rise = 0;
    this.novelty = 0;
    this.shift = 0;
    this.#mean.fill(0);
  }
}
