import { describe, expect, it } from 'vitest';
import { falseAlarmsAt, falseAlarmsAtRecall, thresholdAtRecall } from '../../../trainer/evaluate/false-alarms.ts';
import { argmaxRows } from '../../../trainer/evaluate/metrics.ts';
import { slidingVote, vote8 } from '../../../trainer/evaluate/smoothing.ts';

/** Two classes, `normal` first; P(normal) a window. */
const rows = (...normal: number[]) => Float32Array.from(normal.flatMap((p) => [p, 1 - p]));
const ofRecordings = (...lengths: number[]) => Int32Array.from(lengths.flatMap((length, index) => new Array<number>(length).fill(index)));

describe('votes of 8', () => {
  it('are runs of 8 within a recording; a rest is left out, a short recording is one run', () => {
    const recordings = ofRecordings(17, 5, 8);
    const labels = recordings.map((recording) => (recording === 1 ? 0 : 1));
    const { recordings: voted, labels: their } = vote8(labels, recordings, rows(...new Array<number>(30).fill(0.5)), 2);
    expect([...voted]).toEqual([0, 0, 1, 2]);
    expect([...their]).toEqual([1, 1, 0, 1]);
  });

  it('sum log-probabilities: one sure window outweighs several that are in doubt', () => {
    const windows = rows(0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.99);
    const { probabilities } = vote8(new Int32Array(8), ofRecordings(8), windows, 2);
    const odds = (0.4 / 0.6) ** 7 * (0.99 / 0.01);
    expect(probabilities[0]).toBeCloseTo(odds / (1 + odds), 5);
    expect(argmaxRows(probabilities, 2)[0]).toBe(0);
  });
});

describe('the sliding vote', () => {
  it('takes each window with those before it, and never looks into another recording', () => {
    const windows = rows(0.9, 0.2, 0.9, 0.8);
    const { probabilities, labels } = slidingVote(Int32Array.of(0, 0, 0, 1), ofRecordings(3, 1), windows, 2, 2);
    const together = (...p: number[]) => {
      const odds = p.reduce((product, one) => (product * one) / (1 - one), 1);
      return odds / (1 + odds);
    };
    expect([0, 2, 4, 6].map((at) => probabilities[at])).toEqual(
      [together(0.9), together(0.9, 0.2), together(0.2, 0.9), together(0.8)].map((value) => expect.closeTo(value, 5)),
    );
    expect([...labels]).toEqual([0, 0, 0, 1]);
  });
});

describe('false alarms', () => {
  const smoothed = (healthy: number[], faulty: number[]) => ({
    probabilities: rows(...healthy, ...faulty),
    labels: Int32Array.from([...healthy.map(() => 0), ...faulty.map(() => 1)]),
    recordings: new Int32Array(healthy.length + faulty.length),
  });

  it('at full recall are the healthy windows that look no more normal than the least faulty fault', () => {
    const data = smoothed([0.2, 0.5, 0.6, 0.9], [0.05, 0.1, 0.5]);
    const { threshold, falseAlarmRate, faultRecall } = falseAlarmsAtRecall(data, 0, 1);
    expect(threshold).toBeGreaterThan(0.5);
    expect(threshold).toBeLessThan(0.500001);
    expect(falseAlarmRate).toBe(0.5);
    expect(faultRecall).toBe(1);
  });

  it('at 99 % recall leave one fault of a hundred out, and not a second one', () => {
    const faulty = Array.from({ length: 100 }, (_, index) => index / 200);
    const data = smoothed([0.491, 0.4925, 0.6], [...faulty.slice(0, 99), 0.99]);
    const { threshold, falseAlarmRate, faultRecall } = falseAlarmsAtRecall(data, 0);
    expect(threshold).toBeCloseTo(0.49, 5);
    expect([falseAlarmRate, faultRecall]).toEqual([0, 0.99]);
    expect(falseAlarmsAtRecall(data, 0, 0.98).threshold).toBeCloseTo(0.485, 5);
  });

  it('at a threshold of validation data are measured as they come', () => {
    const threshold = thresholdAtRecall(smoothed([0.9], [0.3, 0.4]), 0, 1);
    expect(falseAlarmsAt(smoothed([0.1, 0.9, 0.9, 0.9], [0.2, 0.7]), 0, threshold)).toEqual({
      threshold,
      falseAlarmRate: 0.25,
      faultRecall: 0.5,
    });
  });

  it('need a fault', () => {
    expect(() => thresholdAtRecall(smoothed([0.9], []), 0)).toThrow(/no faulty window/);
    expect(falseAlarmsAt(smoothed([], [0.1]), 0, 0.5).falseAlarmRate).toBeNaN();
  });
});
