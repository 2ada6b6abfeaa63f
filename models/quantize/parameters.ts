/** Range of the values that a tensor takes. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

export interface AffineRule {
  /** Smallest and largest integer. */
  readonly integers: readonly [low: number, high: number];
  /** Zero in the middle of the integers, whatever the range. */
  readonly symmetric: boolean;
  /** A narrower range is widened upwards to this. */
  readonly smallestRange?: number;
}

const SMALLEST_NORMAL = 1.1754943508222875e-38;

/** Half to even, as ONNX rounds; Math.round takes halves up. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Scale and zero point of integers for a range, which is widened to hold 0 so that padding is exact: real = scale * (integer - zeroPoint).
 * The rule of onnxruntime's static quantisation (`compute_scale_zp`).
 */
export function affineParameters(
  { min, max }: Range,
  { integers: [low, high], symmetric, smallestRange = 0 }: AffineRule,
): { scale: number; zeroPoint: number } {
  let bottom = Math.min(0, min);
  let top = Math.max(0, max, bottom + smallestRange);
  if (symmetric) {
    top = Math.max(-bottom, top);
    bottom = -top;
  }
  const scale = Math.fround((top - bottom) / (high - low));
  // A range too small for a normal float32 scale carries nothing.
  if (scale < SMALLEST_NORMAL) return { scale: 1, zeroPoint: 0 };
  return { scale, zeroPoint: roundHalfEven(symmetric ? (low + high) / 2 : low - bottom / scale) + 0 };
}

/** Those of activations: unsigned 8 bit, asymmetric. */
export function unsignedParameters(range: Range): { scale: number; zeroPoint: number } {
  return affineParameters(range, { integers: [0, 255], symmetric: false });
}

/**
 * Zeroes what is small against the largest weight of its column. It makes the file that travels smaller, and nothing faster: a dense kernel
 * multiplies zeros as well.
 *
 * @param values integers whose columns all reach +-limit
 * @param threshold share of the column's largest magnitude, in [0, 1)
 */
export function sparsify(values: Int8Array, limit: number, threshold: number): Int8Array {
  if (!(threshold >= 0 && threshold < 1))
    throw new RangeError(`a sparsity threshold of ${threshold}; it is a share of the largest weight, in [0, 1)`);
  return values.map((value) => (Math.abs(value) < threshold * limit ? 0 : value));
}

/**
 * Symmetric integers of `bits` bits, one scale a column.
 *
 * @param weight [inputs, outputs] row-major
 * @param sparsity threshold of {@link sparsify}
 */
export function quantizeWeight(
  weight: Float32Array,
  [inputs, outputs]: readonly number[],
  bits: number,
  sparsity = 0,
): { values: Int8Array; scales: Float32Array } {
  const limit = 2 ** (bits - 1) - 1;
  const scales = new Float32Array(outputs);
  for (let row = 0; row < inputs; row++) {
    for (let column = 0; column < outputs; column++) {
      scales[column] = Math.max(scales[column], Math.abs(weight[row * outputs + column]) / limit);
    }
  }
  const values = weight.map((value, index) => {
    const scale = scales[index % outputs];
    return scale === 0 ? 0 : Math.max(-limit, Math.min(limit, roundHalfEven(value / scale)));
  });
  return { values: sparsify(Int8Array.from(values), limit, sparsity), scales };
}
