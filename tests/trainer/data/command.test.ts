import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
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
      [[], /^usage\/arguments: say what to do: tremolo data info\|import\|erase/],
      [['polish', source], /^usage\/arguments: say what to do/],
      [['import'], /^usage\/arguments: name a folder/],
      [['import', source], /^usage\/arguments: name the recording set to write with --out/],
      [['import', source, ...out, '--yes'], /^usage\/arguments: data import has no option --yes/],
      [['info', source, '--rate', '3'], /^usage\/arguments: data info has no option --rate/],
      [['import', source, ...out, '--colour', 'red'], /^usage\/arguments: .*--colour/],
      [['import', source, ...out], /^import\/rate: /],
      [['import', source, ...out, '--rate', 'fast'], /^usage\/number: --rate is "fast"/],
      [['import', source, ...out, '--rate', '1', '--dtype', 'int8'], /^usage\/mapping: --dtype: /],
      [
        ['import', source, ...out, '--rate', '1', '--format', 'xls', '--pattern', '['],
        /^usage\/mapping: .*--format: .*--pattern: |--pattern: .*--format: /,
      ],
      [['import', source, ...out, '--rate', '1', '--header', 'maybe'], /^usage\/choice: --header is "maybe"/],
      [['import', source, ...out, '--label', 'a', '--unlabelled'], /^usage\/arguments: --label and --unlabelled exclude/],
      [['import', source, ...out, '--map', join(parent, 'map.yaml')], /^import\/map: .*line 1, rate: /],
      [['import', join(parent, 'bad'), ...out, '--rate', '1'], /^import\/empty-file: /],
      [['info', source], /^data\/set: /],
      [['erase', source], /^usage\/arguments: say which recordings to erase/],
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

  it('has help with an example', () => {
    const { status, out } = tremolo('--help');
    expect(status).toBe(0);
    expect(out).toMatch(/usage: tremolo data info\|import\|erase[\s\S]*example: [\s\S]*example map\.yaml:/);
  });
});
