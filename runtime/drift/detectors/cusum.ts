import type { Detector } from './detector.ts';
import type { Side } from './page-hinkley.ts';

export interface CusumOptions {
  /** In-control mean, in the values' unit. Default 0. */
  readonly target?: number;
  /** In-control standard deviation, in the values' unit. Default 1. */
  readonly deviation?: number;
  /** Half the shift that shall be found soonest, in standard deviations (k). Default 0.5. */
  readonly allowance?: number;
  /** Sum at which it drifts, in standard deviations (h). Default 5. */
  readonly threshold?: number;
  /** Values before it may speak; they count already. Default 0. */
  readonly warmUp?: number;
  readonly side?: Side;
}

/**
 * Tabular CUSUM: S+ = max(0, S+ + z - k), S- = max(0, S- - z - k), alarm above h.
 *
 * Is wrong where mean and deviation are not known well: with both estimated from 30 values the median run length is a third of the promised one;
 * and on autocorrelated values: at AR(1) 0.5 it is a ninth. On independent normal values k = 0.5, h = 5 runs 465 values on average to a false
 * alarm. `calibrate.ts` finds thresholds that hold on real windows.
 *
 * Page (1954); Montgomery, Introduction to Statistical Quality Control, chapter 9.
 */
export class Cusum implements Detector {
  readonly #options: Required<CusumOptions>;
  #up = 0;
  #down = 0;
  #count = 0;
  drifted = false;

  constructor({ target = 0, deviation = 1, allowance = 0.5, threshold = 5, warmUp = 0, side = 'both' }: CusumOptions = {}) {
    if (!(deviation > 0)) throw new RangeError(`a deviation of ${deviation} divides by nothing; give one above 0`);
    this.#options = { target, deviation, allowance, threshold, warmUp, side };
  }

  update(x: number): void {
    if (this.drifted) this.#begin();
    const { target, deviation, allowance, threshold, warmUp, side } = this.#options;
    const z = (x - target) / deviation;
    this.#up = side === 'down' ? 0 : Math.max(0, this.#up + z - allowance);
    this.#down = side === 'up' ? 0 : Math.max(0, this.#down - z - allowance);
    this.#count++;
    this.drifted = this.#count >= warmUp && Math.max(this.#up, this.#down) > threshold;
  }

  #begin(): void {
    this.drifted = false;
    this.#up = 0;
    this.#down = 0;
    this.#count = 0;
  }
}
