import type { Detector } from './detector.ts';
import { RunningMoments } from './running-moments.ts';

export interface EddmOptions {
  /** Decisions before it remembers a best distance, and errors before it may speak. Default 30. */
  readonly warmUp?: number;
  /** Share of the best distance between errors below which it drifts. Default 0.9. */
  readonly share?: number;
}

/**
 * Alarms when errors of labelled decisions come closer together: (m + 2 s) / max(m + 2 s) < share, with mean m and deviation s of the distances
 * between two errors. x: 1 for a wrong decision, 0 for a right one.
 *
 * Is wrong, often, at rest: on a stream of constant error rate it alarms every few hundred decisions. Kept for comparison.
 *
 * Baena-Garcia et al. (2006), Early drift detection method.
 */
export class Eddm implements Detector {
  readonly #warmUp: number;
  readonly #share: number;
  readonly #distances = new RunningMoments();
  #count = 0;
  #lastError = 0;
  #largest = 0;
  drifted = false;

  constructor({ warmUp = 30, share = 0.9 }: EddmOptions = {}) {
    this.#warmUp = warmUp;
    this.#share = share;
  }

  update(x: number): void {
    if (this.drifted) this.#begin();
    this.#count++;
    if (x === 0) return;
    this.#distances.add(this.#count - this.#lastError);
    this.#lastError = this.#count;
    if (this.#count + 1 < this.#warmUp) return;
    const spread = this.#distances.mean + 2 * Math.sqrt(this.#distances.variance);
    if (spread > this.#largest) this.#largest = spread;
    else this.drifted = this.#distances.count > this.#warmUp && spread / this.#largest < this.#share;
  }

  #begin(): void {
    this.drifted = false;
    this.#distances.clear();
    this.#count = 0;
    this.#lastError = 0;
    this.#largest = 0;
  }
}
