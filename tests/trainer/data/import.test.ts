import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ImportOptions, importRecordings } from '../../../trainer/data/import/import-set.ts';
import { checkMapping, readMapping } from '../../../trainer/data/import/mapping.ts';
import { writeSetFolder } from '../../../trainer/data/import/replace-folder.ts';
import { openRecordingSet, readRecording } from '../../../trainer/data/recording-set.ts';
import { samplesOf } from '../../support/recordings.ts';
import { FIXTURES, folderWith, matBytes, wavBytes } from './files.ts';

const csv = (rows: readonly (readonly number[])[], header = 'x,y') => `${header}\n${rows.map((row) => row.join()).join('\n')}\n`;
const ramp = (length: number, step = 0.5) => Array.from({ length }, (_, at) => [at * step, -at]);

/** Two classes of two files, as a person has them who knows nothing of recording sets. */
const PLAIN = {
  'normal/run2.csv': csv(ramp(40)),
  'normal/run10.csv': csv(ramp(50)),
  'worn/a.csv': csv(ramp(60)),
  'worn/deep/b.csv': csv(ramp(70)),
};

/** Imports files from a folder of their own; `folder` is the imported set's. */
async function imported(files: Record<string, string | Uint8Array>, mapping: unknown = { rate: 1000 }, options: ImportOptions = {}) {
  const parent = await folderWith(Object.fromEntries(Object.entries(files).map(([name, content]) => [`in/${name}`, content])));
  const [source, folder] = [join(parent, 'in'), join(parent, 'set')];
  await mkdir(source, { recursive: true });
  try {
    const result = await importRecordings(source, folder, checkMapping(mapping), options);
    return { source, folder, result, set: await openRecordingSet(folder) };
  } catch (cause) {
    // Whatever is refused leaves nothing behind.
    expect(await readdir(parent)).toEqual(['in']);
    throw cause;
  }
}

const refusal = (files: Record<string, string | Uint8Array>, mapping?: unknown, options?: ImportOptions) =>
  imported(files, mapping, options).then(
    () => {
      throw new Error('was not refused');
    },
    (cause) => `${cause.code}: ${cause.message}`,
  );

describe('a folder CLASS/*.csv with nothing but a rate', () => {
  it('becomes a recording set: a recording a file, of the class of its first folder, in the order of the numbers', async () => {
    const { set, folder, result } = await imported(PLAIN);
    expect(set.recordings.map(({ label, source_file, n_samples }) => [label, source_file, n_samples])).toEqual([
      ['normal', 'normal/run2.csv', 40],
      ['normal', 'normal/run10.csv', 50],
      ['worn', 'worn/a.csv', 60],
      ['worn', 'worn/deep/b.csv', 70],
    ]);
    expect(result).toMatchObject({ recordings: 4, sampleRateHz: [1000], channels: [['x', 'y']], leftOut: [], bytes: 220 * 2 * 4 });
    expect(result.classes).toEqual({ normal: { recordings: 2, seconds: 0.09 }, worn: { recordings: 2, seconds: 0.13 } });
    const [entry] = set.recordings;
    const read = await readRecording(set, entry);
    expect([...samplesOf(read).subarray(0, 6)].map((value) => value + 0)).toEqual([0, 0, 0.5, -1, 1, -2]);
    expect(read.sampleRateHz).toBe(1000);
    const bytes = await readFile(join(folder, entry.file));
    expect(entry.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(entry.source_sha256).toBe(createHash('sha256').update(PLAIN['normal/run2.csv']).digest('hex'));
    const expected = [0.5, 1].map((step) => Math.sqrt(ramp(40).reduce((sum, _, at) => sum + (at * step) ** 2, 0) / 40));
    for (const channel of [0, 1]) expect((entry.rms as number[])[channel]).toBeCloseTo(expected[channel], 7);
    const document = JSON.parse(await readFile(join(folder, 'dataset.json'), 'utf8'));
    expect(document).toMatchObject({ n_recordings: 4, classes: ['normal', 'worn'], sample_rate_hz: 1000, channels: ['x', 'y'] });
  });

  it('becomes the same bytes each time', async () => {
    const [one, other] = [await imported(PLAIN), await imported(PLAIN)];
    expect(await readFile(join(one.folder, 'dataset.json'), 'utf8')).toBe(await readFile(join(other.folder, 'dataset.json'), 'utf8'));
  });

  it('needs no rate where the files have a column of times, in any unit', async () => {
    const timed = (name: string, step: number) =>
      `${name},x\n${ramp(100)
        .map((_, at) => `${(at * step).toFixed(6)},${at % 7}`)
        .join('\n')}\n`;
    for (const [name, step] of [
      ['time', 1 / 2000],
      ['t_ms', 0.5],
      ['Time (us)', 500],
      ['timestamp', 1 / 2000],
    ] as const) {
      const { set } = await imported({ 'a/1.csv': timed(name, step) }, {});
      expect([set.recordings[0].sample_rate_hz, set.recordings[0].channels], name).toEqual([2000, ['x']]);
    }
    const epoch = ramp(100).map((_, at) => `${1_767_225_600_000 + at},${at % 7}`);
    expect((await imported({ 'a/1.csv': `timestamp,x\n${epoch.join('\n')}\n` }, {})).set.recordings[0].sample_rate_hz).toBe(1000);
  });
});

describe('an import', () => {
  it('takes every format into one set, exactly', async () => {
    const codes = ramp(100).map((_, at) => [at * 3 - 150]);
    const files = {
      'csv/a.csv': csv(
        codes.map(([code]) => [code / 32_768]),
        'ch0',
      ),
      'wav/a.wav': wavBytes(codes, { rate: 1000 }),
      'mat/a.mat': matBytes([{ name: 'ch0', rows: codes, storage: 'int16' }]),
    };
    const { set } = await imported(files, { rate: 1000, files: [{ match: '*.mat', scale: 1 / 32_768 }] });
    expect(set.recordings.map(({ dtype, label }) => [label, dtype])).toEqual([
      ['csv', 'float32'],
      ['mat', 'float32'],
      ['wav', 'int16'],
    ]);
    const [first, ...others] = await Promise.all(set.recordings.map((entry) => readRecording(set, entry)));
    for (const other of others) expect(samplesOf(other)).toEqual(samplesOf(first));
  });

  it('stores int16 with a scale a channel that uses its whole range, off by half a step at most', async () => {
    const rows = ramp(2000, 0.001).map(([x], at) => [x - 1, 1000 * Math.sin(at), 0]);
    const { set } = await imported({ 'a/1.csv': csv(rows, 'x,y,zero') }, { rate: 1000, dtype: 'int16' });
    const [entry] = set.recordings;
    expect(entry).toMatchObject({ dtype: 'int16', file: 'rec/00001_a_1.i16' });
    const samples = samplesOf(await readRecording(set, entry));
    for (const [at, value] of rows.flat().entries()) {
      expect(Math.abs(samples[at] - value)).toBeLessThanOrEqual(0.5 * entry.scale![at % 3] + 1e-6 * Math.abs(value));
    }
  });

  it('follows a mapping file: pattern, names, channels, rate, scale, unit, conditions, exceptions', async () => {
    const mat = await readFile(join(FIXTURES, 'scipy-compressed.mat'));
    const map = join(
      await folderWith({
        'map.yaml': `
name: hall-3
license: ours
pattern: '(?<machine>m\\d+)/(?<label>[a-z]+)_(?<load>\\d)hp'
labels: { ok: normal, 'ir*': inner_race }
channels: { DE: '*_DE_time', FE: '*_FE_time' }
rate: 12000
scale: { DE: 9.80665 }
unit: m/s2
conditions: { site: north, rpm: { scalar: '*RPM' } }
files:
  - { match: 'm9/*', conditions: { site: south }, label: null }
  - { match: '*/test_*', skip: trial runs }
`,
      }),
      'map.yaml',
    );
    const files = { 'm7/ok_0hp.mat': mat, 'm7/irx_2hp.mat': mat, 'm9/ok_3hp.mat': mat, 'm7/test_1hp.mat': mat, 'README.md': 'read me' };
    const source = await folderWith(files);
    const folder = `${source}-set`;
    const result = await importRecordings(source, folder, await readMapping(map));
    expect(result.leftOut).toEqual([
      { file: 'm7/test_1hp.mat', reason: 'trial runs' },
      { file: 'README.md', reason: 'unknown extension ".md"' },
    ]);
    const set = await openRecordingSet(folder);
    expect(set.name).toBe('hall-3');
    expect(set.recordings.map(({ label, machine, load, site, rpm }) => ({ label, machine, load, site, rpm }))).toEqual([
      { label: 'inner_race', machine: 'm7', load: 2, site: 'north', rpm: 1797 },
      { label: 'normal', machine: 'm7', load: 0, site: 'north', rpm: 1797 },
      { label: null, machine: 'm9', load: 3, site: 'south', rpm: 1797 },
    ]);
    const { read, length, channels } = await readRecording(set, set.recordings[0]);
    const samples = read(0, length);
    expect(channels).toEqual(['DE', 'FE']);
    expect(samples[79]).toBe(-9.75);
    expect(samples[78]).toBe(Math.fround(4.875 * 9.80665));
    expect(JSON.parse(await readFile(join(folder, 'dataset.json'), 'utf8'))).toMatchObject({
      unit: 'm/s2',
      license: 'ours',
      left_out: result.leftOut,
    });
  });

  it('tells which columns it left out', async () => {
    const { result, set } = await imported({ 'a/1.csv': 'index,x,label,note\n0,1,2,on\n1,2,2,on\n2,3,2,on\n' });
    expect(set.recordings[0].channels).toEqual(['x']);
    expect(result.unusedColumns).toEqual({ 'index (index)': 1, 'label (label)': 1, 'note (text)': 1 });
  });

  it('keeps different rates and channels only when told to', async () => {
    const files = { 'a/1.wav': wavBytes([[1], [2]], { rate: 8000 }), 'a/2.wav': wavBytes([[1], [2]], { rate: 16_000 }) };
    expect(await refusal(files, {})).toMatch(/^data\/mixed: a\/1\.wav has ch0 at 8000 Hz, a\/2\.wav has ch0 at 16000 Hz; .*--mixed/);
    expect((await imported(files, {}, { mixed: true })).result.sampleRateHz).toEqual([8000, 16_000]);
    expect(await refusal({ 'a/1.csv': csv(ramp(9)), 'a/2.csv': csv(ramp(9), 'x,z') })).toMatch(/^data\/mixed: .* x, y .* x, z /);
  });

  it('leaves out bad files when told to, each with the reason, and their pieces too', async () => {
    const files = { ...PLAIN, 'worn/bad.csv': 'x,y\n1,2\n3,4\nNaN,6\n7,8\n9,1\n', 'worn/none.csv': '' };
    const { folder, result } = await imported(files, { rate: 1000 }, { skipBad: true });
    expect(result.recordings).toBe(4);
    expect(result.leftOut.map(({ file, reason }) => `${file} ${reason.split(':')[0]}`)).toEqual([
      'worn/bad.csv import/not-finite',
      'worn/none.csv import/empty-file',
    ]);
    expect(await readdir(join(folder, 'rec'))).toHaveLength(4);
  });

  it.each<[string, Record<string, string | Uint8Array>, unknown, RegExp]>([
    ['a file of 0 bytes', { ...PLAIN, 'worn/none.csv': '' }, undefined, /^import\/empty-file: .*none\.csv is empty \(0 bytes\)/],
    [
      'NaN in a table',
      {
        'a/1.csv': csv([
          [1, 2],
          [3, Number.NaN],
          [5, 6],
          [7, 8],
        ]),
      },
      undefined,
      /^import\/not-finite: .*1\.csv, line 3, column y/,
    ],
    [
      'NaN in a WAV file',
      { 'a/1.wav': wavBytes([[1], [Number.NaN]], { bits: 32, float: true }) },
      {},
      /^import\/not-finite: .*holds NaN at sample 1, column ch0/,
    ],
    [
      'a number that float32 cannot hold',
      {
        'a/1.csv': csv([
          [1, 2],
          [3, 1e300],
        ]),
      },
      undefined,
      /^import\/not-finite: .*holds 1e\+300 at sample 1, column y/,
    ],
    ['an empty folder', {}, undefined, /^import\/empty: .*in holds no recording; extensions are \.csv/],
    [
      'a folder of other things',
      { 'a/1.png': 'x', 'b.pdf': 'y' },
      undefined,
      /^import\/empty: .*holds no recording \(left out: a\/1\.png, b\.pdf\)/,
    ],
    ['no rate', PLAIN, {}, /^import\/rate: .*run2\.csv does not say its sample rate .*--rate HZ/],
    [
      'a rate against that of the file',
      { 'a/1.wav': wavBytes([[1]], { rate: 8000 }) },
      { rate: 1000 },
      /^import\/rate: .*says 8000 Hz and the rate given is 1000/,
    ],
    ['uneven times', { 'a/1.csv': 'time,x\n0,1\n0.001,2\n0.002,1\n0.009,2\n' }, {}, /^import\/rate: .*column time is not even/],
    [
      'times without a unit that would be slow',
      { 'a/1.csv': 'time,x\n0,1\n1,2\n2,1\n3,2\n' },
      {},
      /^import\/rate: .*gives 1 Hz if it counts seconds/,
    ],
    [
      'files without a class',
      { '1.csv': csv(ramp(9)), 'a/2.csv': csv(ramp(9)) },
      undefined,
      /^import\/label: nothing gives 1\.csv a label/,
    ],
    [
      'a pattern that misses files',
      PLAIN,
      { rate: 1000, pattern: '(?<label>normal)' },
      /^import\/pattern: no pattern matches worn\/a\.csv, worn\/deep\/b\.csv/,
    ],
    [
      'a channel that is not there',
      PLAIN,
      { rate: 1000, channels: ['z'] },
      /^import\/channels: .*has 0 columns for channel z; its columns are x, y/,
    ],
    [
      'a label that is renamed and not there',
      PLAIN,
      { rate: 1000, labels: { good: 'normal' } },
      /^import\/map: labels: nothing is called good; there are normal, worn/,
    ],
    [
      'an exception for no file',
      PLAIN,
      { rate: 1000, files: [{ match: '*.wav', skip: true }] },
      /^import\/map: files: no file below .* matches \*\.wav/,
    ],
    [
      'a condition that the file does not have',
      { 'a/1.mat': matBytes([{ name: 'x', rows: [[1], [2]] }]) },
      { rate: 1, conditions: { rpm: { scalar: '*RPM' } } },
      /^import\/condition: .*has 0 single numbers for condition rpm; it has none/,
    ],
    [
      'more channels than a network takes',
      { 'a/1.csv': csv([[...Array(17).keys()], [...Array(17).keys()]], Array.from({ length: 17 }, (_, at) => `c${at}`).join()) },
      undefined,
      /^import\/channels: .*has 17 channels where 16 are possible/,
    ],
    ['another format than the extension says', { 'a/1.csv': wavBytes([[1], [2]]) }, undefined, /^import\/csv: .*is not text/],
  ])('refuses %s in one line and leaves nothing behind', async (_, files, mapping, message) => {
    const text = await refusal(files, mapping);
    expect(text).toMatch(message);
    expect(text).not.toContain('\n');
  });

  it('refuses a file that cannot be read or has no known extension', async () => {
    const source = await folderWith({ 'a/1.csv': csv(ramp(9)), 'b.xyz': 'x' });
    await symlink('/nowhere/at/all', join(source, 'a/2.csv'));
    const run = (path: string, mapping = {}) => importRecordings(path, `${source}-set`, checkMapping({ rate: 1000, ...mapping }));
    await expect(run(source)).rejects.toThrow(/2\.csv cannot be read \(ENOENT\)/);
    await expect(run(join(source, 'b.xyz'))).rejects.toMatchObject({ code: 'import/extension' });
    await expect(run(join(source, 'none'))).rejects.toMatchObject({ code: 'import/source' });
    expect((await run(join(source, 'a/1.csv'), { label: 'normal' })).recordings).toBe(1);
  });

  it('stopped in the middle leaves nothing', async () => {
    const source = await folderWith(PLAIN);
    const abort = new AbortController();
    const onProgress = () => abort.abort(new Error('stopped'));
    await expect(importRecordings(source, `${source}-set`, { rate: 1000 }, { onProgress }, abort.signal)).rejects.toThrow('stopped');
    expect(existsSync(`${source}-set`) || existsSync(`${source}-set.new`)).toBe(false);
  });
});

describe('the folder to write', () => {
  it('never is, holds or lies in the source', async () => {
    const source = await folderWith(PLAIN);
    for (const out of [source, join(source, 'set'), dirname(source)]) {
      await expect(importRecordings(source, out, { rate: 1000 }, { replace: true }), out).rejects.toMatchObject({ code: 'import/out' });
    }
    expect(existsSync(join(source, 'worn/deep/b.csv'))).toBe(true);
  });

  it('is replaced only if it is a recording set and that is said', async () => {
    const { source, folder } = await imported(PLAIN);
    await expect(importRecordings(source, folder, { rate: 1000 })).rejects.toThrow(/is there already; --replace writes it anew/);
    expect((await importRecordings(source, folder, { rate: 500 }, { replace: true })).sampleRateHz).toEqual([500]);
    expect((await openRecordingSet(folder)).recordings[0].sample_rate_hz).toBe(500);
    expect((await readdir(dirname(folder))).sort()).toEqual(['in', 'set']);
    const mine = await folderWith({ 'thesis.txt': 'years of work' });
    await expect(importRecordings(source, mine, { rate: 1000 }, { replace: true })).rejects.toThrow(/is no recording set/);
    expect(await readdir(mine)).toEqual(['thesis.txt']);
  });

  it('stays as it was where writing fails, and comes back where a power cut took it', async () => {
    const { source, folder } = await imported(PLAIN);
    await writeFile(join(source, 'worn/z.csv'), '');
    await expect(importRecordings(source, folder, { rate: 500 }, { replace: true })).rejects.toMatchObject({ code: 'import/empty-file' });
    expect((await openRecordingSet(folder)).recordings).toHaveLength(4);
    const cut = await folderWith({ 'set.old/dataset.json': '{"name":"old","recordings":[]}', 'set.new/dataset.json': '{' });
    await expect(writeSetFolder(join(cut, 'set'), false, async () => {})).rejects.toThrow(/is there already/);
    expect((await openRecordingSet(join(cut, 'set'))).name).toBe('old');
  });

  it('does not touch a stranger in the place where it works', async () => {
    const parent = await folderWith({ 'set.new/thesis.txt': 'years of work' });
    await expect(writeSetFolder(join(parent, 'set'), false, async () => {})).rejects.toThrow(/is in the way and is not ours/);
    await mkdir(join(parent, 'other.new'));
    await writeSetFolder(join(parent, 'other'), false, async (fresh) => writeFile(join(fresh, 'dataset.json'), '{}'));
    expect((await readdir(parent)).sort()).toEqual(['other', 'set.new']);
  });
});

describe('a mapping file', () => {
  const read = async (text: string) => readMapping(join(await folderWith({ 'map.yaml': text }), 'map.yaml'));

  it('is refused with all its mistakes and their lines', async () => {
    const text = `rate: fast
pattern: '(?<label>['
channels: []
labels: { a: 3 }
conditions: { n_samples: 3 }
csv: { delimiter: ';;' }
files:
  - { match: 'x', rate: -1 }
  - { label: y }
speed: 3
`;
    const message = await read(text).catch((cause) => cause.message as string);
    for (const part of [
      /line 1, rate: /,
      /line 2, pattern: is no regular expression: /,
      /line 3, channels: /,
      /line 4, labels\.a: /,
      /line 5, conditions\.n_samples: is a field of the format/,
      /line 6, csv\.delimiter: /,
      /line 8, files\.0\.rate: /,
      /files\.1\.match: /,
      /line 10, speed: is no key here; there are label, /,
    ]) {
      expect(message).toMatch(part);
    }
    expect(message).not.toContain('\n');
  });

  it.each([
    ['pattern: "[a-z]+"', /has no named group/],
    ['pattern: "(?<rms>[a-z]+)"', /group rms is a field of the format/],
    ['a: [', /map\.yaml: /],
    ['scale: 0', /scale: /],
  ])('with %s is refused', async (text, message) => {
    await expect(read(text)).rejects.toThrow(message);
  });

  it('that is not there, or is empty', async () => {
    await expect(readMapping('/nowhere/map.yaml')).rejects.toThrow(/cannot be read \(ENOENT\)/);
    expect(await read('')).toEqual({});
  });
});
