import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { interleave, interleaveAnew, quantile, ratio, type Variant } from '../../benchmarks/harness/interleave.ts';
import type { Machine } from '../../benchmarks/harness/machine.ts';
import { type Report, resultsPage, textTable } from '../../benchmarks/harness/report.ts';
import { type Context, choose, isReached, type Row, runScenario, type Scenario } from '../../benchmarks/harness/scenario.ts';
import { SCENARIOS } from '../../benchmarks/scenarios/index.ts';

const IDS = SCENARIOS.map(({ id }) => id);
const RESULTS = new URL('../../benchmarks/results/', import.meta.url).pathname;

describe('choosing scenarios', () => {
  const ids = ['a.speed.64', 'a.speed.64.int8', 'a.speed.128', 'b.bytes'];

  it('takes an id for itself alone, though others continue it', () => {
    expect(choose(['a.speed.64'], ids)).toEqual(['a.speed.64']);
  });

  it('takes a family by its beginning, at a dot', () => {
    expect(choose(['a.speed'], ids)).toEqual(ids.slice(0, 3));
    expect(choose(['a.spe'], ids)).toEqual([]);
  });

  it('takes patterns, and keeps the order of the list', () => {
    expect(choose(['b*', '*.64'], ids)).toEqual(['a.speed.64', 'b.bytes']);
    expect(choose(['*'], ids)).toEqual(ids);
  });
});

describe('interleaving', () => {
  const recorded = (name: string, wallMs: number, log: string[]): Variant => ({
    name,
    slice: async (calls) => {
      log.push(`${name}${calls}`);
      return { wallMs: wallMs * calls, cpuMs: (name === 'A' ? 2 : 1) * wallMs * calls };
    },
  });

  it('runs the sides in turn, fills slices with as many calls as fit, and lets each side begin every other round', async () => {
    const log: string[] = [];
    const [a, b] = await interleave([recorded('A', 5, log), recorded('B', 20, log)], { seconds: 0, sliceMs: 20, leastRounds: 3 });
    // Warm-up of A with a third slice of four calls, of B without; then three rounds.
    expect(log).toEqual(['A1', 'A1', 'A4', 'B1', 'B1', 'A4', 'B1', 'B1', 'A4', 'A4', 'B1']);
    expect(a.wallMs).toEqual([5, 5, 5]);
    expect(b.cpuMs).toEqual([20, 20, 20]);
    expect(ratio(b, a)).toEqual({ median: 2, bestQuartile: 2, spread: [2, 2], wall: 4 });
  });

  it('makes the sides anew, puts their rounds together and releases what it made', async () => {
    const log: string[] = [];
    let made = 0;
    const [a] = await interleaveAnew(
      async () => ({ variants: [recorded('A', ++made, log)], release: async () => void log.push('released') }),
      { seconds: 0, sliceMs: 1, leastRounds: 2 },
      2,
    );
    expect(a.wallMs).toEqual([1, 1, 2, 2]);
    expect(log.filter((entry) => entry === 'released')).toHaveLength(2);
  });

  it('interpolates quantiles', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([7], 0.25)).toBe(7);
  });
});

describe('a row', () => {
  const context: Context = { quick: true, peers: false, root: '/', progress: () => {} };
  const scenario = (measure: Scenario['measure']): Scenario => ({
    id: 'x.y',
    what: 'how long',
    unit: 'x',
    target: { atLeast: 2 },
    measure,
  });

  it('says whether the target is reached, at the target itself too', async () => {
    expect(
      (
        await runScenario(
          scenario(async () => ({ figure: 2, samples: 1, details: {} })),
          context,
        )
      ).reached,
    ).toBe(true);
    expect(isReached(1.9, { atLeast: 2 })).toBe(false);
    expect(isReached(2, { atMost: 2 })).toBe(true);
    expect(isReached(Number.NaN, { atMost: 2 })).toBe(false);
  });

  it('keeps the reason of what was skipped and the message of what failed', async () => {
    expect(
      await runScenario(
        scenario(async () => ({ skipped: 'no peer' })),
        context,
      ),
    ).toMatchObject({ skipped: 'no peer' });
    const failed = await runScenario(
      scenario(() => Promise.reject(new Error('broken'))),
      context,
    );
    expect(failed.failed).toBe('broken');
    expect(textTable([failed])).toContain('broken');
  });
});

describe('the page', () => {
  const machine = { cpu: 'CPU', architecture: 'x64', cores: 2, memoryGiB: 1, vectorUnits: '' } as unknown as Machine;
  const row = (id: string, figure: number): Row => ({ id, what: `what of ${id}`, unit: 'x', figure, samples: 3, details: {} });

  it('shows the newest figure of every id once, with the command that measured it, and passes over later runs that skipped it', () => {
    const reports: Report[] = [
      { machine, date: '2026-01-01T00:00:00.000Z', rows: [row('a', 1), row('b', 2)] },
      {
        machine,
        date: '2026-02-01T00:00:00.000Z',
        rows: [row('a', 3), { ...row('b', 0), figure: undefined, skipped: 'no peer' }, row('gone', 9)],
      },
    ];
    const page = resultsPage(reports, ['a', 'b']);
    expect(page).not.toContain('no peer');
    expect(page).toContain('| what of a | 3x |  | reported | `npm run bench -- a` |');
    expect(page).toContain('| what of b | 2x |');
    expect(page).not.toContain('| 1x |');
    expect(page).not.toContain('gone');
    expect(page.indexOf('2026-02-01')).toBeLessThan(page.indexOf('2026-01-01'));
  });
});

describe('committed results', () => {
  const files = readdirSync(RESULTS).filter((name) => name.endsWith('.json'));

  it('have ids that still exist: an id is permanent', () => {
    expect(new Set(IDS).size).toBe(IDS.length);
    for (const file of files) {
      const { rows } = JSON.parse(readFileSync(RESULTS + file, 'utf8')) as Report;
      for (const { id } of rows) expect(IDS, file).toContain(id);
    }
  });

  it('name no folder of the machine they were made on', () => {
    for (const file of files) expect(readFileSync(RESULTS + file, 'utf8'), file).not.toMatch(/\/(?:home|root|tmp|work|Users)\//);
  });
});
