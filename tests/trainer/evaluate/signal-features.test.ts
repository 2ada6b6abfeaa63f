import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { FourierTransform } from '../../../trainer/evaluate/fourier.ts';
import { logSpectra, SIGNAL_FEATURES, STATISTICS, signalFeatures } from '../../../trainer/evaluate/signal-features.ts';
import { largestError, numbers } from '../../support/numbers.ts';

const WINDOW = 512;
const sine = (amplitude: number, cycles: number, offset = 0) =>
  Float32Array.from({ length: WINDOW }, (_, t) => offset + amplitude * Math.sin((2 * Math.PI * cycles * t) / WINDOW));
const interleaved = (...channels: Float32Array[]) =>
  Float32Array.from(
    { length: channels.length * channels[0].length },
    (_, at) => channels[at % channels.length][Math.floor(at / channels.length)],
  );

describe('the Fourier transform', () => {
  it.each([2, 4, 8, 32, 64, 512])('of %d points is that of its definition, and has a way back', (size) => {
    const transform = new FourierTransform(size);
    const [re, im] = [Float64Array.from(numbers(size, 1)), Float64Array.from(numbers(size, 2))];
    const [a, b] = [re.slice(), im.slice()];
    transform.forward(a, b);
    const slow = (part: 0 | 1) =>
      Float64Array.from({ length: size }, (_, k) => {
        let sum = 0;
        for (let t = 0; t < size; t++) {
          const [cos, sin] = [Math.cos((2 * Math.PI * k * t) / size), -Math.sin((2 * Math.PI * k * t) / size)];
          sum += part === 0 ? re[t] * cos - im[t] * sin : re[t] * sin + im[t] * cos;
        }
        return sum;
      });
    expect(largestError(a, slow(0))).toBeLessThan(1e-11);
    expect(largestError(b, slow(1))).toBeLessThan(1e-11);
    transform.inverseTimesSize(a, b);
    expect(
      largestError(
        a.map((value) => value / size),
        re,
      ),
    ).toBeLessThan(1e-14);
    expect(
      largestError(
        b.map((value) => value / size),
        im,
      ),
    ).toBeLessThan(1e-14);
  });

  it('refuses a length that is no power of two', () => {
    expect(() => new FourierTransform(48)).toThrow(RangeError);
  });
});

describe('the features of a window', () => {
  const features = (...channels: Float32Array[]) => signalFeatures(interleaved(...channels), [WINDOW, channels.length]);

  it('of a sine are those of the textbook', () => {
    const [rms, skewness, kurtosis, crest, shape] = features(sine(3, 40, 7));
    expect(rms).toBeCloseTo(3 / Math.SQRT2, 5);
    expect(skewness).toBeCloseTo(0, 5);
    expect(kurtosis).toBeCloseTo(1.5, 5);
    expect(crest).toBeCloseTo(Math.SQRT2, 2);
    expect(shape).toBeCloseTo(Math.PI / (2 * Math.SQRT2), 2);
  });

  it('put a sine into the band of its frequency: 8 cycles a band', () => {
    const bands = features(sine(1, 84)).subarray(STATISTICS.length);
    expect(bands.indexOf(Math.max(...bands))).toBe(10);
    // Under the Hann window all of it stays there: half of the energy of white noise times 256 bins, over 8 bins.
    expect(bands[10]).toBeCloseTo(Math.log(256 / 8), 1);
    expect(bands[12]).toBeCloseTo(Math.log(1e-3), 5);
  });

  it('of white noise have a log band power of about 0, and of a louder signal differ in RMS alone', () => {
    const random = new Random(1);
    const noise = Float32Array.from({ length: WINDOW }, () => random.normal());
    const quiet = features(noise);
    const mean = quiet.subarray(STATISTICS.length).reduce((a, b) => a + b) / 32;
    expect(Math.abs(mean)).toBeLessThan(0.2);
    const loud = features(noise.map((value) => 8 * value));
    expect(loud[0]).toBeCloseTo(8 * quiet[0], 4);
    expect(largestError(loud.subarray(1), quiet.subarray(1))).toBeLessThan(1e-5);
  });

  it('lie channel after channel, window after window; a flat channel has none', () => {
    const both = features(sine(1, 10), new Float32Array(WINDOW).fill(4));
    expect(both).toHaveLength(2 * SIGNAL_FEATURES);
    expect(both.subarray(0, SIGNAL_FEATURES)).toEqual(features(sine(1, 10)));
    expect([...both.subarray(SIGNAL_FEATURES, SIGNAL_FEATURES + STATISTICS.length)]).toEqual([0, 0, 0, 0, 0]);
    const windows = Float32Array.from([...sine(1, 10), ...sine(2, 30)]);
    expect(signalFeatures(windows, [WINDOW, 1]).subarray(SIGNAL_FEATURES)).toEqual(features(sine(2, 30)));
  });
});

describe('the log spectrum', () => {
  it('of a sine has a third of the window as its highest power', () => {
    const spectrum = logSpectra(sine(5, 100, 2), [WINDOW, 1]);
    expect(spectrum).toHaveLength(WINDOW / 2);
    expect(spectrum.indexOf(Math.max(...spectrum))).toBe(100);
    // (amplitude sqrt 2, halved) squared * window * (mean of Hann)^2 / (mean square of Hann) = window / 2 * 0.25 / 0.375
    expect(spectrum[100]).toBeCloseTo(Math.log(WINDOW / 3), 4);
    expect(spectrum[50]).toBeCloseTo(Math.log(1e-5), 3);
  });
});
