import { kolmogorovSmirnov, twoSampleTail } from '../kolmogorov-smirnov.ts';
import type { Detector } from './detector.ts';

export interface KswinOptions {
  /** Probability of a false alarm of one comparison. Default 0.005. */
  readonly significance?: number;
  /** Values that are kept. Default 100. */
  readonly window?: number;
  /** Latest values that are compared, and as many of those before. Default 30. */
  readonly recent?: number;
  /** Distance below which nothing is a drift. Default 0.1. */
  readonly leastDistance?: number;
  /** A whole number in [0, bound): which of the older values are drawn. Needed where the window has more older values than are compared. */
  readonly below?: (bound: number) => number;
}

/**
 * Compares the latest values with as many drawn from those before by the exact two-sample Kolmogorov-Smirnov test.
 *
 * Is wrong on autocorrelated values. It tests with every value, so its significance is no run length; and it sorts twice a value.
 *
 * Raab et al. (2020), Reactive soft prototype computing for concept drift streams.
 */
export class Kswin implements Detector {
  readonly #window: number;
  readonly #recent: number;
  readonly #below: ((bound: number) => number) | undefined;
  /** Least distance that is significant. */
  readonly #critical: number;
  #values: number[] = [];
  drifted = false;

  constructor({ significance = 0.005, window = 100, recent = 30, leastDistance = 0.1, below }: KswinOptions = {}) {
    if (window < 2 * recent) throw new RangeError(`a window of ${window} is less than twice ${recent}; make it longer`);
    if (window > 2 * recent && !below) throw new RangeError(`${window - recent} older values for ${recent}: give \`below\` to draw by`);
    this.#window = window;
    this.#recent = recent;
    this.#below = below;
    let steps = Math.floor(leastDistance * recent) + 1;
    while (steps <= recent && twoSampleTail(steps / recent, recent, recent) > significance) steps++;
    this.#critical = steps / recent;
  }

  update(x: number): void {
    if (this.drifted) this.#values = [];
    this.drifted = false;
    this.#values.push(x);
    if (this.#values.length > this.#window) this.#values.shift();
    if (this.#values.length < this.#window) return;
    const older = this.#values.slice(0, -this.#recent);
    for (let at = 0; this.#below && at < this.#recent; at++) {
      const other = at + this.#below(older.length - at);
      [older[at], older[other]] = [older[other], older[at]];
    }
    const distance = kolmogorovSmirnov(older.slice(0, this.#recent), this.#values.slice(-this.#recent));
    this.drifted = distance >= this.#critical - 1e-12;
  }
}
