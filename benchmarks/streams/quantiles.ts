/** Milliseconds; the nearest rank, so that every figure is one that was measured. */
export interface Quantiles {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** @param values sorted in place */
export function quantiles(values: Float64Array): Quantiles {
  values.sort();
  const rank = (share: number) => rounded(values[Math.max(0, Math.ceil(share * values.length) - 1)] ?? Number.NaN);
  return { p50: rank(0.5), p99: rank(0.99), p999: rank(0.999), max: rank(1) };
}

export function rounded(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}
