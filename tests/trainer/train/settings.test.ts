import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { gate } from '../../../trainer/evaluate/gate.ts';
import { parseDuration, readSettings } from '../../../trainer/train/settings.ts';

async function file(text: string): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), 'tremolo-settings-')), 'train.yaml');
  await writeFile(path, text);
  return path;
}

describe('train.yaml', () => {
  it('is read with defaults for what it leaves out', async () => {
    const settings = await readSettings(await file('data: { where: [role=main], test: load_hp=3 }\nbudget: 8m\nteacher: false\n'));
    expect(settings).toMatchObject({ budget: 480, teacher: false, seed: 1, data: { where: ['role=main'], test: 'load_hp=3' } });
    expect(settings.baselines).toEqual(['ridge', 'forest', 'minirocket']);
  });

  it('is refused with every mistake and its line, in one line', async () => {
    const path = await file('seed: -1\nbudget: soon\nstudent:\n  steps: many\nprunes: false\n');
    const error = await readSettings(path).catch((refusal) => refusal);
    expect(error).toMatchObject({ code: 'train/settings' });
    expect(error.message).not.toContain('\n');
    for (const part of ['line 1, seed', 'line 2, budget', 'line 4, student.steps', 'prunes']) expect(error.message).toContain(part);
  });

  it('that is missing or no YAML is refused', async () => {
    await expect(readSettings('/nowhere/train.yaml')).rejects.toMatchObject({ code: 'train/settings' });
    await expect(readSettings(await file('a: [1'))).rejects.toMatchObject({ code: 'train/settings' });
  });

  it('takes durations as people write them', () => {
    expect([parseDuration('90s'), parseDuration('8m'), parseDuration('1.5h'), parseDuration('8')]).toEqual([90, 480, 5400, undefined]);
  });
});

describe('the gate', () => {
  const scores = (balancedAccuracy: number) => ({ accuracy: 0.5, balancedAccuracy, macroF1: 0.5 });
  const good = {
    deployed: scores(0.98),
    baselines: { ridge: scores(0.9), forest: scores(0.97) },
    float: scores(0.982),
    latencyMs: 1,
    allowedLatencyMs: 20,
    classes: 12,
  };
  const dual = (difference: number) => ({
    ...{ windows: 100, repeatedErrors: 0.1, sharedErrors: 0.5 },
    ...{ difference, falseSwitchRate: 0, backupShare: 0.1 },
  });

  it('lets through what is better than every baseline, small enough a loss and fast', () => {
    expect(gate(good)).toEqual({ passed: true, reasons: [] });
    expect(gate({ ...good, deployed: scores(1), float: scores(1), baselines: { ridge: scores(1) } }).passed).toBe(true);
  });

  it('names everything that stands against a bundle', () => {
    const { passed, reasons } = gate({ ...good, deployed: scores(0.965), float: scores(0.975), latencyMs: 30 });
    expect(passed).toBe(false);
    expect(reasons).toHaveLength(3);
    expect(reasons.join()).toMatch(/forest.*shrinking cost 1.00 points.*30.0 ms/);
  });

  it('wants a back-up that errs differently, where there is more than one wrong class to err into', () => {
    expect(gate({ ...good, dual: dual(0.31) }).passed).toBe(true);
    expect(gate({ ...good, dual: dual(0.3) }).reasons.join()).toMatch(/back-up.*difference 0.300, more than 0.3 is demanded/);
    expect(gate({ ...good, dual: dual(0), classes: 2 }).passed).toBe(true);
  });

  it('takes a draw for no proof', () => {
    expect(gate({ ...good, baselines: { ridge: scores(0.98) } }).passed).toBe(false);
  });
});
