import type { Detector } from './detector.ts';
import { RunningMoments } from './running-moments.ts';

export interface EwmaOptions {
  /** Weight of the newest value (lambda). Default 0.1. */
  readonly newest?: number;
  /** Width of the limits in standard deviations of the average (L). Default 2.814: about 500 independent normal values to a false alarm. */
  readonly limit?: number;
  /**
   * In-control mean and deviation, in the values' unit. Where absent, the running mean of all values and the exponentially weighted variance about
   * the average before: then a jump widens the limits too, and is found some values later.
   */
  readonly control?: { readonly mean: number; readonly deviation: number };
  /** Values before it may speak. Default 50. */
  readonly warmUp?: number;
}

/**
 * Exponentially weighted moving average with asymptotic limits: alarm where |Z - mean| > L deviation sqrt(lambda / (2 - lambda)).
 *
 * Is wrong on autocorrelated values, whose average wanders further than the limits think.
 *
 * Roberts (1959); Montgomery, Introduction to Statistical Quality Control, chapter 9.
 */
export class Ewma implements Detector {
  readonly #newest: number;
  readonly #width: number;
  readonly #control: EwmaOptions['control'];
  readonly #warmUp: number;
  readonly #all = new RunningMoments();
  #average = 0;
  #variance = 0;
  drifted = false;

  constructor({ newest = 0.1, limit = 2.814, control, warmUp = 50 }: EwmaOptions = {}) {
    this.#newest = newest;
    this.#width = limit * Math.sqrt(newest / (2 - newest));
    this.#control = control;
    this.#warmUp = warmUp;
    this.#begin();
  }

  update(x: number): void {
    if (this.drifted) this.#begin();
    const [keep, take] = [1 - this.#newest, this.#newest];
    if (this.#all.count === 0 && !this.#control) this.#average = x;
    this.#all.add(x);
    this.#variance = keep * this.#variance + take * (x - this.#average) ** 2;
    this.#average = keep * this.#average + take * x;
    const { mean, deviation } = this.#control ?? { mean: this.#all.mean, deviation: Math.sqrt(this.#variance) };
    this.drifted = this.#all.count >= this.#warmUp && Math.abs(this.#average - mean) > this.#width * deviation;
  }

  #begin(): void {
    this.drifted = false;
    this.#all.clear();
    this.#average = this.#control?.mean ?? 0;
    this.#variance = 0;
  }
}
