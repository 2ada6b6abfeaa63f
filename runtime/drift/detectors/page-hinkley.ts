import type { Detector } from './detector.ts';
import { RunningMoments } from './running-moments.ts';

export type Side = 'up' | 'down' | 'both';

export interface PageHinkleyOptions {
  /** Change of the mean that is tolerated, in the values' unit. Default 0.005. */
  readonly tolerance?: number;
  /** Sum at which it drifts, in the values' unit. Default 50. */
  readonly threshold?: number;
  /** What a step keeps of the sum before it; below 1 old values fade. Default 0.9999. */
  readonly keep?: number;
  /** Values before it may speak. Default 30. */
  readonly warmUp?: number;
  /** Which change is looked for. Default `up`. */
  readonly side?: Side;
}

/**
 * Sums how far values lie above (below) their own running mean, never less than zero, and alarms when the sum exceeds `threshold`.
 *
 * Is wrong when the change is slow: the running mean follows it. The threshold is in the values' own unit and promises no run length. Variants
 * without the floor at zero, or that compare the sum with its extreme, answer a value or so apart.
 *
 * Page (1954), Continuous inspection schemes; Hinkley (1971), Inference about the change-point from cumulative sum tests.
 */
export class PageHinkley implements Detector {
  readonly #options: Required<PageHinkleyOptions>;
  readonly #moments = new RunningMoments();
  #rising = 0;
  #falling = 0;
  drifted = false;

  constructor({ tolerance = 0.005, threshold = 50, keep = 0.9999, warmUp = 30, side = 'up' }: PageHinkleyOptions = {}) {
    this.#options = { tolerance, threshold, keep, warmUp, side };
  }

  update(x: number): void {
    if (this.drifted) this.#begin();
    const { tolerance, threshold, keep, warmUp, side } = this.#options;
    this.#moments.add(x);
    const away = x - this.#moments.mean;
    this.#rising = side === 'down' ? 0 : Math.max(0, keep * this.#rising + away - tolerance);
    this.#falling = side === 'up' ? 0 : Math.max(0, keep * this.#falling - away - tolerance);
    this.drifted = this.#moments.count >= warmUp && Math.max(this.#rising, this.#falling) > threshold;
  }

  #begin(): void {
    this.drifted = false;
    this.#moments.clear();
    this.#rising = 0;
    this.#falling = 0;
  }
}
