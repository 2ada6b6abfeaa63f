import { describe, expect, it } from 'vitest';
import type { Windows } from '../../../trainer/data/windows.ts';
import { evaluateDecisions } from '../../../trainer/evaluate/evaluate.ts';
import { ROBUSTNESS_SUITE } from '../../../trainer/evaluate/robustness.ts';
import { robustnessCurves } from '../../../trainer/evaluate/robustness-curves.ts';
import { balancedSample, joinWindows } from '../../../trainer/evaluate/sampling.ts';
import { latencyOf, measureTiming } from '../../../trainer/evaluate/timing.ts';
import { numbers } from '../../support/numbers.ts';

const rows = (...values: number[][]) => Float32Array.from(values.flat());
const repeat = <T>(count: number, value: T) => new Array<T>(count).fill(value);

describe('an evaluation', () => {
  // Recording 0: 16 healthy windows, of which the first decides for a fault. Recording 1: 16 faulty windows, all found. Class `odd` never occurs.
  const labels = Int32Array.from([...repeat(16, 0), ...repeat(16, 1)]);
  const recordings = labels.slice();
  const probabilities = rows([0.3, 0.6, 0.1], ...repeat(15, [0.9, 0.1, 0]), ...repeat(16, [0.2, 0.8, 0]));
  const classes = ['normal', 'fault', 'odd'];
  const evaluation = evaluateDecisions({ labels, recordings, probabilities, classes });

  it('counts what a worked example counts', () => {
    const { test, confusion, recall } = evaluation;
    expect(test).toMatchObject({ windows: 32, vote8: 1, recordingAccuracy: 1, falseAlarmRate: 0 });
    expect(test.accuracy).toBeCloseTo(31 / 32, 12);
    expect(test.balancedAccuracy).toBeCloseTo((15 / 16 + 1) / 2, 12);
    expect(test.macroF1).toBeCloseTo((30 / 31 + 32 / 33) / 2, 12);
    expect(confusion).toEqual([
      [15, 1, 0],
      [0, 16, 0],
      [0, 0, 0],
    ]);
    expect(recall).toEqual([15 / 16, 1, null]);
  });

  it('has 15 bins that hold all windows, and the calibration error that they make', () => {
    const { bins } = evaluation.reliability;
    expect(bins).toHaveLength(15);
    expect(bins.reduce((sum, { count }) => sum + count, 0)).toBe(32);
    // 0.6 wrong; 0.8 right 16 times; 0.9 right 15 times.
    expect(evaluation.test.ece).toBeCloseTo((0.6 + 16 * 0.2 + 15 * 0.1) / 32, 6);
  });

  it('counts a healthy window whose smoothed decision is as suspicious as the faults as a false alarm', () => {
    const doubtful = probabilities.slice();
    // The last healthy windows look like the faults: the threshold that finds the faults catches those that smoothing leaves suspicious.
    for (let row = 8; row < 16; row++) doubtful.set([0.1, 0.9, 0], 3 * row);
    const { falseAlarmRate } = evaluateDecisions({ labels, recordings, probabilities: doubtful, classes }).test;
    expect(falseAlarmRate).toBeGreaterThan(0);
    expect(falseAlarmRate).toBeLessThan(0.5);
    // A threshold that was chosen elsewhere is used as it is: nothing lies below 0, everything below 2.
    expect(evaluateDecisions({ labels, recordings, probabilities, classes, normalThreshold: 0 }).test.falseAlarmRate).toBe(0);
    expect(evaluateDecisions({ labels, recordings, probabilities, classes, normalThreshold: 2 }).test.falseAlarmRate).toBe(1);
  });

  it('has no false alarms to tell without a class normal, without healthy and without faulty windows', () => {
    const rate = (names: string[], which: Int32Array) =>
      evaluateDecisions({ labels: which, recordings, probabilities, classes: names }).test.falseAlarmRate;
    expect(rate(['a', 'b', 'c'], labels)).toBeNull();
    expect(
      rate(
        classes,
        labels.map(() => 0),
      ),
    ).toBeNull();
    expect(
      rate(
        classes,
        labels.map(() => 1),
      ),
    ).toBeNull();
  });

  it('survives JSON, and refuses to judge nothing', () => {
    expect(JSON.parse(JSON.stringify(evaluation))).toEqual(evaluation);
    const none = { labels: new Int32Array(0), recordings: new Int32Array(0), probabilities: new Float32Array(0), classes };
    expect(() => evaluateDecisions(none)).toThrow(RangeError);
  });
});

/** Windows of one sample in two channels: 60 of class 0, 30 of class 1, 4 of class 2. */
const uneven: Windows = {
  samples: numbers(94 * 512 * 2, 3),
  labels: Int32Array.from([...repeat(60, 0), ...repeat(30, 1), ...repeat(4, 2)]),
  recordings: Int32Array.from({ length: 94 }, (_, row) => row >> 1),
  count: 94,
};

describe('a balanced sample', () => {
  it('takes as many of each class as there are while others have more, in order', () => {
    const { labels, recordings, count, samples } = balancedSample(uneven, 40);
    expect([0, 1, 2].map((label) => labels.filter((other) => other === label).length)).toEqual([18, 18, 4]);
    expect([...recordings]).toEqual([...recordings].sort((a, b) => a - b));
    expect(samples).toHaveLength(count * 1024);
  });

  it('is everything where there is little, sample for sample', () => {
    expect(balancedSample(uneven, 94)).toEqual(uneven);
    expect(joinWindows([balancedSample(uneven, 1000), balancedSample({ ...uneven, count: 94 }, 0)])).toEqual(uneven);
  });
});

describe('robustness curves', () => {
  // Decides for class 1 where the first channel's first sample is loud, for 0 otherwise: gain alone changes its mind.
  const windows: Windows = {
    samples: Float32Array.from({ length: 8 * 1024 }, (_, at) => (at < 4 * 1024 ? 1 : 3) * (at % 4 < 2 ? 1 : -1)),
    labels: Int32Array.from([0, 0, 0, 0, 1, 1, 1, 1]),
    recordings: Int32Array.from([0, 0, 0, 0, 1, 1, 1, 1]),
    count: 8,
  };
  const given: Windows[] = [];
  const loud = async (some: Windows) => {
    given.push(some);
    return rows(...Array.from({ length: some.count }, (_, row) => (Math.abs(some.samples[row * 1024]) > 2 ? [0, 1] : [1, 0])));
  };

  it('have a point for every perturbation, grouped by kind, the clean one first', async () => {
    const shares: number[] = [];
    const curves = await robustnessCurves(loud, windows, [512, 2], 2, 1, (share) => shares.push(share));
    expect(curves.map(({ kind }) => kind)).toEqual(['clean', 'noise', 'gain', 'speed', 'channel-loss', 'clipping']);
    expect(curves.flatMap(({ points }) => points)).toHaveLength(1 + ROBUSTNESS_SUITE.length);
    expect(curves[0].points[0]).toMatchObject({ accuracy: 1, balancedAccuracy: 1 });
    const gain = curves.find(({ kind }) => kind === 'gain')!.points;
    expect(gain.map(({ label, level, accuracy }) => [label, level, accuracy])).toEqual([
      ['gain x 0.25', 0.25, 0.5],
      ['gain x 0.5', 0.5, 0.5],
      ['gain x 2', 2, 1],
      ['gain x 4', 4, 0.5],
    ]);
    expect(shares.at(-1)).toBe(1);
  });

  it('lose no channel of one, take no more windows than they may, and stop at the signal', async () => {
    given.length = 0;
    const single = { ...windows, samples: windows.samples.subarray(0, 8 * 512) };
    const curves = await robustnessCurves(async ({ count }) => new Float32Array(2 * count), single, [512, 1], 2, 1);
    expect(curves.map(({ kind }) => kind)).not.toContain('channel-loss');
    await robustnessCurves(loud, windows, [512, 2], 2, 1, undefined, undefined, 4);
    expect(new Set(given.map(({ count }) => count))).toEqual(new Set([4]));
    const stopped = AbortSignal.abort(new Error('stopped'));
    await expect(robustnessCurves(loud, windows, [512, 2], 2, 1, undefined, stopped)).rejects.toThrow('stopped');
  });
});

describe('timing', () => {
  it('takes the nearest rank', () => {
    const times = Float64Array.from({ length: 300 }, (_, index) => 300 - index);
    expect(latencyOf(times)).toEqual({ medianMs: 150, p99Ms: 297 });
    expect(latencyOf(Float64Array.of(7))).toEqual({ medianMs: 7, p99Ms: 7 });
  });

  it('runs the graph at least 300 times, and adds the window that must be heard first', async () => {
    let runs = 0;
    const session = {
      run: async () => {
        runs++;
        return {};
      },
    };
    const timing = await measureTiming(session, {}, { window: 512, sampleRateHz: 1000 });
    expect(timing.runs).toBeGreaterThanOrEqual(300);
    expect(runs).toBeGreaterThan(timing.runs);
    expect(timing.firstResponse.windowMs).toBe(512);
    expect(timing.firstResponse.p99Ms).toBe(512 + timing.processing.p99Ms);
    expect(timing.processing.p99Ms).toBeGreaterThanOrEqual(timing.processing.medianMs);
  });
});
