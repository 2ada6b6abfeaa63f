import type { Detector } from './detector.ts';
import type { HddmOptions } from './hddm-a.ts';

export interface HddmWOptions extends HddmOptions {
  /** Weight of the newest value. Default 0.05. */
  readonly newest?: number;
}

/** Exponentially weighted mean, and the sum of its squared weights that McDiarmid's bound needs. */
class WeightedMean {
  readonly #newest: number;
  mean = -1;
  squares = 0;

  constructor(newest: number) {
    this.#newest = newest;
  }

  get empty(): boolean {
    return this.mean < 0;
  }

  add(x: number): void {
    const [keep, take] = [1 - this.#newest, this.#newest];
    this.squares = this.empty ? 1 : take * take + keep * keep * this.squares;
    this.mean = this.empty ? x : take * x + keep * this.mean;
  }

  become({ mean, squares }: WeightedMean): void {
    this.mean = mean;
    this.squares = squares;
  }

  clear(): void {
    this.mean = -1;
    this.squares = 0;
  }
}

/** One direction: the weighted mean when it was surely at its best, and that of what came after. */
class Direction {
  readonly #sign: number;
  readonly #significance: number;
  readonly #before: WeightedMean;
  readonly #after: WeightedMean;
  #cut = Number.POSITIVE_INFINITY;

  constructor(sign: 1 | -1, significance: number, newest: number) {
    this.#sign = sign;
    this.#significance = significance;
    this.#before = new WeightedMean(newest);
    this.#after = new WeightedMean(newest);
  }

  update(x: number, all: WeightedMean): boolean {
    const worst = this.#sign * all.mean + this.#bound(all.squares);
    if (worst < this.#cut) {
      this.#cut = worst;
      this.#before.become(all);
      this.#after.clear();
    } else this.#after.add(x);
    if (this.#after.empty) return false;
    return this.#sign * (this.#after.mean - this.#before.mean) > this.#bound(this.#before.squares + this.#after.squares);
  }

  #bound(squares: number): number {
    return Math.sqrt((squares * Math.log(1 / this.#significance)) / 2);
  }

  clear(): void {
    this.#before.clear();
    this.#after.clear();
    this.#cut = Number.POSITIVE_INFINITY;
  }
}

/**
 * Compares the weighted mean when it was surely lowest (highest) with that of what came after, by McDiarmid's bound. Values within 0 to 1; 1 for a
 * wrong decision, 0 for a right one. Two-sided it begins anew after a fall, so that a later rise is measured from there, and calls it no drift, as
 * the authors' own program does.
 *
 * Is wrong on dependent values: the bound assumes independence.
 *
 * Frias-Blanco et al. (2015): the W-test, for gradual changes.
 */
export class HddmW implements Detector {
  readonly #all: WeightedMean;
  readonly #rise: Direction;
  readonly #fall: Direction | undefined;
  drifted = false;

  constructor({ significance = 0.001, newest = 0.05, twoSided = false }: HddmWOptions = {}) {
    this.#all = new WeightedMean(newest);
    this.#rise = new Direction(1, significance, newest);
    this.#fall = twoSided ? new Direction(-1, significance, newest) : undefined;
  }

  update(x: number): void {
    if (this.drifted) this.#begin();
    this.#all.add(x);
    if (this.#rise.update(x, this.#all)) this.drifted = true;
    else if (this.#fall?.update(x, this.#all)) this.#begin();
  }

  #begin(): void {
    this.drifted = false;
    this.#all.clear();
    this.#rise.clear();
    this.#fall?.clear();
  }
}
