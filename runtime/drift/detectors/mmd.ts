import { type Rows, radial, rowCount, squaredDistance } from '../kernels.ts';
import type { WindowDistance } from './online-distance.ts';

/**
 * Unbiased squared MMD of the latest rows from a reference, kept up to date: a row costs one pass over reference and window, not over all pairs.
 *
 * Gretton et al. (2012); Cobb, Van Looveren and Klaise (2022), Sequential multivariate change detection with calibrated and memoryless false
 * detection rates.
 */
export class MmdWindow implements WindowDistance {
  readonly #reference: Rows;
  readonly #window: number;
  readonly #sigma: number;
  /** Mean kernel of the pairs of the reference. */
  readonly #within: number;
  #rows: Float64Array[] = [];
  /** Mean kernel of each row with the reference. */
  #across: number[] = [];
  /** Kernels of the pairs of the window. */
  #pairs = 0;

  constructor(reference: Rows, { window, sigma }: { readonly window: number; readonly sigma: number }) {
    const count = rowCount(reference);
    if (count < 2 || window < 2) throw new RangeError('two reference rows and a window of two are the least that has pairs');
    this.#reference = reference;
    this.#window = window;
    this.#sigma = sigma;
    let sum = 0;
    for (let i = 0; i < count; i++) for (let j = 0; j < i; j++) sum += 2 * radial(squaredDistance(reference, i, reference, j), sigma);
    this.#within = sum / (count * (count - 1));
  }

  push(row: ArrayLike<number>): void {
    const own = Float64Array.from(row);
    if (this.#rows.length === this.#window) {
      const gone = this.#rows.shift()!;
      this.#across.shift();
      for (const other of this.#rows) this.#pairs -= this.#kernel(gone, other);
    }
    for (const other of this.#rows) this.#pairs += this.#kernel(own, other);
    this.#rows.push(own);
    const count = rowCount(this.#reference);
    let sum = 0;
    const asRows = { values: own, width: own.length };
    for (let at = 0; at < count; at++) sum += radial(squaredDistance(asRows, 0, this.#reference, at), this.#sigma);
    this.#across.push(sum / count);
  }

  value(): number {
    const count = this.#rows.length;
    const across = this.#across.reduce((sum, mean) => sum + mean, 0) / count;
    return this.#within + (2 * this.#pairs) / (count * (count - 1)) - 2 * across;
  }

  clear(): void {
    this.#rows = [];
    this.#across = [];
    this.#pairs = 0;
  }

  #kernel(one: Float64Array, other: Float64Array): number {
    const { width } = this.#reference;
    return radial(squaredDistance({ values: one, width }, 0, { values: other, width }, 0), this.#sigma);
  }
}
