import { describe, expect, it } from 'vitest';
import { rowsByClass } from '../../../runtime/adapt/labelled-features.ts';
import { cutWindows } from '../../../trainer/data/windows.ts';
import { pickWindows } from '../../../trainer/evaluate/sampling.ts';
import { augmentWindows } from '../../../trainer/tune/augment.ts';
import { drawShots } from '../../../trainer/tune/target.ts';
import { validationFolds } from '../../../trainer/tune/validate.ts';
import { CLASSES, machine } from './machines.ts';

describe('labelled windows', () => {
  // Two recordings a class, one after the other.
  const recordings = [...machine(0, 4, 1), ...machine(0, 4, 2)];

  it.each([256, 512, 200])('are drawn evenly, and nothing that is measured shares a sample with them (stride %i)', (stride) => {
    const windows = cutWindows(recordings, CLASSES, 512, stride);
    const { shots, measured } = drawShots(windows, CLASSES, 3, { window: 512, stride }, 7);
    expect(rowsByClass(windows.labels.filter((_, row) => shots.includes(row))).map((rows) => rows.length)).toEqual([3, 3, 3, 3]);
    const placeOf = (row: number) => ({
      recording: windows.recordings[row],
      start: stride * (row - windows.recordings.indexOf(windows.recordings[row])),
    });
    const sharing = (a: number, b: number) => {
      const [one, other] = [placeOf(a), placeOf(b)];
      return one.recording === other.recording && Math.abs(one.start - other.start) < 512;
    };
    expect(measured.filter((row) => shots.some((shot) => sharing(row, shot)))).toEqual([]);
    // And nothing else was left out.
    const left = Array.from(windows.labels.keys()).filter((row) => !measured.includes(row));
    expect(left.filter((row) => !shots.some((shot) => sharing(row, shot)))).toEqual([]);
  });

  it('are the same for the same seed', () => {
    const windows = cutWindows(recordings, CLASSES, 512, 256);
    const draw = (seed: number) => drawShots(windows, CLASSES, 2, { window: 512, stride: 256 }, seed);
    expect(draw(3)).toEqual(draw(3));
    expect(draw(3).shots).not.toEqual(draw(4).shots);
  });

  it('under augmentation keep class, shape of the spectrum and about their loudness', () => {
    const windows = pickWindows(cutWindows(recordings, CLASSES, 512, 256), [0, 20, 40]);
    const augmented = augmentWindows(windows, { window: 512, channels: 1 }, 1);
    expect(augmented.count).toBe(12);
    const power = (samples: Float32Array) => samples.reduce((sum, value) => sum + value * value, 0);
    for (let row = 0; row < augmented.count; row++) {
      const source = windows.samples.subarray((row % 3) * 512, ((row % 3) + 1) * 512);
      const made = augmented.samples.subarray(row * 512, (row + 1) * 512);
      expect(augmented.labels[row]).toBe(windows.labels[row % 3]);
      expect(made).not.toEqual(source);
      const gain = Math.sqrt(power(made) / power(source));
      expect(Math.abs(20 * Math.log10(gain))).toBeLessThan(2.1);
      // Up to loudness, sign and direction only the noise at 40 dB is new.
      const residual = [source, source.toReversed()].flatMap((one) =>
        [1, -1].map((sign) => power(made.map((value, index) => value - sign * gain * one[index])) / power(made)),
      );
      expect(Math.min(...residual)).toBeLessThan(1e-3);
    }
  });
});

describe('folds of auto', () => {
  const labelled = (perClass: number, first: number) => ({
    features: Float32Array.from({ length: 3 * perClass }, (_, row) => first + row),
    labels: Int32Array.from({ length: 3 * perClass }, (_, row) => row % 3),
  });
  const replay = labelled(6, 100);

  it('hold every shot out once where there are several a class, and learn from none that they hold', () => {
    const shots = labelled(5, 0);
    const folds = validationFolds(shots, labelled(1, 900), replay, 5);
    expect(folds).toHaveLength(3);
    expect(folds.flatMap(({ heldTarget }) => [...heldTarget.features]).sort((a, b) => a - b)).toEqual([...shots.features]);
    for (const fold of folds) {
      expect([...fold.shots.features].filter((value) => fold.heldTarget.features.includes(value))).toEqual([]);
      expect([...fold.replay.features].filter((value) => fold.heldReplay.features.includes(value))).toEqual([]);
      expect(new Set(fold.shots.labels).size).toBe(3);
    }
  });

  it('with one shot a class judge on the augmented shots and the half of replay that is not learned from', () => {
    const augmented = labelled(4, 900);
    const [fold, ...more] = validationFolds(labelled(1, 0), augmented, replay, 1);
    expect(more).toEqual([]);
    expect(fold.heldTarget).toBe(augmented);
    expect(fold.heldReplay.labels.length).toBe(replay.labels.length / 2);
    expect([...fold.replay.features].filter((value) => fold.heldReplay.features.includes(value))).toEqual([]);
  });
});
