import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { findAmbiguous } from '../../../trainer/data/clean/ambiguous.ts';
import { type CleaningRow, summarizeCleaning } from '../../../trainer/data/clean/cleaning.ts';
import { findInvalid } from '../../../trainer/data/clean/invalid.ts';
import { findNearDuplicates, NEAR_DUPLICATE_SPACE } from '../../../trainer/data/clean/near-duplicates.ts';
import { heldRecording, type Recording } from '../../../trainer/data/recording-set.ts';
import { cutWindows, recordingStarts } from '../../../trainer/data/windows.ts';

const CUT = { window: 128, stride: 64 };

const normals = (seed: number, length: number) => {
  const random = new Random(seed);
  return Float32Array.from({ length }, () => random.normal());
};

function recording(file: string, label: string | null, samples: Float32Array, rate = 1000, channels = ['x']): Recording {
  const length = samples.length / channels.length;
  const entry = { file, label, n_samples: length, n_channels: channels.length, dtype: 'float32' as const, sample_rate_hz: rate };
  return heldRecording({ entry, label, channels, sampleRateHz: rate }, samples);
}

const brief = (rows: readonly CleaningRow[]) => rows.map(({ recording: index, start, reason }) => [index, start, reason]);

describe('invalid windows', () => {
  const changed = (change: (samples: Float32Array) => void) => {
    const samples = normals(1, 512);
    change(samples);
    return recording('a', 'a', samples);
  };

  it('are none in noise, in a sine of whole numbers and in a slow one', () => {
    const sine = (amplitude: number, period: number) =>
      recording(
        'sine',
        'a',
        Float32Array.from({ length: 2048 }, (_, t) => Math.round(amplitude * Math.sin((2 * Math.PI * t) / period))),
      );
    expect(findInvalid([changed(() => {}), sine(1000, 60), sine(100, 700)], CUT)).toEqual([]);
  });

  it('hold a number that is none, and only those windows', () => {
    const rows = findInvalid([changed((samples) => samples.fill(Number.NaN, 200, 201))], CUT);
    expect(brief(rows)).toEqual([
      [0, 128, 'not-finite'],
      [0, 192, 'not-finite'],
    ]);
    expect(rows[0].why).toBe('channel x holds NaN at sample 200');
  });

  it('are flat, or hold a value for a while', () => {
    expect(brief(findInvalid([changed((samples) => samples.fill(0.25, 64, 192))], CUT))).toEqual([
      [0, 0, 'drop-out'],
      [0, 64, 'flat'],
      [0, 128, 'drop-out'],
    ]);
    expect(findInvalid([changed((samples) => samples.fill(0.25, 64, 64 + 31))], CUT)).toEqual([]);
    const [row] = findInvalid([changed((samples) => samples.fill(0.25, 10, 10 + 32))], CUT);
    expect(row.why).toBe('channel x holds 0.25 for 32 samples');
  });

  it('are clipped where most of them lies at the end of the range', () => {
    const clipped = changed((samples) => samples.set(samples.map((value) => Math.max(-0.5, Math.min(0.5, value)))));
    const rows = findInvalid([clipped], CUT);
    expect(brief(rows)).toEqual([[0, null, 'clipped']]);
    expect(rows[0].why).toMatch(/^every window: 6\d % of the window lies at the end of the sensor's range$/);
    expect(findInvalid([clipped], CUT, { clippedShare: 0.8 })).toEqual([]);
  });

  it('belong to recordings of another rate or shorter than a window', () => {
    const fine = [1, 2].map((seed) => recording(`${seed}`, 'a', normals(seed, 256)));
    const rows = findInvalid([...fine, recording('c', 'a', normals(3, 256), 4000), recording('d', 'a', normals(4, 127))], CUT);
    expect(brief(rows)).toEqual([
      [2, null, 'wrong-rate'],
      [3, null, 'short'],
    ]);
    expect(rows[0].why).toBe('sampled at 4000 Hz where 1000 Hz are expected');
    expect(findInvalid(fine, CUT, { sampleRateHz: 500 })).toHaveLength(2);
  });

  it('are invalid by one channel of several', () => {
    const samples = normals(1, 2 * 256).map((value, at) => (at % 2 === 1 ? 3 : value));
    expect(findInvalid([recording('a', 'a', samples, 1000, ['x', 'y'])], CUT)).toEqual([
      { recording: 0, start: null, stage: 'invalid', reason: 'flat', why: 'every window: channel y is 3 throughout' },
    ]);
  });
});

describe('ambiguous windows', () => {
  const classes = ['a', 'b'];
  /** Five recordings of each class of 20 windows, in two clouds of an embedding. */
  const cloud = (wrong: readonly number[]) => {
    const random = new Random(5);
    const labels = Int32Array.from({ length: 200 }, (_, row) => (row < 100 ? 0 : 1));
    const recordings = Int32Array.from({ length: 200 }, (_, row) => Math.floor(row / 20));
    const embedding = Float32Array.from({ length: 400 }, (_, at) => (at % 2 === 0 ? 8 * labels[at >> 1] : 0) + random.normal());
    for (const row of wrong) labels[row] = 1 - labels[row];
    const starts = Int32Array.from({ length: 200 }, (_, row) => 64 * (row % 20));
    return { windows: { labels, recordings, starts, count: 200 }, embedding };
  };

  it('are none where classes lie apart', async () => {
    const { windows, embedding } = cloud([]);
    expect(await findAmbiguous(windows, 128, embedding, classes)).toEqual([]);
  });

  it('are those whose label was changed, and no other', async () => {
    const { windows, embedding } = cloud([7, 26, 115]);
    const rows = await findAmbiguous(windows, 128, embedding, classes);
    expect(brief(rows)).toEqual([
      [0, 7 * 64, 'like-a'],
      [1, 6 * 64, 'like-a'],
      [5, 15 * 64, 'like-b'],
    ]);
    expect(rows[0].why).toMatch(/^labelled b, but (90|100) % of its neighbours are a and (0|10) % b$/);
  });

  it('are all windows of a recording that carries the wrong label: its own windows are not asked', async () => {
    const { windows, embedding } = cloud(Array.from({ length: 20 }, (_, index) => index));
    const rows = await findAmbiguous(windows, 128, embedding, classes);
    expect(rows.map((row) => row.recording)).toEqual(new Array(20).fill(0));
  });

  it('ask their own recording where the class has no other, but not what overlaps them', async () => {
    // One recording a class; each window lies nearest to those that overlap it, and next to the other class.
    const labels = Int32Array.from({ length: 40 }, (_, row) => Math.floor(row / 20));
    const lone = (stride: number) => ({
      labels,
      recordings: labels,
      starts: Int32Array.from({ length: 40 }, (_, row) => stride * (row % 20)),
      count: 40,
    });
    const apart = Float32Array.from({ length: 40 }, (_, row) => 100 * labels[row] + (row % 20));
    expect(await findAmbiguous(lone(64), 128, apart, classes, { neighbours: 3 })).toEqual([]);
    // With windows that overlap by nine tenths, nothing of the same class is left to ask nearby; in the middle, fewer than three at all.
    const paired = Float32Array.from({ length: 40 }, (_, row) => 10 * (row % 20) + labels[row]);
    const rows = await findAmbiguous(lone(12), 128, paired, classes, { neighbours: 3 });
    expect(rows).toHaveLength(28);
  });
});

describe('near-duplicate windows', () => {
  const signal = normals(3, 64);
  /** The same 64 samples again and again, each time at another phase: every window resembles the first. */
  const periodic = Float32Array.from({ length: 640 }, (_, t) => signal[t % 64]);

  const windowsOf = (...recordings: Recording[]) => {
    const { samples, recordings: indices } = cutWindows(recordings, ['a'], 128, 64);
    return { samples, recordings: indices, starts: recordings.flatMap((one) => recordingStarts(one, CUT.window, CUT.stride)) };
  };

  it('are all but one of a signal that repeats itself, whatever its phase', async () => {
    const windows = windowsOf(recording('a', 'a', periodic.subarray(17)));
    const rows = await findNearDuplicates(windows, [128, 1]);
    expect(rows).toHaveLength(windows.starts.length - 1);
    expect(rows[0]).toMatchObject({ recording: 0, start: 64, stage: 'near-duplicate' });
    expect(rows[0].why).toBe(`likeness 1.000 to the window at sample 0 (${NEAR_DUPLICATE_SPACE})`);
  });

  it('are none of noise, even where windows overlap by half', async () => {
    expect(await findNearDuplicates(windowsOf(recording('a', 'a', normals(4, 1024))), [128, 1])).toEqual([]);
  });

  it('are found in another recording of the group, louder, above the threshold, and among the latest that stay', async () => {
    const noise = normals(4, 512);
    const louder = noise.map((value) => 3 * value + 1);
    const windows = windowsOf(recording('a', 'a', noise), recording('b', 'a', louder));
    const rows = await findNearDuplicates(windows, [128, 1]);
    expect(rows.map((row) => row.recording)).toEqual(new Array(7).fill(1));
    expect(rows[3].why).toContain('to the window at sample 192 of recording 0');
    expect(await findNearDuplicates(windows, [128, 1], { threshold: 1.01 })).toEqual([]);
    // Each window's twin lies seven windows back: out of sight of the latest six.
    expect(await findNearDuplicates(windows, [128, 1], { compared: 6 })).toEqual([]);
  });
});

describe('the summary', () => {
  it('counts a window once a class, in the first stage that names it', () => {
    const recordings = [recording('a', 'x', normals(1, 320)), recording('b', 'x', normals(2, 320)), recording('c', null, normals(3, 128))];
    const cut = recordings.map((one) => ({ label: one.label, starts: recordingStarts(one, CUT.window, CUT.stride) }));
    const row = (index: number, start: number | null, stage: CleaningRow['stage']): CleaningRow => ({
      recording: index,
      start,
      stage,
      reason: '',
      why: '',
    });
    const rows = [row(0, 64, 'near-duplicate'), row(0, 64, 'invalid'), row(0, 128, 'ambiguous'), row(1, null, 'invalid')];
    expect(summarizeCleaning(rows, cut)).toEqual([
      { label: 'unlabelled', windows: 1, removed: { invalid: 0, ambiguous: 0, 'near-duplicate': 0 }, kept: 1 },
      { label: 'x', windows: 8, removed: { invalid: 5, ambiguous: 1, 'near-duplicate': 0 }, kept: 2 },
    ]);
  });
});
