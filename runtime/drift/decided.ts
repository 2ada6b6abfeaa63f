import type { ObservedWindow } from './monitor.ts';

/** Counts decided classes, sums confidence and speed. */
export class Decided {
  readonly #counts: Float64Array;
  #windows = 0;
  #confidence = 0;
  #speed = 0;

  constructor(classes: number) {
    this.#counts = new Float64Array(classes);
  }

  add({ probabilities, shaftSpeedRpm = Number.NaN }: ObservedWindow): void {
    let best = 0;
    for (let at = 1; at < probabilities.length; at++) if (probabilities[at] > probabilities[best]) best = at;
    this.#counts[best]++;
    this.#windows++;
    this.#confidence += probabilities[best];
    this.#speed += shaftSpeedRpm;
  }

  get most(): number {
    return this.#counts.indexOf(Math.max(...this.#counts));
  }

  get accuracy(): number {
    return this.#windows === 0 ? 0 : this.#confidence / this.#windows;
  }

  /** Mean, rpm; NaN where a window had none. */
  get speed(): number {
    return this.#windows === 0 ? Number.NaN : this.#speed / this.#windows;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#windows = 0;
    this.#confidence = 0;
    this.#speed = 0;
  }
}
