import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { clippingDivergence, Histogram, methodName } from '../../../models/quantize/calibration.ts';

function histogramOf(values: Float32Array): Histogram {
  const histogram = new Histogram({ min: Math.min(...values), max: Math.max(...values) });
  histogram.add(values);
  return histogram;
}

const ENTROPY = { kind: 'entropy' } as const;
const percentile = (share: number) => ({ kind: 'percentile', percentile: share }) as const;

describe('ranges from a histogram', () => {
  const normal = (count: number, seed = 1) => {
    const random = new Random(seed);
    return Float32Array.from({ length: count }, () => random.normal());
  };

  it('minmax keeps all, and zero', () => {
    expect(histogramOf(Float32Array.of(1, 2, 3)).range({ kind: 'minmax' })).toEqual({ min: 0, max: 3 });
  });

  it('percentile cuts half of the rest on either side, to a bin', () => {
    const histogram = histogramOf(Float32Array.from({ length: 10_001 }, (_, index) => index / 100 - 50));
    const { min, max } = histogram.range(percentile(98));
    expect(Math.abs(min + 49)).toBeLessThanOrEqual(histogram.binWidth);
    expect(Math.abs(max - 49)).toBeLessThanOrEqual(histogram.binWidth);
    expect(histogram.range(percentile(100))).toEqual({ min: -50, max: 50 });
  });

  it('percentile never leaves zero out', () => {
    const { min, max } = histogramOf(Float32Array.from({ length: 1000 }, (_, index) => 5 + index / 1000)).range(percentile(90));
    expect(min).toBe(0);
    expect(max).toBeGreaterThan(5.9);
  });

  it.each([0, -1, 100.1, Number.NaN])('refuses percentile %d', (share) => {
    expect(() => histogramOf(Float32Array.of(-1, 1)).range(percentile(share))).toThrow(RangeError);
  });

  it('entropy cuts a far outlier off normal values, and nothing off even ones', () => {
    const values = normal(50_000);
    values[7] = 60;
    const { min, max } = histogramOf(values).range(ENTROPY);
    expect(max).toBeLessThan(15);
    expect(max).toBeGreaterThan(2.5);
    expect(min).toBeLessThan(-2.5);
    const even = histogramOf(Float32Array.from({ length: 50_000 }, (_, index) => index / 50_000 - 0.5));
    expect(even.range(ENTROPY)).toEqual({ min: -0.5, max: even.max });
  });

  it('entropy cuts no more than leaves 256 levels', () => {
    const values = normal(10_000).map((value) => Math.abs(value) / 100);
    values[0] = 1;
    const histogram = histogramOf(values);
    expect(histogram.range(ENTROPY).max).toBeGreaterThanOrEqual(256 * histogram.binWidth);
  });

  it('of a constant is the constant and zero', () => {
    for (const method of [percentile(99), ENTROPY]) {
      expect(histogramOf(new Float32Array(100)).range(method)).toEqual({ min: 0, max: 0 });
      const { min, max } = histogramOf(new Float32Array(100).fill(3)).range(method);
      expect([min, max]).toEqual([0, 3]);
    }
  });

  it('counts what lies outside as the ends', () => {
    const histogram = new Histogram({ min: -1, max: 1 });
    histogram.add(Float32Array.of(-5, 5, 5));
    expect([histogram.counts[0], histogram.counts.at(-1)]).toEqual([1, 2]);
  });
});

describe('divergence of a clipping', () => {
  it('is none where 256 levels hold every bin apart', () => {
    const counts = Float64Array.from({ length: 256 }, (_, index) => 1 + (index % 7));
    expect(clippingDivergence(counts, 0, 256)).toBeCloseTo(0, 12);
  });

  it('is what the definition says for two bins a level', () => {
    const counts = Float64Array.from({ length: 512 }, (_, index) => (index % 2 ? 3 : 1));
    // Each level turns 1/4 and 3/4 into halves.
    expect(clippingDivergence(counts, 0, 512)).toBeCloseTo(0.25 * Math.log(0.5) + 0.75 * Math.log(1.5), 12);
  });

  it('has no bound where all would be cut', () => {
    const counts = new Float64Array(600);
    counts[500] = 9;
    expect(clippingDivergence(counts, 0, 300)).toBe(Number.POSITIVE_INFINITY);
  });

  it('counts cut values that would lie on an empty end against half a count', () => {
    const counts = new Float64Array(512).fill(1);
    counts.fill(0, 254, 256);
    // 256 values are cut, from 254 that stay; the last bin of [0, 256) is empty.
    const outside = (256 / 510) * Math.log(256 / 510 / (0.5 / 254.5));
    const inside = (254 / 510) * Math.log(254.5 / 510);
    expect(clippingDivergence(counts, 0, 256)).toBeCloseTo(inside + outside, 12);
  });
});

it('spells methods as reports do', () => {
  expect([{ kind: 'minmax' } as const, percentile(99.99), ENTROPY].map(methodName)).toEqual(['minmax', 'percentile 99.99', 'entropy']);
});
