import { describe, expect, it } from 'vitest';
import { LaggedCorrelation } from '../../../trainer/evaluate/correlation.ts';
import { SlidingCorrelation } from '../../../trainer/evaluate/sliding-correlation.ts';
import { zScoreChannels } from '../../../trainer/evaluate/z-score.ts';
import { numbers } from '../../support/numbers.ts';

describe('the lagged correlation of windows', () => {
  it.each([
    [1, 50],
    [3, 64],
  ])('of %d channels is that of its definition', (channels, window) => {
    const size = window * channels;
    const samples = numbers(3 * size, 4);
    const scored = zScoreChannels(samples, [window, channels]);
    const slow = (a: number, b: number) => {
      let largest = 0;
      for (let lag = 1 - window; lag < window; lag++) {
        let sum = 0;
        for (let t = Math.max(0, -lag); t < Math.min(window, window - lag); t++)
          for (let channel = 0; channel < channels; channel++)
            sum += scored[a * size + t * channels + channel] * scored[b * size + (t + lag) * channels + channel];
        largest = Math.max(largest, Math.abs(sum) / size);
      }
      return largest;
    };
    const [first, second] = new LaggedCorrelation(samples, [window, channels]).likeness(2, 0, 1);
    expect(first).toBeCloseTo(slow(2, 0), 5);
    expect(second).toBeCloseTo(slow(2, 1), 5);
  });

  it('is 1 of a window with itself, upside down, louder or about another mean, and 0 of a flat one', () => {
    const window = numbers(64, 1);
    const samples = Float32Array.from([...window, ...window.map((value) => 3 - 10 * value), ...new Float32Array(64).fill(2)]);
    const [other, flat] = new LaggedCorrelation(samples, [64, 1]).likeness(0, 1, 2);
    expect(other).toBeCloseTo(1, 5);
    expect(flat).toBeCloseTo(0, 6);
    expect(new LaggedCorrelation(samples, [64, 1]).likeness(0, 0, 0)[0]).toBeCloseTo(1, 5);
  });

  it('is about the overlap of windows of one noise', () => {
    const noise = numbers(512, 2);
    const samples = Float32Array.from([...noise.subarray(0, 256), ...noise.subarray(64, 320), ...noise.subarray(256)]);
    const [overlapping, apart] = new LaggedCorrelation(samples, [256, 1]).likeness(0, 1, 2);
    expect(overlapping).toBeCloseTo(0.75, 1);
    expect(apart).toBeLessThan(0.3);
  });
});

describe('the sliding correlation', () => {
  it.each([
    [1, 300],
    [2, 45],
  ])('of %d channels finds the place of a probe and its coefficient', (channels, length) => {
    const samples = numbers(length * channels, 6).map((value) => value + 40);
    const search = new SlidingCorrelation(20, channels);
    const noise = numbers(20 * channels, 7);
    const probes = [17, 3, 25].map((start) =>
      search.probe(samples.subarray(start * channels, (start + 20) * channels).map((value, at) => 2 * value + 0.5 * noise[at])),
    );
    const slow = (start: number, place: number) => {
      const pearson = (channel: number) => {
        const a = Array.from({ length: 20 }, (_, t) => 2 * samples[(start + t) * channels + channel] + 0.5 * noise[t * channels + channel]);
        const b = Array.from({ length: 20 }, (_, t) => samples[(place + t) * channels + channel]);
        const mean = (values: number[]) => values.reduce((x, y) => x + y) / 20;
        const [ma, mb] = [mean(a), mean(b)];
        const dot = (x: number[], mx: number, y: number[], my: number) => x.reduce((sum, value, t) => sum + (value - mx) * (y[t] - my), 0);
        return dot(a, ma, b, mb) / Math.sqrt(dot(a, ma, a, ma) * dot(b, mb, b, mb));
      };
      return Array.from({ length: channels }, (_, channel) => pearson(channel)).reduce((x, y) => x + y) / channels;
    };
    search.bestMatches(probes, samples).forEach(({ correlation, start }, index) => {
      expect(start).toBe([17, 3, 25][index]);
      expect(correlation).toBeCloseTo(slow(start, start), 5);
    });
  });

  it('finds nothing in a recording that is shorter than the probe', () => {
    const search = new SlidingCorrelation(20, 1);
    expect(search.bestMatches([search.probe(numbers(20))], numbers(10))[0].correlation).toBe(Number.NEGATIVE_INFINITY);
  });
});
