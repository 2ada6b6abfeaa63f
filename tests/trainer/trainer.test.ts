import { describe, expect, it } from 'vitest';
import { cutWindows, recordingStarts } from '../../trainer/data/windows.ts';
import { sparkline } from '../../trainer/demo/view.ts';
import { argmaxRows, metricsOf, recordingMetrics } from '../../trainer/evaluate/metrics.ts';
import { RidgeClassifier } from '../../trainer/evaluate/ridge.ts';
import { numbers } from '../support/numbers.ts';
import { TINY_CLASSES, tinyRecordings } from '../support/tiny-bundle.ts';

describe('windows', () => {
  it('start every stride and never run over the end', () => {
    const [{ entry }] = tinyRecordings(1);
    expect(recordingStarts({ entry, length: 1300 }, 512, 256)).toEqual([0, 256, 512, 768]);
    expect(recordingStarts({ entry, length: 511 }, 512, 256)).toEqual([]);
  });

  it('keep their samples, class and recording', () => {
    const recordings = tinyRecordings(2);
    const windows = cutWindows(recordings, TINY_CLASSES, 512, 256);
    expect(windows.count).toBe(recordings.length * recordingStarts(recordings[0], 512, 256).length);
    expect(TINY_CLASSES[windows.labels.at(-1)!]).toBe(recordings.at(-1)!.label);
    expect([...windows.samples.slice(0, 1024)]).toEqual([...recordings[0].read(0, 512)]);
  });
});

describe('metrics', () => {
  it('count what a worked example counts', () => {
    const { accuracy, balancedAccuracy, macroF1 } = metricsOf([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], 2);
    expect(accuracy).toBeCloseTo(4 / 6, 12);
    expect(balancedAccuracy).toBeCloseTo((3 / 4 + 1 / 2) / 2, 12);
    expect(macroF1).toBeCloseTo((6 / 8 + 2 / 4) / 2, 12);
  });

  it('of recordings sum log-probabilities', () => {
    const probabilities = Float32Array.from([0.9, 0.1, 0.4, 0.6, 0.45, 0.55]);
    expect([...argmaxRows(probabilities, 2)]).toEqual([0, 1, 1]);
    const recordings = Int32Array.from([7, 7, 7]);
    expect(recordingMetrics(Int32Array.from([0, 0, 0]), recordings, probabilities, 2).accuracy).toBe(1);
  });
});

describe('the ridge classifier', () => {
  it('separates what a plane separates', () => {
    const x = numbers(600, 3);
    const labels = Int32Array.from({ length: 200 }, (_, row) => (x[3 * row] + 0.5 * x[3 * row + 1] > 0.1 ? 1 : 0));
    const ridge = new RidgeClassifier(x.subarray(0, 450), labels.subarray(0, 150), 2, 0.1);
    const decided = ridge.decide(x.subarray(450));
    expect(decided.filter((label, row) => label === labels[150 + row]).length).toBeGreaterThan(45);
  });
});

describe('a sparkline', () => {
  it('goes from the lowest block to the highest', () => {
    expect(sparkline([-1, 1], 2)).toBe('▁█');
    expect(sparkline([], 3)).toBe('   ');
  });
});
