/** Largest absolute difference of two number arrays, relative to the larger of 1 and the expected magnitude. */
export function largestError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new Error(`${actual.length} numbers where ${expected.length} were expected`);
  let largest = 0;
  for (let index = 0; index < expected.length; index++) {
    const error = Math.abs(actual[index] - expected[index]) / Math.max(1, Math.abs(expected[index]));
    // NaN is the largest error there is; a plain comparison would pass over it.
    if (!(error <= largest)) largest = error;
  }
  return largest;
}

/** Reproducible numbers in [low, high), without the product's own generator. */
export function numbers(count: number, seed = 1, low = -1, high = 1): Float32Array {
  const values = new Float32Array(count);
  let state = seed;
  for (let index = 0; index < count; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[index] = low + ((high - low) * state) / 2 ** 32;
  }
  return values;
}
