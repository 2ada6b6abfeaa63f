import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { folderWith, wavBytes } from './files.ts';

const TREMOLO = new URL('../../../dist/tremolo.js', import.meta.url).pathname;

/** The real command in a process of its own. */
function tremolo(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [TREMOLO, 'data', ...args], { encoding: 'utf8' });
  return { status, out: stdout, err: stderr };
}

const json = (out: string) => JSON.parse(out.trim().split('\n').at(-1)!);
const csv = (length: number) => `x,y\n${Array.from({ length }, (_, at) => `${Math.sin(at)},${at % 5}`).join('\n')}\n`;

describe('tremolo data', () => {
  it('goes from a folder of CSV files to a set that is shown, and erases from it', async () => {
    const parent = await folderWith({ 'in/normal/1.csv': csv(1000), 'in/normal/2.csv': csv(1000), 'in/worn/1.csv': csv(1000) });
    const [source, set] = [join(parent, 'in'), join(parent, 'set')];
    const made = tremolo('import', source, '--out', set, '--rate', '1000', '--pattern', '(?<label>[a-z]+)/(?<run>\\d)', '--json');
    expect(made.err).toContain('3 recordings');
    expect(made.out).toContain(`look at it with: tremolo data info ${set}`);
    expect([made.status, json(made.out).classes]).toEqual([
      0,
      { normal: { recordings: 2, seconds: 2 }, worn: { recordings: 1, seconds: 1 } },
    ]);
    const info = tremolo('info', set, '--where', 'run=1', '--verify', '--json');
    expect(info.status).toBe(0);
    expect(info.out).toMatch(/normal +1 +1\.0 .*[▁▂▃▄▅▆▇█]{32} {2}[▁▂▃▄▅▆▇█]{32}\n/);
    expect(json(info.out)).toMatchObject({ recordings: 2, problems: [] });
    const dry = tremolo('erase', set, '--where', 'run=2');
    expect(dry.out).toContain('would erase 1 recording, ');
    expect(existsSync(join(set, 'rec/00002_normal_2.f32'))).toBe(true);
    expect(json(tremolo('erase', set, '--where', 'run=2', '--yes', '--json').out)).toMatchObject({ done: true, kept: 2 });
    expect(existsSync(join(set, 'rec/00002_normal_2.f32'))).toBe(false);
  });

  it('renames channels, scales and keeps a mapping file, whose word the options override', async () => {
    const parent = await folderWith({ 'in/a/1.wav': wavBytes([[16_384], [-16_384]]), 'map.yaml': 'unit: g\nscale: 100\nname: hall\n' });
    const run = tremolo(
      'import',
      join(parent, 'in'),
      '--out',
      join(parent, 'set'),
      '--map',
      join(parent, 'map.yaml'),
      '--scale',
      '2',
      '--channels',
      'DE=ch0',
    );
    expect(run.status).toBe(0);
    const info = tremolo('info', join(parent, 'set'), '--json');
    expect(json(info.out)).toMatchObject({ name: 'hall', channels: [{ channels: ['DE'] }], classes: [{ rms: 1 }] });
  });

  it('refuses in one line with exit 2', async () => {
    const parent = await folderWith({ 'in/a/1.csv': csv(9), 'bad/a/1.csv': '', 'map.yaml': 'rate: fast\n' });
    const [source, out] = [join(parent, 'in'), ['--out', join(parent, 'set')]];
    for (const [args, line] of [
      [[], /^usage\/arguments: say what to do: tremolo data info\|import\|clean\|erase/],
      [['polish', source], /^usage\/arguments: say what to do/],
      [['import'], /^usage\/arguments: name a folder/],
      [['import', source], /^usage\/arguments: name the recording set to write with --out/],
      [['import', source, ...out, '--yes'], /^usage\/arguments: data import has no option --yes/],
      [['info', source, '--rate', '3'], /^usage\/arguments: data info has no option --rate/],
      [['import', source, ...out, '--colour', 'red'], /^usage\/arguments: .*--colour/],
      [['import', source, ...out], /^import\/rate: /],
      [['import', source, ...out, '--rate', 'fast'], /^usage\/number: --rate is "fast"/],
      [['import', source, ...out, '--rate', '1', '--dtype', 'int8'], /^usage\/mapping: --dtype must be float32 or int16/],
      [
        ['import', source, ...out, '--rate', '1', '--format', 'xls', '--pattern', '['],
        /^usage\/mapping: --format must be .*; --pattern is no regular expression: /,
      ],
      [['import', source, ...out, '--rate', '1', '--header', 'maybe'], /^usage\/choice: --header is "maybe"/],
      [['import', source, ...out, '--label', 'a', '--unlabelled'], /^usage\/arguments: --label and --unlabelled exclude/],
      [['import', source, ...out, '--map', join(parent, 'map.yaml')], /^import\/map: .*line 1, rate: /],
      [['import', join(parent, 'bad'), ...out, '--rate', '1'], /^import\/empty-file: /],
      [['info', source], /^data\/set: /],
      [['erase', source], /^usage\/arguments: say which recordings to erase/],
      [['clean'], /^usage\/arguments: name a folder/],
      [['clean', source], /^data\/set: .* name the folder of a recording set$/],
      [['clean', source, '--yes'], /^usage\/arguments: data clean has no option --yes/],
      [['clean', source, '--apply'], /^usage\/arguments: --apply and --out SET2 belong together/],
      [['clean', source, ...out], /^usage\/arguments: --apply and --out SET2 belong together/],
      [['clean', source, '--window', '3'], /^usage\/number: --window is "3"/],
      [['clean', source, '--rate', 'fast'], /^usage\/number: --rate is "fast"/],
    ] as const) {
      const { status, err, out: printed } = tremolo(...args);
      const lines = err.trim().split('\n');
      expect([status, printed], args.join(' ')).toEqual([2, '']);
      expect(lines.at(-1), args.join(' ')).toMatch(line);
      expect(lines.filter((text) => !text.startsWith('import '))).toHaveLength(1);
    }
    expect(existsSync(join(parent, 'set'))).toBe(false);
  }, 120_000);

  it('shows a broken set and says so with exit 2', async () => {
    const parent = await folderWith({ 'in/a/1.csv': csv(1000), 'in/b/1.csv': csv(1000) });
    tremolo('import', join(parent, 'in'), '--out', join(parent, 'set'), '--rate', '1000');
    spawnSync('truncate', ['-s', '0', join(parent, 'set/rec/00001_a_1.f32')]);
    const { status, out, err } = tremolo('info', join(parent, 'set'));
    expect(status).toBe(2);
    expect(out).toContain('problem: rec/00001_a_1.f32 has 0 bytes where dataset.json promises 8000');
    expect(err).toMatch(/^data\/file: 1 of 2 files of set are broken, the first: rec\/00001_a_1\.f32 /);
  });

  /** A set on disk: samples of each recording by class, where `bytes` spoils a file and `fields` its entry. */
  const setOf = async (
    classes: Readonly<Record<string, number>>,
    { samples = 4000, fields = {}, spoil = () => {} }: { samples?: number; fields?: object; spoil?: (first: Float32Array) => void } = {},
  ) => {
    const labels = Object.entries(classes).flatMap(([label, count]) => Array.from({ length: count }, () => label));
    const random = new Random(1);
    const files = labels.map((label) =>
      Float32Array.from({ length: samples }, (_, t) => random.normal() + (label === 'a' ? 3 * Math.sin(t) : 0)),
    );
    spoil(files[0]);
    const recordings = labels.map((label, at) => ({
      ...{ file: `${at}.f32`, label, n_samples: samples, n_channels: 1, channels: ['x'], dtype: 'float32', sample_rate_hz: 1000 },
      ...(at === 0 && fields),
    }));
    const folder = await folderWith({
      ...Object.fromEntries(files.map((values, at) => [`set/${at}.f32`, new Uint8Array(values.buffer)])),
      'set/dataset.json': JSON.stringify({ name: 'set', recordings }),
    });
    return { set: join(folder, 'set'), parent: folder };
  };
  const empty = async (set: string) => spawnSync('truncate', ['-s', '0', join(set, '0.f32')]);

  it('cleans: says what is wrong and touches nothing, then writes a set without it', async () => {
    const { set, parent } = await setOf({ a: 4, b: 4 }, { spoil: (first) => first.fill(Number.NaN, 600, 601) });
    const out = join(parent, 'out');
    const dry = tremolo('clean', set, '--json');
    expect(dry.status).toBe(0);
    expect(dry.out).toMatch(/class +windows +invalid +ambiguous +near-duplicate +kept\n +a +28 +1 \(3\.6 %\) +- +- +27\n/);
    expect(dry.out).toContain('0.f32 from sample 512: channel x holds NaN at sample 600');
    expect(dry.out).toContain('nothing was touched');
    expect(json(dry.out)).toMatchObject({
      applied: false,
      findings: [{ file: '0.f32', start: 512, stage: 'invalid', reason: 'not-finite' }],
    });
    expect(existsSync(out)).toBe(false);
    const done = tremolo('clean', set, '--apply', '--out', out, '--json');
    expect([done.status, json(done.out).written]).toEqual([0, { out, recordings: 9, removed: 1, leftOut: 0, cut: 1, lostClasses: [] }]);
    expect(tremolo('info', out, '--verify').status).toBe(0);
    expect(tremolo('clean', set, '--apply', '--out', out)).toMatchObject({ status: 2, err: expect.stringMatching(/^import\/out: .*\n$/) });
  });

  it.each([
    ['a 0-byte file', { a: 3, b: 3 }, {}, empty, /^data\/file: .*0\.f32 has 0 bytes where dataset\.json promises 16000; import/],
    [
      'NaN',
      { a: 3, b: 3 },
      { spoil: (first: Float32Array) => first.fill(Number.NaN, 9, 10) },
      undefined,
      /^data\/not-finite: .*0\.f32 holds NaN at/,
    ],
    [
      'mixed rates',
      { a: 3, b: 3 },
      { fields: { sample_rate_hz: 4000 } },
      undefined,
      /^data\/mixed: .* 1000 Hz, .* 4000 Hz; choose with --where/,
    ],
    ['one recording of two classes', { a: 1, b: 1 }, {}, undefined, /^data\/split: classes a, b have fewer than three recordings/],
    ['one recording too short for anything', { a: 1 }, { samples: 900 }, undefined, /^data\/short: 0\.f32 is too short to be cut/],
    ['a class of two', { a: 3, b: 2 }, {}, undefined, /^data\/split: class b has fewer than three recordings.* --test KEY=VALUE/],
    ['one class with little of it', { a: 3 }, {}, undefined, /^data\/short: 14 healthy windows are left .* 99 are needed/],
    ['recordings shorter than a window', { a: 3, b: 3 }, { samples: 300 }, undefined, /^data\/short: /],
    ['an empty class name', { a: 3, b: 3 }, { fields: { label: '' } }, undefined, /^data\/set: .*recordings\.0\.label/],
  ] as const)('train refuses %s in one line with exit 2', async (_, classes, options, spoil, line) => {
    const { set, parent } = await setOf(classes, options);
    await spoil?.(set);
    const { status, stdout, stderr } = spawnSync(process.execPath, [TREMOLO, 'train', set, '--out', join(parent, 'bundle')], {
      encoding: 'utf8',
    });
    const lines = stderr.trim().split('\n');
    expect([status, stdout]).toEqual([2, '']);
    expect(lines.at(-1)).toMatch(line);
    expect(lines.filter((text) => !/^[a-z -]+ \d+ %/.test(text))).toHaveLength(1);
    expect(existsSync(join(parent, 'bundle'))).toBe(false);
  });

  it('has help with an example', () => {
    const { status, out } = tremolo('--help');
    expect(status).toBe(0);
    expect(out).toMatch(/usage: tremolo data info\|import\|clean\|erase[\s\S]*example: [\s\S]*example map\.yaml:/);
  });
});
