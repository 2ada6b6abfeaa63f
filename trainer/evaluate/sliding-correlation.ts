import { FourierTransform, nextPowerOfTwo } from './fourier.ts';

/** A place in a recording that resembles a probe. */
export interface Match {
  /** Mean of the channels' correlation coefficients, -1 to 1; flat channels do not count. */
  readonly correlation: number;
  /** First sample of the place. */
  readonly start: number;
}

/** A piece of signal to look for: its channels z-scored, [channels][length], and their spectra. */
interface Probe {
  readonly re: readonly Float64Array[];
  readonly im: readonly Float64Array[];
  /** 1 where a channel moves at all. */
  readonly live: readonly number[];
}

/** Variance under which a channel counts as flat. */
const VARIANCE_FLOOR = 1e-12;

/**
 * Looks for pieces of signal at every place of a recording: the largest coefficient of correlation (Pearson), averaged over channels, by block
 * transforms (overlap-save). Exactly what comparing with every window at stride 1 would give.
 */
export class SlidingCorrelation {
  readonly #length: number;
  readonly #channels: number;
  readonly #transform: FourierTransform;
  readonly #re: Float64Array;
  readonly #im: Float64Array;

  /** length: samples a probe */
  constructor(length: number, channels: number) {
    [this.#length, this.#channels] = [length, channels];
    this.#transform = new FourierTransform(nextPowerOfTwo(4 * length));
    this.#re = new Float64Array(this.#transform.size);
    this.#im = new Float64Array(this.#transform.size);
  }

  /** samples: row-major [length, channels] */
  probe(samples: Float32Array): Probe {
    const length = this.#length;
    const spectra = Array.from({ length: this.#channels }, (_, channel) => {
      const [re, im] = [new Float64Array(this.#transform.size), new Float64Array(this.#transform.size)];
      let mean = 0;
      for (let t = 0; t < length; t++) mean += samples[t * this.#channels + channel] / length;
      let variance = 0;
      for (let t = 0; t < length; t++) variance += (samples[t * this.#channels + channel] - mean) ** 2 / length;
      const scale = variance < VARIANCE_FLOOR ? 0 : 1 / (Math.sqrt(variance) * length);
      for (let t = 0; t < length; t++) re[t] = (samples[t * this.#channels + channel] - mean) * scale;
      this.#transform.forward(re, im);
      return { re, im, live: scale === 0 ? 0 : 1 };
    });
    return { re: spectra.map(({ re }) => re), im: spectra.map(({ im }) => im), live: spectra.map(({ live }) => live) };
  }

  /**
   * The best match of each probe.
   *
   * @param samples row-major [samples, channels]
   */
  bestMatches(probes: readonly Probe[], samples: Float32Array): Match[] {
    const [length, channels] = [this.#length, this.#channels];
    const { size } = this.#transform;
    const places = samples.length / channels - length + 1;
    const best = probes.map(() => ({ correlation: Number.NEGATIVE_INFINITY, start: 0 }));
    const advance = size - length + 1;
    for (let first = 0; first < places; first += advance) {
      const here = Math.min(advance, places - first);
      const blocks = Array.from({ length: channels }, (_, channel) => this.#block(samples, channel, first, here));
      // Two probes at a time: the correlations are real, so one takes the real part and the other the imaginary.
      for (let index = 0; index < probes.length; index += 2) {
        const pair = [probes[index], probes[index + 1] ?? probes[index]];
        const sums = [new Float64Array(here), new Float64Array(here)];
        blocks.forEach((block, channel) => {
          const [re, im] = this.#correlate(block, pair, channel);
          for (let place = 0; place < here; place++) {
            sums[0][place] += re[place] * block.inverseDeviation[place];
            sums[1][place] += im[place] * block.inverseDeviation[place];
          }
        });
        pair.forEach(({ live }, which) => {
          const match = best[Math.min(index + which, probes.length - 1)];
          const channelsAlive = Math.max(
            1,
            live.reduce((a, b) => a + b, 0),
          );
          sums[which].forEach((sum, place) => {
            if (sum / channelsAlive <= match.correlation) return;
            match.correlation = sum / channelsAlive;
            match.start = first + place;
          });
        });
      }
    }
    return best;
  }

  /** Spectrum of one channel's block, and 1 / deviation of the stretch that begins at each place. */
  #block(samples: Float32Array, channel: number, first: number, places: number) {
    const length = this.#length;
    const [re, im] = [new Float64Array(this.#transform.size), new Float64Array(this.#transform.size)];
    const count = places + length - 1;
    for (let t = 0; t < count; t++) re[t] = samples[(first + t) * this.#channels + channel];
    // Without the block's mean, running sums of squares lose nothing to a large offset.
    let offset = 0;
    for (let t = 0; t < count; t++) offset += re[t] / count;
    for (let t = 0; t < count; t++) re[t] -= offset;
    const inverseDeviation = new Float64Array(places);
    let [sum, squares] = [0, 0];
    for (let t = 0; t < count; t++) {
      sum += re[t];
      squares += re[t] ** 2;
      if (t < length - 1) continue;
      const place = t - length + 1;
      const variance = squares / length - (sum / length) ** 2;
      inverseDeviation[place] = variance < VARIANCE_FLOOR ? 0 : 1 / Math.sqrt(variance);
      sum -= re[place];
      squares -= re[place] ** 2;
    }
    this.#transform.forward(re, im);
    return { re, im, inverseDeviation };
  }

  /** Covariance of two z-scored probes with every stretch of a block, in the real and the imaginary part. */
  #correlate(block: { re: Float64Array; im: Float64Array }, [a, b]: readonly Probe[], channel: number): [Float64Array, Float64Array] {
    const [re, im] = [this.#re, this.#im];
    const { size } = this.#transform;
    const [aRe, aIm, bRe, bIm] = [a.re[channel], a.im[channel], b.re[channel], b.im[channel]];
    for (let bin = 0; bin < size; bin++) {
      const x = block.re[bin];
      const y = block.im[bin];
      // block * conj(a) + i * block * conj(b)
      re[bin] = (x * aRe[bin] + y * aIm[bin] - (y * bRe[bin] - x * bIm[bin])) / size;
      im[bin] = (y * aRe[bin] - x * aIm[bin] + (x * bRe[bin] + y * bIm[bin])) / size;
    }
    this.#transform.inverseTimesSize(re, im);
    return [re, im];
  }
}
