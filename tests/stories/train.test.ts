import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { readBundle } from '../../models/bundle/bundle.ts';

const PROGRAM = fileURLToPath(new URL('../../dist/tremolo.js', import.meta.url));

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command; `stopAt` sends Ctrl-C as soon as stderr holds it. */
function tremolo(args: readonly string[], cache: string, stopAt?: string): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], { env: { ...process.env, XDG_CACHE_HOME: cache } });
    let [stdout, stderr, stopped] = ['', '', false];
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
      if (!stopAt || stopped || !stderr.includes(stopAt)) return;
      // Once: a second Ctrl-C ends the process at once.
      stopped = child.kill('SIGINT');
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** Every stage at a size for a test; the sizes are all that is small about it. */
const SETTINGS = `
data: { group: machine }
teacher: { steps: 24 }
student: { steps: 60, batch: 48 }
prune: { plans: [{ heads: 6, feedForward: 64, hop: 64 }], steps: 20, allowed: 1 }
baselines: [ridge]
choose: false
`;

describe('tremolo train', { timeout: 240_000 }, () => {
  let folder: string;
  const json = ({ stdout }: Outcome) => JSON.parse(stdout.trim().split('\n').at(-1)!);
  const train = (out: string) => [
    'train',
    join(folder, 'plant'),
    '--config',
    join(folder, 'train.yaml'),
    '--out',
    join(folder, out),
    '--json',
  ];
  let whole: Outcome;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tremolo-train-'));
    await writeFile(join(folder, 'train.yaml'), SETTINGS);
    const made = await tremolo(['simulate', '--out', join(folder, 'plant'), '--machines', '6', '--seconds', '2', '--seed', '3'], folder);
    expect(made.code, made.stderr).toBe(0);
    whole = await tremolo(train('whole'), join(folder, 'cache-1'));
  }, 240_000);

  it('leaves a bundle, a report and one object that says what every stage reached', async () => {
    expect(whole.code, whole.stderr).toBe(0);
    const report = json(whole);
    expect(report.classes).toContain('normal');
    expect(report.params.teacher).toBeGreaterThan(1e6);
    expect(report.params.pruned).toBeLessThan(report.params.student);
    expect(report.bytes.int8).toBeLessThan(report.bytes.studentFp32 / 2);
    expect(report.stages.map(({ name }: { name: string }) => name)).toEqual([
      'leaks',
      'choose',
      'teacher',
      'rehearsal',
      'student',
      'pruned',
      'back-up',
      'novelty',
      'int8',
      'baselines',
      'robustness',
    ]);
    for (const stage of report.stages) expect(Object.keys(stage)).toEqual(expect.arrayContaining(['name', 'seconds', 'status']));
    for (const key of ['accuracy', 'balancedAccuracy', 'macroF1', 'vote8', 'ece', 'falseAlarmRate'])
      expect(report.test).toHaveProperty(key);
    expect(report.baselines).toHaveProperty('ridge.balancedAccuracy');
    expect(typeof report.gate.passed).toBe('boolean');
    const bundle = await readBundle(join(folder, 'whole'), ['core', 'adapt', 'server']);
    expect(bundle.digest).toBe(report.digest);
    expect(bundle.manifest.measured.accuracy).toBe(report.test.accuracy);
    // What a gateway takes p-values from, commissions by and knows its back-up by.
    expect(bundle.manifest.decision?.normal).toBe('normal');
    expect(bundle.manifest.decision?.healthyScores?.length).toBeGreaterThan(10);
    expect(bundle.manifest.dual).toEqual(report.dual);
    expect(report.dual.windows).toBeGreaterThan(20 * report.test.windows);
    expect(report.stages.find(({ name }: { name: string }) => name === 'back-up').note).toMatch(/difference 0\.\d\d, repeats/);
    expect(await readFile(join(folder, 'whole', 'report.html'), 'utf8')).toContain(report.digest.slice(0, 12));
  });

  it('works on nothing twice', async () => {
    const again = await tremolo(train('again'), join(folder, 'cache-1'));
    expect(again.stderr.match(/kept from before/g)?.length).toBeGreaterThanOrEqual(8);
    expect(json(again).digest).not.toBe('');
    expect(json(again).stages.find(({ name }: { name: string }) => name === 'teacher').status).toBe('cached');
    expect(json(again).test).toEqual(json(whole).test);
  });

  it('goes on after Ctrl-C, to the very bundle of an uninterrupted run', async () => {
    const stopped = await tremolo(train('whole'), join(folder, 'cache-2'), 'teacher 50 %');
    expect(stopped.code).toBe(1);
    expect(stopped.stderr.trim().split('\n').at(-1)).toMatch(/^interrupted: .*the same command goes on/);
    expect(existsSync(join(folder, 'cache-2'))).toBe(true);
    const resumed = await tremolo(train('whole'), join(folder, 'cache-2'));
    expect(resumed.code, resumed.stderr).toBe(0);
    // The first half of the teacher was not trained again.
    expect(resumed.stderr).not.toContain('step 1 of 24');
    expect(json(resumed).digest).toBe(json(whole).digest);
  });

  it('with --require-gate ends with 1 where the gate is not passed', async () => {
    const { code, stdout } = await tremolo([...train('whole'), '--require-gate', '--latency-ms', '0.0001'], join(folder, 'cache-1'));
    expect(stdout).toContain('NOT passed');
    expect(code).toBe(1);
  });

  it('takes drift thresholds from long healthy recordings, which promise longer run lengths than the validation part', async () => {
    const healthy = join(folder, 'healthy');
    const made = await tremolo(['simulate', '--healthy', '--out', healthy, '--machines', '2', '--seconds', '530', '--seed', '4'], folder);
    expect(made.code, made.stderr).toBe(0);
    const calibrated = await tremolo([...train('calibrated'), '--drift-set', healthy], join(folder, 'cache-1'));
    expect(calibrated.code, calibrated.stderr).toBe(0);
    const { thresholds } = (await readBundle(join(folder, 'calibrated'))).manifest.drift!;
    // 2,069 windows of each machine, of which an alarm takes 2.5 times its run length.
    expect(thresholds.map(({ runLength }) => runLength)).toEqual([500, 1655]);
    expect(thresholds[1].shift).toBeGreaterThan(thresholds[0].shift);
    expect((await readBundle(join(folder, 'whole'))).manifest.drift?.thresholds.at(-1)?.runLength ?? 0).toBeLessThan(1655);
    const refused = async (set: string) => (await tremolo([...train('x'), '--drift-set', set], join(folder, 'cache-1'))).stderr.trim();
    expect((await refused(join(folder, 'plant'))).split('\n').at(-1)).toMatch(/^usage\/drift-set: .* is trained on as well/);
    const short = join(folder, 'short');
    await tremolo(['simulate', '--healthy', '--out', short, '--machines', '1', '--seconds', '60', '--seed', '4'], folder);
    expect((await refused(short)).split('\n').at(-1)).toMatch(/^usage\/drift-set: .* has 233 windows where 512 are needed/);
  });

  it('does not write over a bundle that another command made, unless it is told to', async () => {
    const { code, stderr } = await tremolo([...train('whole'), '--seed', '2'], join(folder, 'cache-1'));
    expect(code).toBe(2);
    expect(stderr.trim().split('\n').at(-1)).toMatch(/^train\/there: .*--replace/);
    expect((await readBundle(join(folder, 'whole'))).digest).toBe(json(whole).digest);
  });
});
