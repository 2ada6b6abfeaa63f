import type { Detector } from './detector.ts';

/**
 * Accuracy that calibrated probabilities promise of their own decisions: the mean of the largest of each window (for two classes mean(max(p, 1 - p))).
 *
 * Is wrong where they are not calibrated, which is what a drift does to them first: it tells how sure a model is, and a model that is sure of the
 * wrong thing is told from a right one by novelty only.
 *
 * Confidence-based performance estimation; Guillory et al. (2021), Predicting with confidence on unseen distributions, average confidence.
 *
 * @param probabilities row-major [windows, classes]
 */
export function estimatedAccuracy(probabilities: ArrayLike<number>, classes: number): number {
  let sum = 0;
  for (let row = 0; row < probabilities.length; row += classes) {
    let largest = probabilities[row];
    for (let at = row + 1; at < row + classes; at++) if (probabilities[at] > largest) largest = probabilities[at];
    sum += largest;
  }
  return (sum * classes) / probabilities.length;
}

export interface CbpeOptions {
  /** Accuracy of the time when all was well, 0 to 1. */
  readonly expected: number;
  /** Loss of estimated accuracy at which it drifts. Default 0.05, five points. */
  readonly loss?: number;
  /** Latest decisions that are estimated together. Default 64. */
  readonly window?: number;
}

/** Alarms when the estimated accuracy of the latest decisions lies too far below the expected one. x: the largest probability of a decision. */
export class Cbpe implements Detector {
  readonly #least: number;
  readonly #latest: Float64Array;
  #count = 0;
  #sum = 0;
  drifted = false;

  constructor({ expected, loss = 0.05, window = 64 }: CbpeOptions) {
    this.#least = expected - loss;
    this.#latest = new Float64Array(window);
  }

  /** Of the latest decisions; NaN before the first. */
  get accuracy(): number {
    return this.#sum / Math.min(this.#count, this.#latest.length);
  }

  update(x: number): void {
    if (this.drifted) {
      this.#count = 0;
      this.#sum = 0;
      this.#latest.fill(0);
    }
    const at = this.#count % this.#latest.length;
    this.#sum += x - this.#latest[at];
    this.#latest[at] = x;
    this.#count++;
    this.drifted = this.#count >= this.#latest.length && this.accuracy < this.#least;
  }
}
