import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LogProbabilitySum } from '../../../runtime/decide/smoothing.ts';
import { slidingVote } from '../../../trainer/evaluate/smoothing.ts';
import { largestError } from '../../support/numbers.ts';

const CLASSES = 3;
const probabilities = fc
  .array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })), { minLength: 1, maxLength: 30 })
  .map((rows) => Float32Array.from(rows.flatMap(([a, b]) => [a / (a + b + 1), b / (a + b + 1), 1 / (a + b + 1)])));

describe('LogProbabilitySum', () => {
  it('decides as the trainer does where it measures smoothed streams', () => {
    fc.assert(
      fc.property(probabilities, fc.integer({ min: 1, max: 10 }), (values, length) => {
        const rows = values.length / CLASSES;
        const { probabilities: expected } = slidingVote(new Int32Array(rows), new Int32Array(rows), values, CLASSES, length);
        const sum = new LogProbabilitySum(length, CLASSES);
        for (let row = 0; row < rows; row++) {
          sum.push(values.subarray(row * CLASSES, (row + 1) * CLASSES));
          expect(largestError(sum.probabilities, expected.subarray(row * CLASSES, (row + 1) * CLASSES))).toBeLessThan(1e-6);
          expect(sum.windows).toBe(Math.min(row + 1, length));
        }
      }),
    );
  });

  it('knows nothing of what came before it was cleared', () => {
    const sum = new LogProbabilitySum(4, 2);
    for (let row = 0; row < 6; row++) sum.push([0.999, 0.001]);
    sum.clear();
    sum.push([0.2, 0.8]);
    expect(sum.probabilities[1]).toBeCloseTo(0.8, 9);
    expect(sum.windows).toBe(1);
  });
});
