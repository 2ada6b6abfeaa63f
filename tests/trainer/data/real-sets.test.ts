import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { importRecordings } from '../../../trainer/data/import/import-set.ts';
import { checkMapping } from '../../../trainer/data/import/mapping.ts';
import { describeSet, renderInfo } from '../../../trainer/data/info.ts';
import { openRecordingSet, parseCondition, readRecording, select } from '../../../trainer/data/recording-set.ts';
import { parseRelabel, relabelSet } from '../../../trainer/data/relabel.ts';
import { resampleRecording } from '../../../trainer/data/resample.ts';
import { samplesOf } from '../../support/recordings.ts';
import { folderWith, wavBytes } from './files.ts';

const { TREMOLO_DATA } = process.env;
const reason = TREMOLO_DATA ? `${TREMOLO_DATA} is not there` : 'TREMOLO_DATA is not set';
const isThere = TREMOLO_DATA !== undefined && existsSync(TREMOLO_DATA);
const open = (name: string) => openRecordingSet(join(TREMOLO_DATA!, name));

describe.skipIf(!isThere)(`real recording sets${isThere ? '' : ` (skipped: ${reason})`}`, () => {
  it.each([
    ['cwru12', 64, 16],
    ['uet_motor1k', 220, 2],
    ['femto', 6, 1],
    ['phmap2023', 223, 13],
  ])('%s is described: %d recordings, %d classes, every file as promised, a picture of each class', async (name, recordings, classes) => {
    const info = await describeSet(await open(name), { verify: true });
    expect(info).toMatchObject({ recordings, problems: [] });
    expect(info.classes.filter(({ label }) => label !== null)).toHaveLength(classes);
    for (const { label, picture } of info.classes) expect(picture?.spectrum, `${label}`).toMatch(/^[▁▂▃▄▅▆▇█]{32}$/);
    const text = renderInfo(info).join('\n');
    if (name === 'cwru12') expect(text).toMatch(/load_hp=1 has no normal\n +load_hp=3 has no normal\n +role=main has no OR007@3/);
  });

  it('written out as CSV and imported again are the same bytes, with the same rms', async () => {
    const set = await open('uet_motor1k');
    const chosen = [...set.recordings.slice(0, 2), ...set.recordings.slice(-2)];
    const parent = await folderWith({});
    for (const entry of chosen) {
      const { read, channels, length } = await readRecording(set, entry);
      const samples = read(0, length);
      const rows = Array.from({ length }, (_, row) => [...samples.subarray(3 * row, 3 * row + 3)].join(';'));
      await mkdir(join(parent, 'in', entry.label!), { recursive: true });
      await writeFile(
        join(parent, 'in', entry.label!, `${entry.file.replace(/\W/g, '')}.csv`),
        `${channels.join(';')}\n${rows.join('\n')}\n`,
      );
    }
    await importRecordings(join(parent, 'in'), join(parent, 'set'), { rate: 1000 });
    const made = (await openRecordingSet(join(parent, 'set'))).recordings;
    const byHash = (entries: typeof made) => [...entries].sort((a, b) => String(a.sha256).localeCompare(String(b.sha256)));
    for (const [index, entry] of byHash(made).entries()) {
      const original = byHash(chosen)[index];
      expect([entry.sha256, entry.label, entry.channels]).toEqual([original.sha256, original.label, original.channels]);
      // The set's own rms was taken before its values were rounded to float32.
      for (const channel of [0, 1, 2]) expect((entry.rms as number[])[channel]).toBeCloseTo((original.rms as number[])[channel], 6);
    }
  });

  it('of int16 written out as WAV and imported again are the same codes', async () => {
    const set = await open('cwru12');
    const entry = set.recordings.find(({ dtype, n_channels: channels }) => dtype === 'int16' && channels === 2)!;
    const bytes = await readFile(join(set.folder, entry.file));
    const codes = new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const rows = Array.from({ length: entry.n_samples }, (_, row) => [codes[2 * row], codes[2 * row + 1]]);
    const parent = await folderWith({ 'in/IR007/105.wav': wavBytes(rows, { rate: 12_000 }) });
    const scale = { DE: entry.scale![0] * 32_768, FE: entry.scale![1] * 32_768 };
    await importRecordings(join(parent, 'in'), join(parent, 'set'), checkMapping({ channels: { DE: 'ch0', FE: 'ch1' }, scale }));
    const [made] = (await openRecordingSet(join(parent, 'set'))).recordings;
    expect(made.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(made).toMatchObject({ label: 'IR007', channels: ['DE', 'FE'], sample_rate_hz: 12_000, dtype: 'int16' });
    for (const channel of [0, 1]) expect((made.rms as number[])[channel]).toBeCloseTo((entry.rms as number[])[channel], 7);
  });

  it('at 48 kHz are resampled to what scipy made of them at 12 kHz', async () => {
    const set = await open('cwru12');
    const normals = select(set, [parseCondition('label=normal'), parseCondition('load_hp=0')]).recordings;
    const [theirs, native] = [normals.find(({ role }) => role === 'main')!, normals.find(({ role }) => role === 'native_48k')!];
    const ours = resampleRecording(await readRecording(set, native, ['DE']), 12_000);
    const expected = await readRecording(set, theirs, ['DE']);
    expect(ours.length).toBe(expected.length);
    // Scipy's default filter is wide: it lets alias through and weakens what lies near 6 kHz. Below 3.6 kHz the two must agree.
    const [a, b] = [ours, expected].map((recording) => samplesOf(resampleRecording(recording, 8000)));
    let [error, power] = [0, 0];
    for (let at = 100; at < a.length - 100; at++) {
      error += (a[at] - b[at]) ** 2;
      power += b[at] ** 2;
    }
    expect(Math.sqrt(error / power)).toBeLessThan(0.002);
  });

  it('are relabelled to coarser classes', async () => {
    const main = select(await open('cwru12'), [parseCondition('role=main')]);
    const coarse = relabelSet(main, ['IR*=inner', 'B*=ball', 'OR*=outer'].map(parseRelabel));
    expect([...new Set(coarse.recordings.map(({ label }) => label))].sort()).toEqual(['ball', 'inner', 'normal', 'outer']);
    expect(select(coarse, [parseCondition('recorded_label=IR014,B014,OR014@6')]).recordings).toHaveLength(12);
  });
});
