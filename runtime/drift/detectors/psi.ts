import type { Detector } from './detector.ts';

export interface PsiOptions {
  /** Values of the time when all was well; at least one a bin. */
  readonly reference: ArrayLike<number>;
  /** Bins of equal width over reference and window together (`width`), or of equal share of the reference (`share`). Default `share`. */
  readonly bins?: 'width' | 'share';
  /** Default 10. */
  readonly count?: number;
  /** Latest values that are compared. Default 100. */
  readonly window?: number;
  /** Index above which it drifts. Default 0.25, which is custom and promises nothing. */
  readonly threshold?: number;
}

/** Share that an empty bin is given, so that its logarithm is a number. */
const LEAST_SHARE = 2.2250738585072014e-308;

/** Population stability index of two histograms of shares: sum of (q - p) ln(q / p). */
export function stabilityIndex(expected: ArrayLike<number>, actual: ArrayLike<number>): number {
  let sum = 0;
  for (let bin = 0; bin < expected.length; bin++) {
    const [p, q] = [Math.max(expected[bin], LEAST_SHARE), Math.max(actual[bin], LEAST_SHARE)];
    sum += (q - p) * Math.log(q / p);
  }
  return sum;
}

/** Shares of values in bins between ascending edges; the last bin has both of its edges. */
export function histogram(values: ArrayLike<number>, edges: ArrayLike<number>): Float64Array {
  const shares = new Float64Array(edges.length - 1);
  for (let at = 0; at < values.length; at++) {
    let bin = 0;
    while (bin < shares.length - 1 && values[at] >= edges[bin + 1]) bin++;
    if (values[at] >= edges[0] && values[at] <= edges[edges.length - 1]) shares[bin] += 1 / values.length;
  }
  return shares;
}

/** Edges of bins of equal width over two samples together. */
export function equalWidthEdges(one: ArrayLike<number>, other: ArrayLike<number>, count: number): Float64Array {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const values of [one, other]) {
    for (let at = 0; at < values.length; at++) {
      low = Math.min(low, values[at]);
      high = Math.max(high, values[at]);
    }
  }
  return Float64Array.from({ length: count + 1 }, (_, at) => low + ((high - low) * at) / count);
}

/**
 * Compares the histogram of the latest values with that of the reference.
 *
 * Is wrong for few values: with 100 in 10 bins the index of equal distributions is about 0.09 on average, and an empty bin makes it huge. Its
 * customary 0.1 and 0.25 are no probabilities.
 *
 * Siddiqi (2006), Credit risk scorecards; for the spread of the index Yurdakul (2018).
 */
export class Psi implements Detector {
  readonly #reference: Float64Array;
  readonly #options: Required<Omit<PsiOptions, 'reference'>>;
  #values: number[] = [];
  drifted = false;

  constructor({ reference, bins = 'share', count = 10, window = 100, threshold = 0.25 }: PsiOptions) {
    if (reference.length < count) throw new RangeError(`${reference.length} reference values for ${count} bins; give more`);
    this.#reference = Float64Array.from(reference).sort();
    this.#options = { bins, count, window, threshold };
  }

  update(x: number): void {
    const { bins, count, window, threshold } = this.#options;
    if (this.drifted) this.#values = [];
    this.drifted = false;
    this.#values.push(x);
    if (this.#values.length < window) return;
    const edges = bins === 'width' ? equalWidthEdges(this.#reference, this.#values, count) : this.#quantileEdges(count);
    this.drifted = stabilityIndex(histogram(this.#reference, edges), histogram(this.#values, edges)) > threshold;
    this.#values.shift();
  }

  #quantileEdges(count: number): Float64Array {
    const sorted = this.#reference;
    const edges = Float64Array.from(
      { length: count + 1 },
      (_, at) => sorted[Math.min(sorted.length - 1, Math.floor((at * sorted.length) / count))],
    );
    edges[0] = -Number.MAX_VALUE;
    edges[count] = Number.MAX_VALUE;
    return edges;
  }
}
