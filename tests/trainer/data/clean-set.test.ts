import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { applyCleaning } from '../../../trainer/data/clean/apply.ts';
import { renderCleaning } from '../../../trainer/data/clean/render.ts';
import { type Finding, surveySet } from '../../../trainer/data/clean/survey.ts';
import { openRecordingSet, parseCondition, readRecording, select } from '../../../trainer/data/recording-set.ts';
import { samplesOf } from '../../support/recordings.ts';
import { folderWith } from './files.ts';

const WINDOW = 64;
const LENGTH = 20 * WINDOW;

/** Noise under a low-pass for class a and a high-pass for class b: nothing is easier to tell apart. */
function sound(label: string, seed: number, length = LENGTH): Float32Array {
  const random = new Random(seed);
  let last = 0;
  return Float32Array.from({ length }, () => {
    const value = random.normal();
    const made = label === 'a' ? value + 0.9 * last : value - 0.9 * last;
    last = label === 'a' ? made : value;
    return made;
  });
}

interface Made {
  readonly name: string;
  readonly label: string | null;
  readonly samples: Float32Array;
  readonly more?: Record<string, unknown>;
}

/** A recording set on disk, below a folder of its own. */
async function setOf(recordings: readonly Made[]) {
  const bytes = recordings.map(({ samples }) => new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength));
  const entries = recordings.map(({ name, label, samples, more }, at) => ({
    file: `rec/${name}.f32`,
    label,
    n_samples: samples.length,
    n_channels: 1,
    channels: ['x'],
    dtype: 'float32',
    sample_rate_hz: 1000,
    sha256: createHash('sha256').update(bytes[at]).digest('hex'),
    ...more,
  }));
  const parent = await folderWith({
    ...Object.fromEntries(recordings.map(({ name }, at) => [`set/rec/${name}.f32`, bytes[at]])),
    'set/dataset.json': JSON.stringify({
      name: 'hall',
      owner: 'kept',
      classes: ['a', 'b'],
      n_recordings: entries.length,
      recordings: entries,
    }),
  });
  return { set: await openRecordingSet(join(parent, 'set')), out: join(parent, 'out'), parent };
}

const usual = (): Made[] =>
  ['a', 'b'].flatMap((label, side) =>
    [0, 1, 2, 3].map((at) => ({ name: `${label}${at}`, label, samples: sound(label, 10 * side + at), more: { load: at } })),
  );
const brief = (findings: readonly Finding[]) => findings.map(({ file, start, stage, reason }) => [file, start, stage, reason]);

describe('a survey', () => {
  it('finds nothing in a good set', async () => {
    const { set } = await setOf(usual());
    const report = await surveySet(set, { window: WINDOW });
    expect([report.findings, report.heldBack]).toEqual([[], []]);
    expect(report.summary.map(({ label, windows, kept }) => [label, windows, kept])).toEqual([
      ['a', 80, 80],
      ['b', 80, 80],
    ]);
  });

  it('names each thing that is wrong once, where it is, in order of stages', async () => {
    const made = usual();
    made[0].samples[3 * WINDOW + 5] = Number.NaN;
    made[5].samples.fill(0.25, 7 * WINDOW, 8 * WINDOW);
    // Sounds of class a in the folder of class b, one recording of five, and a copy of a recording.
    made.push({ name: 'wrong', label: 'b', samples: sound('a', 77) }, { name: 'copy', label: 'a', samples: made[1].samples });
    made.push({ name: 'fast', label: 'a', samples: sound('a', 5), more: { sample_rate_hz: 4000 } });
    made.push({ name: 'empty', label: 'a', samples: new Float32Array(0), more: { n_samples: LENGTH } });
    const { set } = await setOf(made);
    const { findings, summary, heldBack } = await surveySet(set, { window: WINDOW });
    expect(heldBack).toEqual([]);
    expect(brief(findings).filter(([, , stage]) => stage !== 'ambiguous')).toEqual([
      ['rec/a0.f32', 3 * WINDOW, 'invalid', 'not-finite'],
      ['rec/b1.f32', 7 * WINDOW, 'invalid', 'flat'],
      ['rec/fast.f32', null, 'invalid', 'wrong-rate'],
      ['rec/empty.f32', null, 'invalid', 'broken-file'],
      ['rec/copy.f32', null, 'near-duplicate', 'same-content'],
    ]);
    const ambiguous = findings.filter(({ stage }) => stage === 'ambiguous');
    expect(new Set(ambiguous.map(({ file, reason }) => `${file} ${reason}`))).toEqual(new Set(['rec/wrong.f32 like-a']));
    expect(ambiguous.length).toBeGreaterThan(15);
    for (const { windows, removed, kept } of summary) {
      expect(removed.invalid + removed.ambiguous + removed['near-duplicate'] + kept).toBe(windows);
    }
  });

  it('holds back what would take much of a class, and says so', async () => {
    // Every recording of class c repeats itself; class d is class a under another name.
    const period = sound('a', 3, WINDOW);
    const made = [
      ...usual(),
      ...[0, 1, 2].map((at) => ({
        name: `c${at}`,
        label: 'c',
        samples: Float32Array.from({ length: LENGTH }, (_, t) => period[(t + at) % WINDOW]),
      })),
      ...[0, 1, 2].map((at) => ({ name: `d${at}`, label: 'd', samples: sound('a', 40 + at) })),
    ];
    const { set } = await setOf(made);
    const report = await surveySet(set, { window: WINDOW });
    expect(report.heldBack.map(({ label, stage }) => [label, stage])).toContainEqual(['c', 'near-duplicate']);
    expect(report.heldBack.map(({ label, stage }) => [label, stage])).toContainEqual(['d', 'ambiguous']);
    expect(report.findings.filter(({ label }) => label === 'c' || label === 'd')).toEqual([]);
    expect(renderCleaning(report).join('\n')).toMatch(
      /held back:\n[\s\S]*c: 57 windows \(95\.0 %\) resemble earlier ones: this class repeats itself/,
    );
  });

  it('refuses mixed channels and unknown ones by name, and stops when told to', async () => {
    const { set } = await setOf([...usual(), { name: 'y', label: 'a', samples: sound('a', 9), more: { channels: ['y'] } }]);
    await expect(surveySet(set)).rejects.toMatchObject({
      code: 'data/mixed',
      message: expect.stringMatching(/^rec\/y\.f32 has y, .* --channels$/),
    });
    await expect(surveySet(set, { channels: ['x'] })).rejects.toMatchObject({ code: 'data/channels' });
    const controller = new AbortController();
    const stopped = surveySet(set, { channels: ['x'], signal: controller.signal, onProgress: () => controller.abort() });
    await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('a cleaned set', () => {
  it('holds the rest, cut into stretches with their conditions, and a row for everything else', async () => {
    const made = usual();
    made[0].samples[3 * WINDOW + 5] = Number.NaN;
    made[0].samples[4 * WINDOW + WINDOW + 5] = Number.NaN;
    made.push({ name: 'copy', label: 'a', samples: made[1].samples });
    const { set, out } = await setOf(made);
    const report = await surveySet(set, { window: WINDOW });
    const cleaned = await applyCleaning(set, report, out);
    expect(cleaned).toMatchObject({ recordings: 10, leftOut: 1, cut: 1, lostClasses: [] });
    const written = await openRecordingSet(out);
    expect(
      written.recordings.slice(0, 3).map(({ file, load, cut_from, cut_start, n_samples }) => [file, load, cut_from, cut_start, n_samples]),
    ).toEqual([
      ['rec/a0_from0.f32', 0, 'rec/a0.f32', 0, 3 * WINDOW],
      ['rec/a0_from256.f32', 0, 'rec/a0.f32', 256, WINDOW],
      ['rec/a0_from384.f32', 0, 'rec/a0.f32', 384, LENGTH - 384],
    ]);
    const last = await readRecording(written, written.recordings[2]);
    expect([...samplesOf(last)]).toEqual([...made[0].samples.subarray(384)]);
    const document = JSON.parse(await readFile(join(out, 'dataset.json'), 'utf8'));
    expect(document).toMatchObject({ name: 'out', owner: 'kept', n_recordings: 10, cleaned: { from: 'hall', window: WINDOW } });
    expect(brief(document.removed)).toEqual([
      ['rec/a0.f32', 192, 'invalid', 'not-finite'],
      ['rec/a0.f32', 320, 'invalid', 'not-finite'],
      ['rec/copy.f32', null, 'near-duplicate', 'same-content'],
    ]);
    for (const { file, sha256 } of written.recordings) {
      expect(
        createHash('sha256')
          .update(await readFile(join(out, file)))
          .digest('hex'),
      ).toBe(sha256);
    }
    expect((await surveySet(written, { window: WINDOW })).findings).toEqual([]);
  });

  it('accounts for every sample, whatever was found', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 19 }), { maxLength: 12 }), fc.integer({ min: 0, max: 63 }), async (bad, tail) => {
        const samples = Float32Array.from({ length: LENGTH + tail }, (_, t) => t);
        const { set, out } = await setOf([{ name: 'r', label: 'a', samples }, usual()[0]]);
        const findings = [...new Set(bad)].map(
          (at): Finding => ({
            ...{ file: 'rec/r.f32', label: 'a', start: at * WINDOW, samples: WINDOW, stage: 'invalid', reason: 'flat', why: '' },
          }),
        );
        const { removed } = await applyCleaning(set, { findings, window: WINDOW }, out);
        const written = await openRecordingSet(out);
        const seen = new Set<number>();
        for (const entry of written.recordings.filter(({ file }) => file !== 'rec/a0.f32')) {
          expect(entry.n_samples).toBeGreaterThanOrEqual(WINDOW);
          for (const value of samplesOf(await readRecording(written, entry))) seen.add(value);
        }
        for (const row of removed) for (let at = row.start!; at < row.start! + row.samples; at++) expect(seen.has(at)).toBe(false);
        expect(seen.size + removed.reduce((sum, row) => sum + row.samples, 0)).toBe(LENGTH + tail);
      }),
      { numRuns: 25 },
    );
  });

  it('leaves snapshots out whole and keeps their numbers', async () => {
    const samples = sound('a', 1, 8 * 160);
    samples[3 * 160 + 70] = Number.NaN;
    const more = { snapshot_len: 160, snapshot_index: [1, 7, 13, 19, 25, 31, 37, 43] };
    const { set, out } = await setOf([{ name: 'run', label: 'a', samples, more }]);
    const report = await surveySet(set, { window: WINDOW });
    expect(brief(report.findings)).toEqual([['rec/run.f32', 3 * 160 + 64, 'invalid', 'not-finite']]);
    expect(report.summary[0].windows).toBe(16);
    await applyCleaning(set, report, out);
    const { recordings } = await openRecordingSet(out);
    expect(recordings.map(({ n_samples, snapshot_index }) => [n_samples, snapshot_index])).toEqual([
      [3 * 160, [1, 7, 13]],
      [4 * 160, [25, 31, 37, 43]],
    ]);
  });

  it('is written whole or not at all, never over another, and never empty', async () => {
    const { set, out, parent } = await setOf(usual());
    const report = await surveySet(set, { window: WINDOW });
    const controller = new AbortController();
    const stopped = applyCleaning(set, report, out, {
      signal: controller.signal,
      onProgress: (share) => share > 0.5 && controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
    expect(await readdir(parent)).toEqual(['set']);
    await expect(applyCleaning(set, report, join(set.folder, 'clean'))).rejects.toMatchObject({ code: 'import/out' });
    const everything = set.recordings.map(
      ({ file }): Finding => ({
        ...{ file, label: 'a', start: null, samples: LENGTH, stage: 'invalid', reason: 'flat', why: '' },
      }),
    );
    await expect(applyCleaning(set, { findings: everything, window: WINDOW }, out)).rejects.toMatchObject({ code: 'data/clean' });
    await expect(applyCleaning(set, report, set.folder)).rejects.toMatchObject({ code: 'import/out' });
    await writeFile(out, 'in the way');
    await expect(applyCleaning(set, report, out)).rejects.toMatchObject({ code: 'import/out' });
  });
});

const { TREMOLO_DATA } = process.env;
const isThere = TREMOLO_DATA !== undefined && existsSync(TREMOLO_DATA);

describe.skipIf(!isThere)(`a survey of real sets${isThere ? '' : ' (skipped: TREMOLO_DATA names no folder)'}`, () => {
  const survey = async (name: string, where: readonly string[] = [], channels?: readonly string[]) =>
    surveySet(select(await openRecordingSet(join(TREMOLO_DATA!, name)), where.map(parseCondition)), { channels });

  it.each([
    ['uet_motor1k', [], undefined, 0.1],
    ['phmap2023', [], undefined, 0.02],
    ['cwru12', ['role=main', 'load_hp=0,1'], ['DE'], 0.05],
    ['femto', ['bearing=3_2'], undefined, 0],
  ] as [string, string[], string[] | undefined, number][])(
    '%s: takes out a small share, nothing as invalid, and no class whole',
    async (name, where, channels, share) => {
      const { summary } = await survey(name, where, channels);
      const [windows, kept] = (['windows', 'kept'] as const).map((field) => summary.reduce((sum, one) => sum + one[field], 0));
      expect(1 - kept / windows).toBeLessThanOrEqual(share);
      for (const one of summary) {
        expect(one.removed.invalid).toBe(0);
        expect(one.kept).toBeGreaterThan(0.6 * one.windows);
      }
    },
    120_000,
  );
});
