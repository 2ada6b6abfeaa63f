import { FourierTransform, nextPowerOfTwo } from './fourier.ts';
import { zScoreChannels } from './z-score.ts';

type Shape = readonly [window: number, channels: number];

/**
 * Likeness of windows whatever their phase: the largest magnitude, over all lags, of the cross-correlation of two windows whose channels are
 * z-scored, all channels moved together, as a share of what a window has with itself. Outside a window there is nothing, so a pair that
 * overlaps by half reaches about a half.
 */
export class LaggedCorrelation {
  readonly #transform: FourierTransform;
  readonly #channels: number;
  /** Half spectra of all windows and channels: [count, channels, size / 2 + 1], real and imaginary. */
  readonly #re: Float32Array;
  readonly #im: Float32Array;
  /** Energy of each window: window length times its live channels. */
  readonly #energy: Float64Array;
  readonly #sumRe: Float64Array;
  readonly #sumIm: Float64Array;

  /** samples: row-major [count, window, channels] */
  constructor(samples: Float32Array, [window, channels]: Shape) {
    const count = samples.length / (window * channels);
    this.#channels = channels;
    this.#transform = new FourierTransform(nextPowerOfTwo(2 * window));
    const { size } = this.#transform;
    const half = size / 2 + 1;
    this.#re = new Float32Array(count * channels * half);
    this.#im = new Float32Array(count * channels * half);
    this.#energy = new Float64Array(count);
    this.#sumRe = new Float64Array(size);
    this.#sumIm = new Float64Array(size);
    const scored = zScoreChannels(samples, [window, channels]);
    for (let row = 0; row < count; row++) {
      for (let channel = 0; channel < channels; channel++) {
        const [re, im] = [this.#sumRe.fill(0), this.#sumIm.fill(0)];
        for (let t = 0; t < window; t++) {
          re[t] = scored[(row * window + t) * channels + channel];
          this.#energy[row] += re[t] ** 2;
        }
        this.#transform.forward(re, im);
        this.#re.set(re.subarray(0, half), (row * channels + channel) * half);
        this.#im.set(im.subarray(0, half), (row * channels + channel) * half);
      }
    }
  }

  /** Likeness of one window to two others, 0 to 1; two for the price of one. */
  likeness(window: number, other: number, another: number): [number, number] {
    const { size } = this.#transform;
    const [sumRe, sumIm] = [this.#sumRe.fill(0), this.#sumIm.fill(0)];
    this.#addCross(window, other, 1, 0);
    this.#addCross(window, another, 0, 1);
    this.#transform.inverseTimesSize(sumRe, sumIm);
    let [first, second] = [0, 0];
    for (let lag = 0; lag < size; lag++) {
      first = Math.max(first, Math.abs(sumRe[lag]));
      second = Math.max(second, Math.abs(sumIm[lag]));
    }
    const energy = this.#energy;
    const share = (largest: number, index: number) => largest / size / Math.sqrt(Math.max(energy[window] * energy[index], 1e-12));
    return [share(first, other), share(second, another)];
  }

  /** Adds (real + i imaginary) times the cross-spectrum of two windows to the sum; its inverse is their correlation times that factor. */
  #addCross(window: number, other: number, real: number, imaginary: number): void {
    const { size } = this.#transform;
    const half = size / 2 + 1;
    const [re, im, sumRe, sumIm] = [this.#re, this.#im, this.#sumRe, this.#sumIm];
    for (let channel = 0; channel < this.#channels; channel++) {
      const [a, b] = [(window * this.#channels + channel) * half, (other * this.#channels + channel) * half];
      for (let bin = 0; bin < half; bin++) {
        const crossRe = re[a + bin] * re[b + bin] + im[a + bin] * im[b + bin];
        const crossIm = im[a + bin] * re[b + bin] - re[a + bin] * im[b + bin];
        sumRe[bin] += real * crossRe - imaginary * crossIm;
        sumIm[bin] += real * crossIm + imaginary * crossRe;
        if (bin === 0 || bin === half - 1) continue;
        // The other half of a real signal's spectrum: the same with the imaginary part turned round.
        sumRe[size - bin] += real * crossRe + imaginary * crossIm;
        sumIm[size - bin] += imaginary * crossRe - real * crossIm;
      }
    }
  }
}
