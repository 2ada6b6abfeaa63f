import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { calibrationOf, fitTemperature, softmaxRows } from '../../../trainer/evaluate/calibration.ts';

describe('the calibration error', () => {
  it('of a worked example is the weighted distance of accuracy and confidence', () => {
    // Four windows at 0.75 of which two are right, one at 0.55 which is right: (4 * 0.25 + 1 * 0.45) / 5.
    const probabilities = Float32Array.of(0.75, 0.25, 0.75, 0.25, 0.25, 0.75, 0.25, 0.75, 0.45, 0.55);
    const { ece, nll, bins } = calibrationOf(probabilities, Int32Array.of(0, 1, 1, 0, 1), 2);
    expect(ece).toBeCloseTo((4 * 0.25 + 0.45) / 5, 6);
    expect(nll).toBeCloseTo(-(2 * Math.log(0.75) + 2 * Math.log(0.25) + Math.log(0.55)) / 5, 6);
    expect(bins).toHaveLength(15);
    expect(bins.filter(({ count }) => count > 0)).toEqual([
      { from: 8 / 15, to: 9 / 15, count: 1, accuracy: 1, confidence: expect.closeTo(0.55, 6) },
      { from: 11 / 15, to: 12 / 15, count: 4, accuracy: 0.5, confidence: 0.75 },
    ]);
  });

  it('is 0 where everything is certain and right, 1 where it is certain and wrong', () => {
    const certain = Float32Array.of(1, 0, 0, 1);
    expect(calibrationOf(certain, Int32Array.of(0, 1), 2).ece).toBe(0);
    expect(calibrationOf(certain, Int32Array.of(1, 0), 2)).toMatchObject({ ece: 1, bins: { length: 15 } });
  });
});

describe('temperature scaling', () => {
  it('of one logit and a known share of right rows has a known answer', () => {
    const rows = 1000;
    const logits = Float32Array.from({ length: 2 * rows }, (_, at) => (at % 2 === 0 ? 4 : 0));
    for (const right of [600, 900, 1000]) {
      const labels = Int32Array.from({ length: rows }, (_, row) => (row < right ? 0 : 1));
      // sigmoid(4 / T) is the share of right rows, each counted as certain to 1 - 1 / (rows + 2).
      const doubt = 1 / (rows + 2);
      const share = (right / rows) * (1 - doubt) + (1 - right / rows) * doubt;
      expect(fitTemperature(logits, labels, 2)).toBeCloseTo(4 / Math.log(share / (1 - share)), 6);
    }
  });

  it('finds the temperature that overconfident logits were made with, and mends their calibration', () => {
    const [rows, classes, temperature] = [4000, 5, 2.5];
    const random = new Random(3);
    const honest = Float32Array.from({ length: rows * classes }, () => 1.5 * random.normal());
    const probabilities = softmaxRows(honest, classes);
    const labels = Int32Array.from({ length: rows }, (_, row) => {
      let left = random.uniform();
      for (let column = 0; column < classes - 1; column++) {
        left -= probabilities[row * classes + column];
        if (left < 0) return column;
      }
      return classes - 1;
    });
    const logits = honest.map((logit) => temperature * logit);
    const fitted = fitTemperature(logits, labels, classes);
    expect(fitted).toBeGreaterThan(temperature * 0.93);
    expect(fitted).toBeLessThan(temperature * 1.07);
    expect(calibrationOf(softmaxRows(logits, classes), labels, classes).ece).toBeGreaterThan(0.15);
    const after = calibrationOf(softmaxRows(logits, classes, fitted), labels, classes);
    expect(after.ece).toBeLessThan(0.03);
    // No other temperature is likelier.
    for (const other of [fitted * 0.98, fitted * 1.02])
      expect(calibrationOf(softmaxRows(logits, classes, other), labels, classes).nll).toBeGreaterThan(after.nll);
  });

  it('stays finite where every row is wrong, or large', () => {
    const logits = Float32Array.of(900, -900, 900, -900);
    expect(fitTemperature(logits, Int32Array.of(1, 1), 2)).toBeCloseTo(100, 6);
    expect([...softmaxRows(logits, 2)]).toEqual([1, 0, 1, 0]);
  });
});
