/** Fast Fourier transform of a power-of-two length (Cooley and Tukey 1965), tables made once. */
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
    const reversed = this.#reversed;
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
    // An odd number of doublings: the first by itself, where the factor is 1.
    const odd = Math.log2(size) % 2 === 1;
    for (let low = 0; odd && low < size; low += 2) {
      const real = re[low + 1];
      const imaginary = im[low + 1];
      re[low + 1] = re[low] - real;
      im[low + 1] = im[low] - imaginary;
      re[low] += real;
      im[low] += imaginary;
    }
    for (let quarter = odd ? 2 : 1; quarter < size; quarter *= 4) this.#twoDoublings(re, im, quarter);
  }

  /**
   * Four transforms of `quarter` points become one of four times as many: two steps of radix 2 in one pass, which saves half the memory
   * traffic and a quarter of the products.
   */
  #twoDoublings(re: Float64Array, im: Float64Array, quarter: number): void {
    const [cos, sin] = [this.#cos, this.#sin];
    const step = this.size / (4 * quarter);
    for (let start = 0; start < this.size; start += 4 * quarter) {
      for (let offset = 0; offset < quarter; offset++) {
        const at0 = start + offset;
        const at1 = at0 + quarter;
        const at2 = at1 + quarter;
        const at3 = at2 + quarter;
        const cos1 = cos[2 * offset * step];
        const sin1 = sin[2 * offset * step];
        const cos2 = cos[offset * step];
        const sin2 = sin[offset * step];
        // First doubling: (0, 1) and (2, 3), both with the factor exp(-2 pi i offset / (2 quarter)).
        const re1 = re[at1] * cos1 - im[at1] * sin1;
        const im1 = re[at1] * sin1 + im[at1] * cos1;
        const re3 = re[at3] * cos1 - im[at3] * sin1;
        const im3 = re[at3] * sin1 + im[at3] * cos1;
        const aRe = re[at0] + re1;
        const aIm = im[at0] + im1;
        const bRe = re[at0] - re1;
        const bIm = im[at0] - im1;
        const sumRe = re[at2] + re3;
        const sumIm = im[at2] + im3;
        const differenceRe = re[at2] - re3;
        const differenceIm = im[at2] - im3;
        // Second: (a, sum) with exp(-2 pi i offset / (4 quarter)), (b, difference) with that times -i.
        const cRe = sumRe * cos2 - sumIm * sin2;
        const cIm = sumRe * sin2 + sumIm * cos2;
        const dRe = differenceRe * sin2 + differenceIm * cos2;
        const dIm = differenceIm * sin2 - differenceRe * cos2;
        re[at0] = aRe + cRe;
        im[at0] = aIm + cIm;
        re[at2] = aRe - cRe;
        im[at2] = aIm - cIm;
        re[at1] = bRe + dRe;
        im[at1] = bIm + dIm;
        re[at3] = bRe - dRe;
        im[at3] = bIm - dIm;
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
