import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const TREMOLO = new URL('../../dist/tremolo.js', import.meta.url).pathname;
const DATA = process.env.TREMOLO_DATA;
const MOTORS = DATA && join(DATA, 'uet_motor1k');
const execute = promisify(execFile);

let cache: string;
beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), 'tremolo-cache-'));
});
afterAll(() => rm(cache, { recursive: true, force: true }));

/** What the command prints last, and how it ended. */
async function tremolo(...args: string[]): Promise<{ code: number; stdout: string; stderr: string; report: Record<string, never> }> {
  const options = { env: { ...process.env, XDG_CACHE_HOME: cache }, maxBuffer: 1 << 24 };
  const { stdout, stderr, code } = await execute(process.execPath, [TREMOLO, ...args], options).then(
    (result) => ({ ...result, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  );
  const last = stdout.trim().split('\n').at(-1) ?? '';
  return { code, stdout, stderr, report: last.startsWith('{') ? JSON.parse(last) : {} };
}

interface DemoReport {
  windows: number;
  judged: number;
  accuracy: number;
  alarms: { machine: string; from: string; to: string; afterFaultSeconds?: number }[];
  latencyMs: { p50: number; p99: number };
  ledger: { windowsExpected: number; windowsDecided: number; windowsWaiting: number; samplesLost: number };
  engine: { name: string };
  training?: { baselines: { ridge: { accuracy: number } }; test: { accuracy: number } };
}

describe('the main job, over a broker, a pty and a gateway process', () => {
  it('decides a simulated plant that no training has seen, with the shipped bundle', async () => {
    const { code, report, stderr } = await tremolo('demo', '--machines', '4', '--seconds', '20', '--speed', '3', '--json');
    expect(code, stderr).toBe(0);
    const { windows, judged, accuracy, alarms, ledger, engine } = report as unknown as DemoReport;
    // 20 s at 1 kHz in frames of 64: 19,968 samples, 77 windows a machine.
    expect(windows).toBe(4 * 77);
    expect(ledger).toMatchObject({ windowsExpected: windows, windowsDecided: windows, windowsWaiting: 0, samplesLost: 0 });
    expect(judged).toBeGreaterThan(0.85 * windows);
    expect(accuracy).toBeGreaterThan(0.8);
    expect(alarms.find(({ machine }) => machine === 'machine-2')).toMatchObject({ from: 'normal', to: 'unacknowledged' });
    expect(alarms.find(({ machine }) => machine === 'machine-2')!.afterFaultSeconds).toBeLessThan(5);
    expect(engine.name).toBe('onnxruntime');
  });

  it('decides the same windows alike on the wasm engine', async () => {
    const decided = await Promise.all(
      ['onnxruntime', 'wasm'].map(async (engine) => {
        const { report } = await tremolo('demo', '--machines', '2', '--seconds', '6', '--engine', engine, '--json');
        return report as unknown as DemoReport & { byClass: unknown };
      }),
    );
    expect(decided[1].engine.name).toBe('wasm');
    expect(decided[1].windows).toBe(decided[0].windows);
    expect(decided[1].byClass).toEqual(decided[0].byClass);
  });

  it.skipIf(!MOTORS || !existsSync(MOTORS))(
    'learns nine blocks of real motors, decides the tenth live, and beats ridge on the log spectrum (needs TREMOLO_DATA)',
    async () => {
      // A shared machine may stall for a tenth of a second; at five times real time a ring holds four tenths.
      const args = ['demo', '--data', MOTORS!, '--block', '10', '--speed', '5', '--json'];
      const { code, report, stderr } = await tremolo(...args);
      expect(code, stderr).toBe(0);
      const { windows, accuracy, ledger, training } = report as unknown as DemoReport;
      expect(windows).toBe(21 * 18);
      expect(ledger).toMatchObject({ windowsExpected: windows, windowsDecided: windows, samplesLost: 0 });
      expect(accuracy).toBeGreaterThan(training!.baselines.ridge.accuracy);
      // What came through broker and pty is what the recordings gave when they were evaluated in one piece.
      expect(accuracy).toBeCloseTo(training!.test.accuracy, 2);
      // The second time nothing is trained.
      const again = await tremolo(...args);
      expect(again.stderr).toContain('in the cache');
      expect((again.report as unknown as DemoReport).accuracy).toBe(accuracy);
    },
    180_000,
  );
});

describe('bad input gives one line and exit code 2', () => {
  it.each([
    [['dmeo'], /usage\/verb/],
    [['demo', '--speed', 'fast'], /usage\/number: --speed/],
    [['demo', '--sped', '10'], /usage\/arguments/],
    [['demo', '--engine', 'gpu'], /usage\/choice/],
    [['demo', '--data', '/nowhere'], /data\/set: .*nowhere/],
    [['train'], /usage\/arguments/],
    [['train', '/nowhere', '--out', 'x'], /data\/set/],
    [['run'], /usage\/arguments/],
    [['run', '/nowhere.yaml'], /config\/invalid/],
    [['simulate'], /usage\/arguments/],
  ])('tremolo %s', async (args, message) => {
    const { code, stderr, stdout } = await tremolo(...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stdout).toBe('');
  });
});
