/** Parts of the spectrum that a cause names, of equal width on a logarithmic axis. */
export const BANDS = 12;

/** Mean power spectra of a stream's windows, a channel. */
export class MeanSpectrum {
  /** Row-major [channels, bins]; bins of `SpectrumMeter`. */
  readonly power: Float64Array;
  count = 0;

  constructor(channels: number, bins: number) {
    this.power = new Float64Array(channels * bins);
  }

  clear(): void {
    this.power.fill(0);
    this.count = 0;
  }

  copyFrom(other: MeanSpectrum): void {
    this.power.set(other.power);
    this.count = other.count;
  }
}

/**
 * Power spectra of windows: mean taken away, Hann window, Fourier transform of the largest power of two that fits, the window's newest samples. All
 * memory is made once.
 */
export class SpectrumMeter {
  readonly channels: number;
  /** Without the constant. */
  readonly bins: number;
  readonly binHz: number;
  readonly #window: number;
  readonly #size: number;
  readonly #taper: Float64Array;
  readonly #cos: Float64Array;
  readonly #sin: Float64Array;
  readonly #re: Float64Array;
  readonly #im: Float64Array;

  constructor({ window, channels, sampleRateHz }: { readonly window: number; readonly channels: number; readonly sampleRateHz: number }) {
    this.channels = channels;
    this.#window = window;
    this.#size = 2 ** Math.floor(Math.log2(window));
    this.bins = this.#size / 2;
    this.binHz = sampleRateHz / this.#size;
    const turn = (at: number) => (2 * Math.PI * at) / this.#size;
    this.#taper = Float64Array.from({ length: this.#size }, (_, at) => 0.5 - 0.5 * Math.cos(turn(at)));
    this.#cos = Float64Array.from({ length: this.bins }, (_, at) => Math.cos(turn(at)));
    this.#sin = Float64Array.from({ length: this.bins }, (_, at) => -Math.sin(turn(at)));
    this.#re = new Float64Array(this.#size);
    this.#im = new Float64Array(this.#size);
  }

  /** Takes a window into a mean. samples: [window, channels], physical. */
  add(samples: Float32Array, into: MeanSpectrum): void {
    into.count++;
    const share = 1 / into.count;
    const first = this.#window - this.#size;
    for (let channel = 0; channel < this.channels; channel++) {
      let mean = 0;
      for (let at = 0; at < this.#size; at++) mean += samples[(first + at) * this.channels + channel] / this.#size;
      for (let at = 0; at < this.#size; at++) {
        this.#re[at] = (samples[(first + at) * this.channels + channel] - mean) * this.#taper[at];
        this.#im[at] = 0;
      }
      this.#transform();
      const row = channel * this.bins - 1;
      for (let bin = 1; bin <= this.bins; bin++) {
        const power = this.#re[bin] ** 2 + this.#im[bin] ** 2;
        into.power[row + bin] += (power - into.power[row + bin]) * share;
      }
    }
  }

  /** In place, radix 2 (Cooley and Tukey 1965). */
  #transform(): void {
    const [re, im, size] = [this.#re, this.#im, this.#size];
    for (let at = 1, reversed = 0; at < size; at++) {
      let bit = size >> 1;
      for (; reversed & bit; bit >>= 1) reversed ^= bit;
      reversed ^= bit;
      if (at < reversed) {
        const swap = re[at];
        re[at] = re[reversed];
        re[reversed] = swap;
      }
    }
    for (let length = 2; length <= size; length *= 2) {
      const half = length / 2;
      for (let start = 0; start < size; start += length) {
        for (let k = 0, turn = 0; k < half; k++, turn += size / length) {
          const [a, b] = [start + k, start + k + half];
          const real = re[b] * this.#cos[turn] - im[b] * this.#sin[turn];
          const imaginary = re[b] * this.#sin[turn] + im[b] * this.#cos[turn];
          re[b] = re[a] - real;
          im[b] = im[a] - imaginary;
          re[a] += real;
          im[a] += imaginary;
        }
      }
    }
  }
}
