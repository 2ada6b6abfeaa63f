import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { conformalPValue } from '../../../runtime/decide/conformal.ts';
import { healthyQuantiles } from '../../../trainer/evaluate/healthy-scores.ts';
import { numbers } from '../../support/numbers.ts';

const scores = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 60 });

describe('conformalPValue', () => {
  it('is the share of scores that are at least as high, the window counted in', () => {
    fc.assert(
      fc.property(scores, fc.double({ min: 0, max: 1, noNaN: true }), (healthy, score) => {
        const above = healthy.filter((one) => one >= score).length;
        expect(conformalPValue(Float64Array.from(healthy).sort(), score)).toBeCloseTo((above + 1) / (healthy.length + 1), 12);
      }),
    );
  });

  it('keeps its promise: any one of exchangeable scores is called significant in at most its share of cases', () => {
    fc.assert(
      fc.property(scores, fc.double({ min: 0, max: 1, noNaN: true }), (all, level) => {
        const significant = all.filter((score, index) => {
          const others = Float64Array.from(all.filter((_, other) => other !== index)).sort();
          return conformalPValue(others, score) <= level;
        });
        expect(significant.length / all.length).toBeLessThanOrEqual(level + 1e-12);
      }),
    );
  });
});

describe('healthyQuantiles', () => {
  const probabilities = Float32Array.from(numbers(5000, 3, 0, 1));

  it('keeps all scores where there are few', () => {
    expect(healthyQuantiles(Float32Array.of(0.75, 1, 0.5), 256)).toEqual([0, 0.25, 0.5]);
  });

  it('gives p-values that are never smaller than those of all scores, and larger by a quantile at the most', () => {
    const all = Float64Array.from(probabilities, (p) => 1 - p).sort();
    const few = Float64Array.from(healthyQuantiles(probabilities, 256));
    expect(few).toHaveLength(256);
    for (const score of numbers(300, 9, 0, 1)) {
      const excess = conformalPValue(few, score) - conformalPValue(all, score);
      expect(excess).toBeGreaterThanOrEqual(-1e-9);
      expect(excess).toBeLessThan(2 / 256);
    }
  });
});
