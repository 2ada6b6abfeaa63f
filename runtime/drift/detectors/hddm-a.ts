import type { Detector } from './detector.ts';

export interface HddmOptions {
  /** Probability of a false alarm of one comparison. Default 0.001. */
  readonly significance?: number;
  /** Whether fewer errors are a drift too. Default false. */
  readonly twoSided?: boolean;
}

/** Sum and count of what came up to some moment. */
interface Cut {
  count: number;
  sum: number;
}

/**
 * Compares the mean of all values with the mean up to the moment when it was surely lowest (highest), by Hoeffding's bound. Values within 0 to 1,
 * of any distribution; 1 for a wrong decision, 0 for a right one.
 *
 * Is wrong on dependent values: the bound assumes independence.
 *
 * Frias-Blanco et al. (2015), Online and non-parametric drift detection methods based on Hoeffding's bounds: the A-test, for abrupt changes.
 */
export class HddmA implements Detector {
  readonly #significance: number;
  readonly #twoSided: boolean;
  readonly #all: Cut = { count: 0, sum: 0 };
  readonly #low: Cut = { count: 0, sum: 0 };
  readonly #high: Cut = { count: 0, sum: 0 };
  drifted = false;

  constructor({ significance = 0.001, twoSided = false }: HddmOptions = {}) {
    this.#significance = significance;
    this.#twoSided = twoSided;
  }

  update(x: number): void {
    if (this.drifted) this.#begin();
    const [all, low, high] = [this.#all, this.#low, this.#high];
    all.count++;
    all.sum += x;
    const bound = this.#bound(all.count);
    const mean = all.sum / all.count;
    if (low.count === 0 || low.sum / low.count + this.#bound(low.count) >= mean + bound) Object.assign(low, all);
    if (high.count === 0 || high.sum / high.count - this.#bound(high.count) <= mean - bound) Object.assign(high, all);
    const fell = high.sum / high.count - mean;
    if (mean - low.sum / low.count >= this.#apart(low.count)) this.drifted = true;
    else if (this.#twoSided && fell >= this.#apart(high.count)) this.drifted = true;
  }

  /** Hoeffding's bound on the mean of so many values. */
  #bound(count: number): number {
    return Math.sqrt(Math.log(1 / this.#significance) / (2 * count));
  }

  /** Distance of the mean of the first `count` values from the mean of all that speaks for a change. */
  #apart(count: number): number {
    const total = this.#all.count;
    if (count === total) return Number.POSITIVE_INFINITY;
    return Math.sqrt((((total - count) / count) * (1 / total) * Math.log(2 / this.#significance)) / 2);
  }

  #begin(): void {
    this.drifted = false;
    for (const cut of [this.#all, this.#low, this.#high]) Object.assign(cut, { count: 0, sum: 0 });
  }
}
