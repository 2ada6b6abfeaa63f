import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type compareFigures, compareVerb, figuresOf } from '../../benchmarks/compare.ts';
import { benchEngine, type EngineReport } from '../../benchmarks/engine/command.ts';
import { energyMeter } from '../../benchmarks/engine/energy.ts';
import type { EngineRow } from '../../benchmarks/engine/measure.ts';
import { enginePage } from '../../benchmarks/engine/page.ts';
import { threadCounts } from '../../benchmarks/engine/subjects.ts';
import { writeTuning } from '../../benchmarks/engine/tune-file.ts';
import { verdictOf } from '../../benchmarks/engine/verdict.ts';
import { plotAssets, renderPage } from '../../benchmarks/report/page.ts';
import { slopeOf } from '../../benchmarks/soak/slope.ts';
import { searchCapacity } from '../../benchmarks/streams/capacity.ts';
import { readConfiguration } from '../../runtime/io/configuration.ts';
import { chromium, open } from '../trainer/report/browser.ts';

const ROOT = new URL('../../', import.meta.url);
const PROGRAMS = new URL('dist/', ROOT);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-bench-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

const row = (change: Partial<EngineRow>, p50: number, p99 = 1.2 * p50): EngineRow => {
  const made = {
    engine: 'onnxruntime',
    precision: 'int8',
    threads: 1,
    batch: 1,
    runs: 1000,
    cpuMsPerWindow: p50,
    joulesPerThousandWindows: null,
    quantilesMs: [],
    ...change,
  } as const;
  return { ...made, ms: { p50, p99, p999: null, max: p99 }, windowsPerSecond: (1000 * made.batch) / p50 };
};
const base = { windowsPerStreamSecond: 4, pathMs: 0.1, skipped: {}, disturbed: [] };

describe('the verdict', () => {
  it('counts streams by what one takes inside the model and outside it', () => {
    const { streams, sentence } = verdictOf({ ...base, rows: [row({ batch: 1 }, 0.15)] });
    // 4 windows of 0.15 ms, and four times 0.1 ms: 1 ms a second, of which 600 are planned for.
    expect(streams).toBe(600);
    expect(sentence).toBe('This device carries about 600 streams with onnxruntime, int8, 1 thread and batches of up to 1.');
  });

  it('takes the batch that decides most and still answers in time', () => {
    const rows = [row({ batch: 1 }, 0.2), row({ batch: 16 }, 1.6), row({ batch: 64 }, 5, 30)];
    expect(verdictOf({ ...base, rows }).batch).toBe(16);
    expect(verdictOf({ ...base, rows: [row({ batch: 1 }, 40), row({ batch: 2 }, 60)] })).toMatchObject({ batch: 1 });
  });

  it('takes a further thread only where it is worth a core', () => {
    expect(verdictOf({ ...base, rows: [row({}, 1), row({ threads: 2 }, 0.9)] }).threads).toBe(1);
    expect(verdictOf({ ...base, rows: [row({}, 1), row({ threads: 2 }, 0.6)] }).threads).toBe(2);
  });

  it('says what fp32 would be worth, and why it was not measured', () => {
    expect(verdictOf({ ...base, rows: [row({}, 1), row({ precision: 'fp32' }, 2)] })).toMatchObject({ precision: 'int8' });
    const faster = verdictOf({ ...base, rows: [row({}, 2), row({ precision: 'fp32' }, 1)] });
    expect(faster.precision).toBe('fp32');
    expect(faster.why.join()).toContain('trained without int8');
    expect(verdictOf({ ...base, rows: [row({}, 1)], skipped: { fp32: 'no server part' } }).why[0]).toContain('no server part');
  });

  it('goes to wasm where onnxruntime is not, and says when it was disturbed', () => {
    const verdict = verdictOf({
      ...base,
      rows: [row({ engine: 'wasm' }, 3)],
      skipped: { onnxruntime: 'no library' },
      disturbed: ['steal'],
    });
    expect(verdict.engine).toBe('wasm');
    expect(verdict.sentence).toMatch(/^Disturbed run, measure again/);
    expect(verdict.why.join()).toMatch(/no library.*disturbed: steal/);
    expect(() => verdictOf({ ...base, rows: [] })).toThrow('no engine runs');
  });
});

describe('tremolo bench engine', () => {
  let report: EngineReport;
  beforeAll(async () => {
    report = await benchEngine(new URL('models/shipped/plant', ROOT).pathname, PROGRAMS, 1, undefined, { update: () => {} });
  }, 120_000);

  it('runs int8 and fp32 on both engines and keeps every figure in order', () => {
    const ways = new Set(report.rows.map(({ engine, precision }) => `${engine} ${precision}`));
    expect([...ways].sort()).toEqual(['onnxruntime fp32', 'onnxruntime int8', 'wasm fp32', 'wasm int8']);
    for (const { ms, runs, quantilesMs } of report.rows) {
      expect(runs).toBeGreaterThan(0);
      expect(ms.p50).toBeGreaterThan(0);
      expect(ms.p99).toBeGreaterThanOrEqual(ms.p50);
      expect(ms.p999 === null).toBe(runs < 1000);
      expect(quantilesMs).toEqual([...quantilesMs].sort((a, b) => a - b));
    }
    expect(report.verdict.streams).toBeGreaterThan(0);
    expect(report.skipped).toEqual({});
  });

  it('leaves out larger batches where the time is short, and says so', () => {
    for (const text of report.unmeasured) expect(text).toMatch(/^(onnxruntime|wasm) (int8|fp32), \d+ threads, batch \d+$/);
    expect(report.rows.length + report.unmeasured.length).toBe(7 * 2 * (threadCounts(report.device.cores).length + 1));
  });

  it.skipIf(!chromium)(
    `draws a page that loads nothing and complains of nothing${chromium ? '' : ' (chromium is not installed)'}`,
    async () => {
      const page = renderPage(enginePage(report), await plotAssets(PROGRAMS));
      const { dom, console } = await open(page);
      expect(console).toEqual([]);
      // uPlot draws on a canvas a picture, and writes its own legend.
      expect(dom.match(/<canvas/g)).toHaveLength(3);
      expect(dom).toContain(report.verdict.sentence);
      expect(page).not.toMatch(/(?:src|href)="(?!data:)/);
    },
  );

  it('compares two runs figure by figure', async () => {
    const slower = { ...report, rows: report.rows.map((one) => ({ ...one, windowsPerSecond: one.windowsPerSecond / 2 })) };
    const paths = ['a.json', 'b.json'].map((name) => join(folder, name));
    await writeFile(paths[0], `a table\n${JSON.stringify(report)}\n`);
    await writeFile(paths[1], JSON.stringify(slower, null, 2));
    const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const { rows } = (await compareVerb.run(paths, { root: '', programs: PROGRAMS })) as { rows: ReturnType<typeof compareFigures> };
    write.mockRestore();
    const speeds = rows.filter(({ name }) => name.endsWith('.windowsPerSecond'));
    expect(speeds).toHaveLength(report.rows.length);
    for (const { times } of speeds) expect(times).toBeCloseTo(0.5, 9);
  });
});

it('tunes a configuration without touching the rest of it', async () => {
  const path = join(folder, 'gateway.yaml');
  await writeFile(path, 'site: s # the hall\ngateway: g\nbundle: ./b\nbroker: { url: mqtt://h }\nengine: wasm\n');
  await writeTuning(path, { engine: 'onnxruntime', threads: 2, batch: 16 });
  expect(await readFile(path, 'utf8')).toContain('site: s # the hall\n');
  expect(await readConfiguration(path)).toMatchObject({ engine: 'onnxruntime', threads: 2, largestBatch: 16, site: 's' });
  await writeFile(path, '[1, 2]');
  await expect(writeTuning(path, { engine: 'wasm', threads: 1, batch: 1 })).rejects.toThrow('not a gateway');
});

describe('the search for capacity', () => {
  it('finds what a device carries to five per cent, in few runs', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 12_000 }), fc.integer({ min: 1, max: 3000 }), async (carries, first) => {
        let runs = 0;
        const found = await searchCapacity(
          async (streams) => {
            runs++;
            return { streams, p99Ms: 1, carried: streams <= carries };
          },
          { first, most: 10_000, resolution: 0.05 },
        );
        const right = Math.min(carries, 10_000);
        expect(found).toBeLessThanOrEqual(right);
        expect(right - found).toBeLessThanOrEqual(Math.max(1, 0.05 * found));
        expect(runs).toBeLessThan(22);
      }),
    );
  });
});

it('takes energy from the packages alone and over the wrap of a counter', async () => {
  expect(energyMeter(join(folder, 'nowhere'))).toEqual({ missing: 'this kernel has no powercap' });
  const zones = join(folder, 'powercap');
  const write = (zone: string, energy: number) => writeFile(join(zones, zone, 'energy_uj'), String(energy));
  for (const zone of ['intel-rapl:0', 'intel-rapl:0:0']) {
    await mkdir(join(zones, zone), { recursive: true });
    await writeFile(join(zones, zone, 'max_energy_range_uj'), '10000000');
    await write(zone, 9_000_000);
  }
  const meter = energyMeter(zones);
  if ('missing' in meter) throw new Error(meter.missing);
  await write('intel-rapl:0', 2_000_000);
  await write('intel-rapl:0:0', 9_999_999);
  expect(meter.joules()).toBeCloseTo(3, 9);
});

it('finds the slope of memory and how sure it is', () => {
  const times = Array.from({ length: 100 }, (_, index) => index / 10);
  expect(
    slopeOf(
      times,
      times.map((time) => 5 + 2 * time),
    ).slope,
  ).toBeCloseTo(2, 9);
  const noisy = slopeOf(
    times,
    times.map((_, index) => 50 + (index % 2)),
  );
  expect(Math.abs(noisy.slope)).toBeLessThan(3 * noisy.error);
  expect(slopeOf([1], [1])).toEqual({ slope: 0, error: 0 });
});

it('names figures by what tells rows apart', () => {
  expect([
    ...figuresOf({
      rows: [
        { id: 'x.y', figure: 2 },
        { id: 'z', figure: 3 },
      ],
      list: [1, 2],
    }),
  ]).toEqual([
    ['rows.x.y.figure', 2],
    ['rows.z.figure', 3],
  ]);
});
