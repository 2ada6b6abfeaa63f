import type { Detector } from './detector.ts';

export interface DdmOptions {
  /** Labelled decisions before it may speak. Default 30. */
  readonly warmUp?: number;
  /** Standard deviations above the best error rate at which it drifts. Default 3. */
  readonly level?: number;
}

/**
 * Alarms when the error rate of labelled decisions leaves its best value: p + s > p_min + level s_min, where s = sqrt(p (1 - p) / n).
 * x: 1 for a wrong decision, 0 for a right one.
 *
 * Is wrong when errors grow slowly, and where labels are asked for because a decision was doubtful: then errors come together by choice.
 *
 * Gama et al. (2004), Learning with drift detection.
 */
export class Ddm implements Detector {
  readonly #warmUp: number;
  readonly #level: number;
  #count = 0;
  #errors = 0;
  #bestRate = 0;
  #bestDeviation = 0;
  #best = Number.POSITIVE_INFINITY;
  drifted = false;

  constructor({ warmUp = 30, level = 3 }: DdmOptions = {}) {
    this.#warmUp = warmUp;
    this.#level = level;
  }

  update(x: number): void {
    if (this.drifted) this.#begin();
    this.#count++;
    this.#errors += x;
    if (this.#count <= this.#warmUp) return;
    const rate = this.#errors / this.#count;
    const deviation = Math.sqrt((rate * (1 - rate)) / this.#count);
    if (rate + deviation <= this.#best) {
      this.#best = rate + deviation;
      this.#bestRate = rate;
      this.#bestDeviation = deviation;
    }
    this.drifted = rate + deviation > this.#bestRate + this.#level * this.#bestDeviation;
  }

  #begin(): void {
    this.drifted = false;
    this.#count = 0;
    this.#errors = 0;
    this.#best = Number.POSITIVE_INFINITY;
  }
}
