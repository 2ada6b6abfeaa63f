import { describe, expect, it } from 'vitest';
import type { Windows } from '../../../trainer/data/windows.ts';
import { describePerturbation, type Perturbation, perturb, ROBUSTNESS_SUITE } from '../../../trainer/evaluate/robustness.ts';
import { largestError, numbers } from '../../support/numbers.ts';

const WINDOW = 256;
const SHAPE = [WINDOW, 2] as const;
const windowsOf = (samples: Float32Array, recordings?: number[]): Windows => {
  const count = samples.length / (WINDOW * 2);
  return { samples, labels: new Int32Array(count), recordings: Int32Array.from(recordings ?? new Array(count).fill(0)), count };
};
const sines = (cycles: number, count = 1) =>
  Float32Array.from({ length: count * WINDOW * 2 }, (_, at) => (1 + (at % 2)) * Math.cos((2 * Math.PI * cycles * (at >> 1)) / WINDOW));
const channel = (samples: Float32Array, index: number) => samples.filter((_, at) => at % 2 === index);
const power = (samples: Float32Array) => samples.reduce((sum, value) => sum + value ** 2 / samples.length, 0);

describe('a perturbation', () => {
  it.each(ROBUSTNESS_SUITE.map((one) => [describePerturbation(one), one] as const))(
    '%s is the same for the same seed and leaves the original alone',
    (_, one) => {
      // Fifth powers have peaks of more than three times their RMS.
      const windows = windowsOf(numbers(4 * WINDOW * 2, 3).map((value) => value ** 5));
      const before = windows.samples.slice();
      const first = perturb(windows, SHAPE, one, 5);
      expect(perturb(windows, SHAPE, one, 5).samples).toEqual(first.samples);
      expect(first.samples).not.toEqual(before);
      expect(first.samples.every(Number.isFinite)).toBe(true);
      expect(windows.samples).toEqual(before);
      expect(first).toMatchObject({ labels: windows.labels, recordings: windows.recordings, count: 4 });
    },
  );

  it('noise has the stated distance from each channel, and another seed another noise', () => {
    const windows = windowsOf(sines(10, 40).map((value) => value + 5));
    const noisy = perturb(windows, SHAPE, { kind: 'noise', snrDb: 10 }, 1);
    for (const index of [0, 1]) {
      const clean = channel(windows.samples, index);
      const difference = channel(noisy.samples, index).map((value, at) => value - clean[at]);
      const signal = channel(sines(10), index);
      expect(10 * Math.log10(power(signal) / power(difference))).toBeCloseTo(10, 0);
    }
    expect(perturb(windows, SHAPE, { kind: 'noise', snrDb: 10 }, 2).samples).not.toEqual(noisy.samples);
  });

  it('gain multiplies', () => {
    const windows = windowsOf(numbers(WINDOW * 2, 3));
    expect(perturb(windows, SHAPE, { kind: 'gain', factor: 4 }, 1).samples).toEqual(windows.samples.map((value) => 4 * value));
  });

  it.each([0.8, 1.25])('speed %d moves a frequency by that factor', (factor) => {
    const moved = perturb(windowsOf(sines(20)), SHAPE, { kind: 'speed', factor }, 1).samples;
    // Up to where a faster machine's window has to go back the way it came; the reflection bends a sine there.
    const inside = Math.floor(WINDOW / Math.max(1, factor)) - 12;
    const expected = sines(20 * factor);
    expect(largestError(moved.subarray(0, 2 * inside), expected.subarray(0, 2 * inside))).toBeLessThan(0.02);
    expect(power(moved)).toBeCloseTo(power(expected), 1);
  });

  it('speed loses what passes half the rate, and 1 changes nothing', () => {
    const high = windowsOf(sines(120));
    expect(power(perturb(high, SHAPE, { kind: 'speed', factor: 1.3 }, 1).samples)).toBeLessThan(0.02 * power(high.samples));
    expect(largestError(perturb(high, SHAPE, { kind: 'speed', factor: 1 }, 1).samples, high.samples)).toBeLessThan(1e-6);
  });

  it('channel loss silences the stated number of channels, in turn', () => {
    const lost = perturb(windowsOf(numbers(30 * WINDOW * 2, 3)), SHAPE, { kind: 'channel-loss', lost: 1 }, 1).samples;
    const silent = Array.from({ length: 30 }, (_, row) => {
      const window = lost.subarray(row * WINDOW * 2, (row + 1) * WINDOW * 2);
      return [0, 1].filter((index) => power(channel(window, index)) === 0);
    });
    expect(silent.every(({ length }) => length === 1)).toBe(true);
    expect(new Set(silent.flat())).toEqual(new Set([0, 1]));
    expect(() => perturb(windowsOf(sines(3)), SHAPE, { kind: 'channel-loss', lost: 3 }, 1)).toThrow(RangeError);
  });

  it('clipping ends at the same level in all windows of a recording, about its mean', () => {
    // Two recordings of two windows, the second ten times as loud as the first.
    const samples = numbers(4 * WINDOW * 2, 3).map((value, at) => 7 + value * (at < 2 * WINDOW * 2 ? 1 : 10));
    const clipped = perturb(windowsOf(samples, [0, 0, 1, 1]), SHAPE, { kind: 'clipping', level: 1 } as Perturbation, 1).samples;
    for (const [from, scale] of [
      [0, 1],
      [2 * WINDOW * 2, 10],
    ] as const) {
      const recording = channel(clipped.subarray(from, from + 2 * WINDOW * 2), 0);
      // Evenly distributed numbers of -1 to 1 have an RMS of 1 / sqrt 3.
      const top = (Math.max(...recording) - Math.min(...recording)) / 2;
      expect(top / scale).toBeCloseTo(1 / Math.sqrt(3), 1);
      expect(recording.filter((value) => value === Math.max(...recording)).length).toBeGreaterThan(50);
    }
  });

  it('speed must be above 0', () => {
    expect(() => perturb(windowsOf(sines(3)), SHAPE, { kind: 'speed', factor: 0 }, 1)).toThrow(RangeError);
  });
});
