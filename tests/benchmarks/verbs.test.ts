import { spawnSync } from 'node:child_process';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { VERBS } from '../../benchmarks/verbs.ts';
import { BENCH_VERBS } from '../../trainer/commands/bench.ts';

const ROOT = new URL('../../', import.meta.url);
const CONTEXT = { root: ROOT.pathname, programs: new URL('dist/', ROOT) };
const TREMOLO = new URL('dist/tremolo.js', ROOT).pathname;

afterEach(() => {
  vi.restoreAllMocks();
});

it('offers the same measurements by both commands', () => {
  expect(Object.keys(VERBS).sort()).toEqual([...BENCH_VERBS].sort());
});

describe('a number that cannot be measured with', () => {
  const NUMBERS: readonly [verb: string, option: string][] = [
    ['engine', 'seconds'],
    ['streams', 'streams'],
    ['streams', 'seconds'],
    ['streams', 'seed'],
    ['streams --capacity', 'streams'],
    ['streams --capacity', 'seconds'],
    ['swap', 'streams'],
    ['swap', 'seconds'],
    ['push', 'gateways'],
    ['soak', 'hours'],
    ['soak', 'streams'],
  ];
  it.each(NUMBERS)('is refused in one line: %s --%s', async (verb, option) => {
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const [name, ...flags] = verb.split(' ');
    // 0 is a seed like others.
    for (const text of ['-5', '-.5', 'five', 'NaN', '', ' ', '1e10', ...(option === 'seed' ? [] : ['0'])]) {
      said.mockClear();
      expect(await VERBS[name]([...flags, `--${option}`, text], CONTEXT)).toBe(2);
      expect(said.mock.calls.map(([line]) => line)).toEqual([
        expect.stringMatching(new RegExp(`^usage/number: --${option} is "${text}"; give a (whole )?number from [\\d.]+ to \\d+\n$`)),
      ]);
    }
  });

  it('reaches the measurement as it was typed', () => {
    const { status, stderr } = spawnSync(process.execPath, [TREMOLO, 'bench', 'soak', '--hours', '-5'], { encoding: 'utf8' });
    expect([status, stderr]).toEqual([2, 'usage/number: --hours is "-5"; give a number from 0.001 to 24\n']);
  });
});

describe('--help', () => {
  it.each(Object.keys(VERBS))('of %s tells its own options and an example', async (name) => {
    const said = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    expect(await VERBS[name](['--help'], CONTEXT)).toBe(0);
    const text = said.mock.calls.map(([part]) => part).join('');
    const own = name === 'compare' ? '--compare' : name;
    expect(text.startsWith(`usage: tremolo bench ${own} `)).toBe(true);
    expect(text).toContain(`\nexample: tremolo bench ${name === 'compare' ? 'engine' : own}`);
  });

  it.each(['push', 'streams --capacity', '--compare'])('is printed by tremolo bench %s', (words) => {
    const { status, stdout } = spawnSync(process.execPath, [TREMOLO, 'bench', ...words.split(' '), '--help'], { encoding: 'utf8' });
    expect(status).toBe(0);
    expect(stdout.startsWith(`usage: tremolo bench ${words} `)).toBe(true);
  });
});
