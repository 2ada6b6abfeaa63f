import type { Range } from './parameters.ts';

/**
 * How the range of an activation is told from what it took on calibration windows. `minmax` loses nothing to clipping, and its resolution
 * to a single outlier; `percentile` cuts as much on either side as leaves that share in the middle; `entropy` cuts where the integers'
 * distribution stays closest to that of the values.
 */
export type CalibrationMethod =
  | { readonly kind: 'minmax' }
  | { readonly kind: 'percentile'; readonly percentile: number }
  | { readonly kind: 'entropy' };

/** As reports and settings spell it: `minmax`, `percentile 99.99`, `entropy`. */
export function methodName(method: CalibrationMethod): string {
  return method.kind === 'percentile' ? `percentile ${method.percentile}` : method.kind;
}

const BINS = 2048;
/** Values that an unsigned 8-bit integer can take. */
const LEVELS = 256;
/** Candidates for the threshold of `entropy`. */
const THRESHOLDS = 256;

/** Counts of values in equal bins over a known range, which is widened to hold 0. */
export class Histogram {
  readonly min: number;
  readonly max: number;
  readonly counts = new Float64Array(BINS);

  constructor({ min, max }: Range) {
    this.min = Math.min(0, min);
    this.max = Math.max(0, max);
  }

  get binWidth(): number {
    return (this.max - this.min) / BINS;
  }

  /** Values outside the range count as its ends. */
  add(values: Float32Array): void {
    const perUnit = BINS / (this.max - this.min);
    if (!Number.isFinite(perUnit)) return;
    for (const value of values) {
      const bin = Math.floor((value - this.min) * perUnit);
      this.counts[Math.max(0, Math.min(BINS - 1, bin))]++;
    }
  }

  range(method: CalibrationMethod): Range {
    const whole = { min: this.min, max: this.max };
    // Nothing was counted, or there is nothing to cut.
    if (method.kind === 'minmax' || !this.counts.some((count) => count > 0)) return whole;
    return method.kind === 'percentile' ? percentileRange(this, method.percentile) : entropyRange(this);
  }
}

/** The range between two quantiles, to a bin. @param percentile of the values that are to lie within, in (0, 100] */
function percentileRange({ min, max, binWidth, counts }: Histogram, percentile: number): Range {
  if (!(percentile > 0 && percentile <= 100)) throw new RangeError(`a percentile of ${percentile}; it lies in (0, 100]`);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const cut = (total * (1 - percentile / 100)) / 2;
  let [first, below] = [0, counts[0]];
  while (below <= cut && first < BINS - 1) below += counts[++first];
  let [last, above] = [BINS - 1, counts[BINS - 1]];
  while (above <= cut && last > 0) above += counts[--last];
  return { min: Math.min(0, min + first * binWidth), max: Math.max(0, max - (BINS - 1 - last) * binWidth) };
}

/**
 * The clipping at which a histogram in 256 levels is closest to the histogram itself, by Kullback-Leibler divergence (Migacz 2017, "8-bit
 * Inference with TensorRT"). Both ends are cut at one magnitude, and an end that lies nearer to zero stays where it is.
 */
function entropyRange(histogram: Histogram): Range {
  const { min, max, binWidth, counts } = histogram;
  const zero = -min / binWidth;
  const furthest = Math.max(zero, BINS - zero);
  let best = { divergence: Number.POSITIVE_INFINITY, from: 0, to: BINS };
  for (let step = 1; step <= THRESHOLDS; step++) {
    const reach = (furthest * step) / THRESHOLDS;
    const [from, to] = [Math.max(0, Math.floor(zero - reach)), Math.min(BINS, Math.ceil(zero + reach))];
    if (to - from < LEVELS) continue;
    const divergence = clippingDivergence(counts, from, to);
    // With equals the wider: what is not cut cannot be missed.
    if (divergence <= best.divergence) best = { divergence, from, to };
  }
  return { min: Math.min(0, min + best.from * binWidth), max: Math.max(0, max - (BINS - best.to) * binWidth) };
}

/** KL(P || Q): P the counts within [from, to) with all outside put on its ends, Q the counts within, levelled to 256 values. */
export function clippingDivergence(counts: Float64Array, from: number, to: number): number {
  const inside = counts.slice(from, to);
  const clipped = inside.slice();
  clipped[0] += counts.subarray(0, from).reduce((sum, count) => sum + count, 0);
  clipped[clipped.length - 1] += counts.subarray(to).reduce((sum, count) => sum + count, 0);
  const [total, kept] = [clipped, inside].map((values) => values.reduce((sum, count) => sum + count, 0));
  if (kept === 0) return Number.POSITIVE_INFINITY;
  const levelled = new Float64Array(inside.length);
  for (let level = 0; level < LEVELS; level++) {
    const start = Math.floor((level * inside.length) / LEVELS);
    const end = Math.floor(((level + 1) * inside.length) / LEVELS);
    const filled = clipped.subarray(start, end).reduce((count, value) => count + (value > 0 ? 1 : 0), 0);
    const share = inside.subarray(start, end).reduce((sum, count) => sum + count, 0) / filled;
    // On an end there may lie nothing but what was cut: half a count stands for what was not seen there.
    for (let bin = start; bin < end; bin++) if (clipped[bin] > 0) levelled[bin] = Math.max(share, 0.5);
  }
  const whole = levelled.reduce((sum, count) => sum + count, 0);
  let divergence = 0;
  clipped.forEach((count, bin) => {
    if (count > 0) divergence += (count / total) * Math.log(count / total / (levelled[bin] / whole));
  });
  return divergence;
}
