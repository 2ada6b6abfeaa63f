import { describe, expect, it } from 'vitest';
import { pickBackup } from '../../../trainer/train/backup-stage.ts';

const scores = (...rows: [difference: number, balancedAccuracy: number][]) =>
  rows.map(([difference, balancedAccuracy]) => ({ difference, balancedAccuracy }));

describe('of several back-ups', () => {
  it('the one is taken that errs most differently', () => {
    expect(pickBackup(scores([0.32, 0.75], [0.16, 0.8]))).toBe(0);
    expect(pickBackup(scores([0.16, 0.8], [0.32, 0.75]))).toBe(1);
  });

  it('but none that is much worse than another', () => {
    expect(pickBackup(scores([0.32, 0.5], [0.16, 0.8]))).toBe(1);
  });

  it('and among those that differ alike, as all do in two classes, the better', () => {
    expect(pickBackup(scores([0, 0.72], [0, 0.8]))).toBe(1);
    expect(pickBackup(scores([0.325, 0.72], [0.32, 0.8]))).toBe(1);
  });
});
