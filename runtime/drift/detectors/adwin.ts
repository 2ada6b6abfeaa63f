import type { Detector } from './detector.ts';

export interface AdwinOptions {
  /** Probability of a false cut. Default 0.002. */
  readonly significance?: number;
  /** Values between two looks for a cut. Default 32. */
  readonly clock?: number;
  /** Buckets of one size. Default 5. */
  readonly buckets?: number;
  /** Values that each side of a cut has at the least. Default 5. */
  readonly leastSide?: number;
  /** Values before it may speak. Default 10. */
  readonly warmUp?: number;
}

/** Values that came one after the other: 2^row of them. */
interface Bucket {
  readonly count: number;
  readonly sum: number;
  /** Sum of squared distances from their own mean. */
  readonly squares: number;
}

const joined = (one: Bucket, other: Bucket): Bucket => {
  const count = one.count + other.count;
  const apart = one.sum / one.count - other.sum / other.count;
  return { count, sum: one.sum + other.sum, squares: one.squares + other.squares + (one.count * other.count * apart * apart) / count };
};

/**
 * A window of the latest values that is as long as they have one mean: its oldest part is dropped where the means of two parts differ by more than
 * chance allows.
 *
 * Variant (the published ones differ and give different answers on the same stream): exponential histogram, bound with the variance of the whole
 * window and delta' = delta / (2 ln n), looked for every `clock` values; everything older than the cut that stands out most goes at once, so that
 * one change is one alarm.
 *
 * Is wrong on autocorrelated values, and slow: at its default it finds no small shift at all.
 *
 * Bifet and Gavalda (2007), Learning from time-changing data with adaptive windowing, ADWIN2.
 */
export class Adwin implements Detector {
  readonly #options: Required<AdwinOptions>;
  /** By size: row r holds buckets of 2^r values, oldest first. */
  #rows: Bucket[][] = [[]];
  #whole: Bucket = { count: 0, sum: 0, squares: 0 };
  #ticks = 0;
  drifted = false;

  constructor({ significance = 0.002, clock = 32, buckets = 5, leastSide = 5, warmUp = 10 }: AdwinOptions = {}) {
    this.#options = { significance, clock, buckets, leastSide, warmUp };
  }

  /** Values that the window holds. */
  get width(): number {
    return this.#whole.count;
  }

  get mean(): number {
    return this.#whole.count === 0 ? 0 : this.#whole.sum / this.#whole.count;
  }

  update(x: number): void {
    const { clock, warmUp } = this.#options;
    this.#insert({ count: 1, sum: x, squares: 0 });
    this.#ticks++;
    this.drifted = false;
    if (this.#ticks % clock !== 0 || this.width <= warmUp) return;
    while (this.#cut()) this.drifted = true;
  }

  #insert(bucket: Bucket): void {
    const { buckets } = this.#options;
    this.#whole = this.#whole.count === 0 ? bucket : joined(this.#whole, bucket);
    this.#rows[0].push(bucket);
    for (let row = 0; this.#rows[row].length > buckets; row++) {
      const [one, other] = this.#rows[row].splice(0, 2);
      this.#rows[row + 1] ??= [];
      this.#rows[row + 1].push(joined(one, other));
    }
  }

  /** Drops what is older than the cut that stands out most. @returns whether there is one */
  #cut(): boolean {
    const { significance, leastSide } = this.#options;
    const { count, sum, squares } = this.#whole;
    const oldestFirst = [...this.#rows].reverse().flat();
    const logTerm = Math.log((2 * Math.log(count)) / significance);
    let [olderCount, olderSum, most, older] = [0, 0, 0, 0];
    for (const [at, bucket] of oldestFirst.entries()) {
      olderCount += bucket.count;
      olderSum += bucket.sum;
      const youngerCount = count - olderCount;
      if (youngerCount < leastSide) break;
      if (olderCount < leastSide) continue;
      const harmonic = 1 / (olderCount - leastSide + 1) + 1 / (youngerCount - leastSide + 1);
      const bound = Math.sqrt(2 * harmonic * (squares / count) * logTerm) + (2 / 3) * harmonic * logTerm;
      const excess = Math.abs(olderSum / olderCount - (sum - olderSum) / youngerCount) - bound;
      if (excess > most) [most, older] = [excess, at + 1];
    }
    for (const bucket of oldestFirst.slice(0, older)) this.#forget(bucket);
    return older > 0;
  }

  #forget(oldest: Bucket): void {
    this.#rows.at(-1)!.shift();
    while (this.#rows.length > 1 && this.#rows.at(-1)!.length === 0) this.#rows.pop();
    const count = this.#whole.count - oldest.count;
    const sum = this.#whole.sum - oldest.sum;
    const apart = oldest.sum / oldest.count - sum / count;
    const squares = this.#whole.squares - oldest.squares - (oldest.count * count * apart * apart) / this.#whole.count;
    this.#whole = { count, sum, squares };
  }
}
