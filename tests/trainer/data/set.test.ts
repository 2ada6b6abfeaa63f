import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eraseRecordings, finishErasure, planErasure } from '../../../trainer/data/import/erase.ts';
import { describeSet, renderInfo } from '../../../trainer/data/info.ts';
import { openRecordingSet, parseCondition, type RecordingEntry, readRecording } from '../../../trainer/data/recording-set.ts';
import { samplesOf } from '../../support/recordings.ts';
import { folderWith } from './files.ts';

const RATE = 1000;

interface Made {
  readonly label: string | null;
  readonly more?: Record<string, unknown>;
  readonly rate?: number;
  /** samples: [n, 2] as a function of sample and channel */
  readonly value?: (at: number, channel: number) => number;
}

/** A set of two-channel float32 recordings of 2000 samples. */
async function setOf(recordings: readonly Made[], extra: Record<string, unknown> = {}): Promise<string> {
  const files: Record<string, string | Uint8Array> = {};
  const entries = recordings.map(({ label, more = {}, rate = RATE, value = (at) => Math.sin(at) }, index) => {
    const samples = Float32Array.from({ length: 4000 }, (_, at) => value(at >> 1, at & 1));
    const file = `rec/${index}.f32`;
    files[file] = new Uint8Array(samples.buffer);
    const rms = [0, 1].map((channel) => Math.sqrt(samples.reduce((sum, one, at) => sum + (at % 2 === channel ? one * one : 0), 0) / 2000));
    return { file, label, n_samples: 2000, n_channels: 2, channels: ['x', 'y'], dtype: 'float32', sample_rate_hz: rate, ...more, rms };
  });
  return folderWith({ ...files, 'dataset.json': JSON.stringify({ name: 'made', ...extra, recordings: entries }) });
}

const PLANT: Made[] = [
  { label: 'worn', more: { load: 0, machine: 'm1' } },
  {
    label: 'normal',
    more: { load: 0, machine: 'm1' },
    value: (at, channel) => 9.81 + 0.1 * Math.sin((2 * Math.PI * 258 * at) / RATE) + channel,
  },
  { label: 'worn', more: { load: 1, machine: 'm2' } },
  { label: null, more: { load: 1, machine: 'm2' }, value: () => 0 },
];

describe('a piece of a recording', () => {
  it('is what the whole has there, for every piece, storage and choice of channels', async () => {
    const codes = Int16Array.from({ length: 3000 }, (_, at) => ((at * 7919) % 65_536) - 32_768);
    const floats = Float32Array.from(codes, (code) => code / 7);
    const recording = { label: 'a', n_samples: 1000, n_channels: 3, channels: ['x', 'y', 'z'], sample_rate_hz: RATE };
    const recordings = [
      { ...recording, file: 'a.i16', dtype: 'int16', scale: [0.5, 2, 1] },
      { ...recording, file: 'a.f32', dtype: 'float32' },
    ];
    const set = await openRecordingSet(
      await folderWith({
        'dataset.json': JSON.stringify({ name: 'pieces', recordings }),
        'a.i16': new Uint8Array(codes.buffer),
        'a.f32': new Uint8Array(floats.buffer),
      }),
    );
    const range = fc.tuple(fc.nat(1000), fc.nat(1000)).map(([a, b]) => ({ start: Math.min(a, b), length: Math.abs(a - b) }));
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...set.recordings),
        range,
        fc.shuffledSubarray(['x', 'y', 'z']),
        async (entry, { start, length }, names) => {
          const [whole, piece] = [await readRecording(set, entry, names), await readRecording(set, entry, names, { start, length })];
          expect(piece.length).toBe(length);
          expect(samplesOf(piece)).toEqual(samplesOf(whole).slice(start * names.length, (start + length) * names.length));
        },
      ),
      { numRuns: 80 },
    );
    await expect(readRecording(set, set.recordings[0], undefined, { start: 900, length: 101 })).rejects.toThrow(RangeError);
  });

  it('of a recording longer than what is read at a time is right at every seam', async () => {
    const samples = Float32Array.from({ length: 700_001 }, (_, at) => at);
    const entry = { file: 'a.f32', label: 'a', n_samples: 700_001, n_channels: 1, dtype: 'float32', sample_rate_hz: RATE };
    const set = await openRecordingSet(
      await folderWith({ 'dataset.json': JSON.stringify({ name: 'long', recordings: [entry] }), 'a.f32': new Uint8Array(samples.buffer) }),
    );
    expect(Buffer.from(samplesOf(await readRecording(set, set.recordings[0])).buffer).equals(Buffer.from(samples.buffer))).toBe(true);
    expect(samplesOf(await readRecording(set, set.recordings[0], undefined, { start: 262_143, length: 3 }))).toEqual(
      samples.slice(262_143, 262_146),
    );
  });

  it('is refused where the file is not what dataset.json says, or holds no number', async () => {
    const folder = await setOf([{ label: 'a', value: (at) => (at === 1500 ? Number.NaN : 1) }]);
    const set = await openRecordingSet(folder);
    const [entry] = set.recordings;
    await expect(readRecording(set, entry)).rejects.toThrow(/holds NaN at sample 1500, channel x/);
    await expect(readRecording(set, entry, ['x'], { start: 1400, length: 200 })).rejects.toThrow(/at sample 1500/);
    expect((await readRecording(set, entry, ['x'], { start: 0, length: 1500 })).length).toBe(1500);
    await expect(readRecording(set, { ...entry, file: '../x' })).rejects.toThrow(/lies outside/);
    await writeFile(join(folder, entry.file), '');
    await expect(readRecording(set, entry, ['x'], { start: 0, length: 1 })).rejects.toThrow(
      /has 0 bytes where dataset.json promises 16000/,
    );
  });
});

describe('what is in a set', () => {
  it('is counted by class, rate, channels and condition, and what a condition lacks is named', async () => {
    const info = await describeSet(await openRecordingSet(await setOf(PLANT)));
    expect(info).toMatchObject({ name: 'made', recordings: 4, seconds: 8, problems: [] });
    expect(info.classes.map(({ label, recordings, seconds }) => [label, recordings, seconds])).toEqual([
      ['normal', 1, 2],
      ['worn', 2, 4],
      [null, 1, 2],
    ]);
    expect(info.rates).toEqual([{ sampleRateHz: 1000, recordings: 4 }]);
    expect(info.channels).toEqual([{ channels: ['x', 'y'], recordings: 4 }]);
    expect(info.conditions).toEqual([
      {
        key: 'load',
        recordings: 4,
        values: [
          { value: '0', recordings: 2, missingClasses: [] },
          { value: '1', recordings: 2, missingClasses: ['normal'] },
        ],
      },
      {
        key: 'machine',
        recordings: 4,
        values: [
          { value: 'm1', recordings: 2, missingClasses: [] },
          { value: 'm2', recordings: 2, missingClasses: ['normal'] },
        ],
      },
    ]);
    const lines = renderInfo(info);
    expect(lines[0]).toBe('made: 4 recordings, 8.0 s, 2 classes');
    expect(lines.filter((line) => line.includes('has no normal'))).toEqual(['missing     load=1 has no normal']);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(120);
  });

  it('is pictured: a tone is one line of the spectrum where it belongs, whatever the offset', async () => {
    const info = await describeSet(await openRecordingSet(await setOf(PLANT)));
    const [normal, , silent] = info.classes;
    // 258 Hz of 500, in 32 columns from 0.
    expect(normal.picture!.spectrum).toHaveLength(32);
    expect([...normal.picture!.spectrum].indexOf('█')).toBe(16);
    expect([...normal.picture!.spectrum].filter((block) => block !== '▁').length).toBeLessThan(6);
    expect(normal.picture!.waveform).toMatch(/^[▁▂▃▄▅▆▇█]{32}$/);
    expect(normal.rms).toBeCloseTo(Math.hypot(9.81, 0.1 / Math.SQRT2), 4);
    expect(silent.picture!.spectrum).toBe(' '.repeat(32));
    const other = await describeSet(await openRecordingSet(await setOf(PLANT)), { channel: 'y' });
    expect(other.classes[0].rms).toBeCloseTo(Math.hypot(10.81, 0.1 / Math.SQRT2), 4);
    await expect(describeSet(await openRecordingSet(await setOf(PLANT)), { channel: 'z' })).rejects.toThrow(
      /no recording of made has a channel z/,
    );
  });

  it('shows mixed rates and what is broken, and goes on', async () => {
    const folder = await setOf([...PLANT, { label: 'worn', rate: 2000, value: () => Number.NaN }]);
    await writeFile(join(folder, 'rec/0.f32'), '');
    const info = await describeSet(await openRecordingSet(folder));
    expect(renderInfo(info).join('\n')).toContain('1000 Hz (4), 2000 Hz (1); choose with --where, or resample with --rate');
    expect(info.problems).toEqual([{ file: 'rec/0.f32', problem: 'has 0 bytes where dataset.json promises 16000' }]);
    expect(info.classes[1].picture).not.toBeNull();
    // The class has nothing but NaN then.
    await writeFile(join(folder, 'rec/2.f32'), '');
    const worse = await describeSet(await openRecordingSet(folder));
    expect(worse.problems.map(({ file }) => file)).toEqual(['rec/0.f32', 'rec/2.f32', 'rec/4.f32']);
    expect(worse.classes[1].picture).toBeNull();
  });

  it('is compared with its sha256 when asked to', async () => {
    const folder = await setOf([{ label: 'a', more: { sha256: '0'.repeat(64) } }]);
    expect((await describeSet(await openRecordingSet(folder))).problems).toEqual([]);
    expect((await describeSet(await openRecordingSet(folder), { verify: true })).problems).toHaveLength(1);
  });
});

describe('erasing', () => {
  const where = (...conditions: string[]) => conditions.map(parseCondition);
  const extra = { n_recordings: 4, classes: ['normal', 'worn'], owner: 'someone' };
  const state = async (folder: string) => [await readFile(join(folder, 'dataset.json'), 'utf8'), await readdir(join(folder, 'rec'))];

  it('first says what it would do, and touches nothing', async () => {
    const folder = await setOf(PLANT, extra);
    const before = await state(folder);
    const plan = await planErasure(folder, where('machine=m1'));
    expect(plan.erased.map(({ file }) => file)).toEqual(['rec/0.f32', 'rec/1.f32']);
    expect(plan).toMatchObject({ kept: 2, bytes: 32_000, lostClasses: ['normal'] });
    expect(await state(folder)).toEqual(before);
  });

  it('removes entries and files, and keeps every other field', async () => {
    const folder = await setOf(PLANT, extra);
    await eraseRecordings(folder, where('machine=m1', 'load=0'));
    expect((await readdir(join(folder, 'rec'))).sort()).toEqual(['2.f32', '3.f32']);
    expect((await readdir(folder)).sort()).toEqual(['dataset.json', 'rec']);
    const document = JSON.parse(await readFile(join(folder, 'dataset.json'), 'utf8'));
    expect(document).toMatchObject({ name: 'made', owner: 'someone', n_recordings: 2, classes: ['worn'] });
    expect(document.recordings.map(({ file, machine }: RecordingEntry) => [file, machine])).toEqual([
      ['rec/2.f32', 'm2'],
      ['rec/3.f32', 'm2'],
    ]);
  });

  it('that was interrupted after its decision is finished, and before it is forgotten', async () => {
    const folder = await setOf(PLANT);
    const journal = JSON.stringify({ files: ['rec/0.f32', 'rec/1.f32'] });
    // Before the new dataset.json: every file still has its entry.
    await writeFile(join(folder, 'erase.json'), journal);
    await finishErasure(folder);
    expect(await readdir(join(folder, 'rec'))).toHaveLength(4);
    expect(existsSync(join(folder, 'erase.json'))).toBe(false);
    // After it: two files without entries, one of them removed already.
    const document = JSON.parse(await readFile(join(folder, 'dataset.json'), 'utf8'));
    await writeFile(join(folder, 'dataset.json'), JSON.stringify({ ...document, recordings: document.recordings.slice(2) }));
    await writeFile(join(folder, 'erase.json'), journal);
    await finishErasure(folder);
    await finishErasure(folder);
    expect((await readdir(join(folder, 'rec'))).sort()).toEqual(['2.f32', '3.f32']);
  });

  it('refuses a set that lists a file twice', async () => {
    const folder = await setOf(PLANT);
    const document = JSON.parse(await readFile(join(folder, 'dataset.json'), 'utf8'));
    document.recordings[2].file = 'rec/0.f32';
    await writeFile(join(folder, 'dataset.json'), JSON.stringify(document));
    await expect(eraseRecordings(folder, where('machine=m1'))).rejects.toThrow(/rec\/0\.f32 is listed twice/);
    expect((await readdir(join(folder, 'rec'))).sort()).toContain('1.f32');
  });

  it.each([
    [[], /say which recordings to erase/],
    [['machine=m9'], /no recording of made satisfies machine=m9; machine is m1, m2/],
    [['colour=red'], /no recording of made has a field colour/],
    [['machine=m1,m2'], /that is every recording of made; remove the folder/],
  ])('of %j is refused and touches nothing', async (conditions, message) => {
    const folder = await setOf(PLANT);
    const before = await state(folder);
    await expect(eraseRecordings(folder, where(...conditions))).rejects.toThrow(message);
    expect(await state(folder)).toEqual(before);
  });

  it('never leaves the set: neither by an entry nor by a journal', async () => {
    const outside = await folderWith({ 'precious.txt': 'x' });
    const folder = await setOf([
      { label: 'a', more: { machine: 'm1' } },
      { label: 'b', more: { machine: 'm2' } },
    ]);
    const document = JSON.parse(await readFile(join(folder, 'dataset.json'), 'utf8'));
    document.recordings[0].file = join(outside, 'precious.txt');
    await writeFile(join(folder, 'dataset.json'), JSON.stringify(document));
    await expect(eraseRecordings(folder, where('machine=m1'))).rejects.toThrow(/lies outside/);
    await writeFile(join(folder, 'erase.json'), JSON.stringify({ files: [join(outside, 'precious.txt')] }));
    await expect(finishErasure(folder)).rejects.toThrow(/lies outside/);
    await writeFile(join(folder, 'erase.json'), '{"mine": true}');
    await expect(finishErasure(folder)).rejects.toThrow(/is not the journal of an erasure/);
    expect(existsSync(join(outside, 'precious.txt'))).toBe(true);
  });
});
