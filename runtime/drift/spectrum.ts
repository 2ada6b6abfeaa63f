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
  /** Two channels at a time, as the real and the imaginary part of one signal. */
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
    for (let channel = 0; channel < this.channels; channel += 2) {
      const both = channel + 1 < this.channels;
      this.#fill(samples, channel, this.#re);
      if (both) this.#fill(samples, channel + 1, this.#im);
      else this.#im.fill(0);
      this.#transform();
      this.#take(channel, both, into);
    }
  }

  /** Takes a channel's mean away and tapers it. */
  #fill(samples: Float32Array, channel: number, into: Float64Array): void {
    const [size, channels, taper] = [this.#size, this.channels, this.#taper];
    const first = (this.#window - size) * channels + channel;
    let mean = 0;
    for (let at = 0; at < size; at++) mean += samples[first + at * channels] / size;
    for (let at = 0; at < size; at++) into[at] = (samples[first + at * channels] - mean) * taper[at];
  }

  /** The spectrum of a real signal is its own mirror image: X(k) = conj X(-k), which tells the two channels apart. */
  #take(channel: number, both: boolean, { power, count }: MeanSpectrum): void {
    const [re, im, size, bins] = [this.#re, this.#im, this.#size, this.bins];
    for (let bin = 1; bin <= bins; bin++) {
      const mirror = size - bin;
      const at = channel * bins + bin - 1;
      const one = ((re[bin] + re[mirror]) ** 2 + (im[bin] - im[mirror]) ** 2) / 4;
      power[at] += (one - power[at]) / count;
      if (!both) continue;
      const other = ((im[bin] + im[mirror]) ** 2 + (re[mirror] - re[bin]) ** 2) / 4;
      power[at + bins] += (other - power[at + bins]) / count;
    }
  }

  /** In place, radix 2 (Cooley and Tukey 1965); all butterflies of one turn together. */
  #transform(): void {
    const [re, im, cos, sin, size] = [this.#re, this.#im, this.#cos, this.#sin, this.#size];
    for (let at = 1, reversed = 0; at < size; at++) {
      let bit = size >> 1;
      for (; reversed & bit; bit >>= 1) reversed ^= bit;
      reversed ^= bit;
      if (at >= reversed) continue;
      const real = re[at];
      const imaginary = im[at];
      re[at] = re[reversed];
      im[at] = im[reversed];
      re[reversed] = real;
      im[reversed] = imaginary;
    }
    for (let half = 1, step = size >> 1; half < size; half <<= 1, step >>= 1) {
      for (let k = 0; k < half; k++) {
        // Not as a pair: the engine would make an array of it each time.
        const c = cos[k * step];
        const s = sin[k * step];
        for (let a = k; a < size; a += half << 1) {
          const b = a + half;
          const real = re[b] * c - im[b] * s;
          const imaginary = re[b] * s + im[b] * c;
          re[b] = re[a] - real;
          im[b] = im[a] - imaginary;
          re[a] += real;
          im[a] += imaginary;
        }
      }
    }
  }
}
