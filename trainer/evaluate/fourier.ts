/** Fast Fourier transform of a power-of-two length (Cooley and Tukey 1965, radix 2), tables made once. */
export class FourierTransform {
  readonly size: number;
  readonly #cos: Float64Array;
  readonly #sin: Float64Array;
  readonly #reversed: Uint32Array;

  constructor(size: number) {
    if (size < 2 || (size & (size - 1)) !== 0) throw new RangeError(`a transform of ${size} points; the length must be a power of two`);
    this.size = size;
    this.#cos = Float64Array.from({ length: size / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / size));
    this.#sin = Float64Array.from({ length: size / 2 }, (_, k) => -Math.sin((2 * Math.PI * k) / size));
    this.#reversed = new Uint32Array(size);
    for (let index = 1; index < size; index++) this.#reversed[index] = (this.#reversed[index >> 1] >> 1) | (index & 1 ? size >> 1 : 0);
  }

  /** In place: X[k] = sum_t x[t] exp(-2 pi i k t / size). re, im: [size] */
  forward(re: Float64Array, im: Float64Array): void {
    const { size } = this;
    const [cos, sin, reversed] = [this.#cos, this.#sin, this.#reversed];
    for (let index = 0; index < size; index++) {
      const other = reversed[index];
      if (other <= index) continue;
      const real = re[index];
      re[index] = re[other];
      re[other] = real;
      const imaginary = im[index];
      im[index] = im[other];
      im[other] = imaginary;
    }
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let offset = 0, at = 0; offset < half; offset++, at += step) {
          const low = start + offset;
          const high = low + half;
          const real = re[high] * cos[at] - im[high] * sin[at];
          const imaginary = re[high] * sin[at] + im[high] * cos[at];
          re[high] = re[low] - real;
          im[high] = im[low] - imaginary;
          re[low] += real;
          im[low] += imaginary;
        }
      }
    }
  }

  /** In place, `size` times the inverse of {@link forward}: real and imaginary parts change places, and the sign of the angle with them. */
  inverseTimesSize(re: Float64Array, im: Float64Array): void {
    this.forward(im, re);
  }
}

export function nextPowerOfTwo(least: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(2, least)));
}
