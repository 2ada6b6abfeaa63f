import { existsSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readBundle } from '../../../models/bundle/bundle.ts';
import type { Engine } from '../../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { retrain } from '../../../trainer/server/retrain.ts';
import { holdOut } from '../../../trainer/server/retrain-windows.ts';
import type { LabelledWindow } from '../../../trainer/server/store.ts';
import { labelledWindows } from '../../support/evidence.ts';
import { machine, trainedBundle, writeSet } from '../tune/machines.ts';

let engine: Engine;
let bundle: string;
let known: string;
beforeAll(async () => {
  engine = await createOnnxruntimeEngine();
  bundle = (await trainedBundle()).folder;
  known = await writeSet(machine(0, 8, 9));
});

const again = async (windows: readonly LabelledWindow[], full = { windows: 1000, machines: 1000, steps: 120 }) => {
  const out = join(await mkdtemp(join(tmpdir(), 'tremolo-retrain-')), 'bundle');
  return {
    out,
    result: await retrain(engine, { bundle, out, windows, known, steps: 60, full, seed: 1, tolerance: 0.05, suspicion: 0.08 }),
  };
};

describe('retraining on labels of another machine', () => {
  it('is better on what is new, no worse on what is old, and says what it was made of', async () => {
    const windows = labelledWindows(machine(0.6), { count: 6 });
    const { out, result } = await again(windows);
    expect(result, result.reason).toMatchObject({ outcome: 'accepted', quarantined: [] });
    expect(result.new!.after).toBeGreaterThan(result.new!.before);
    expect(result.old!.after).toBeGreaterThanOrEqual(result.old!.before - 0.05);
    const made = await readBundle(out, ['core', 'adapt', 'server']);
    expect(made.digest).toBe(result.digest);
    expect(made.manifest.lineage.parent).toBe(result.parent);
    expect(result.pseudonyms).toEqual(['asset-1', 'ann-1']);
    // A third of each class was judged on, and not learned from.
    expect(result.windows).toHaveLength(16);
    const repeated = await again(windows);
    expect(repeated.result.new).toEqual(result.new);
  });

  it('trains all weights where there is much to learn, held against old and new alike', async () => {
    const windows = labelledWindows(machine(0.6), { count: 6 });
    const { out, result } = await again(windows, { windows: 16, machines: 1000, steps: 120 });
    expect(result, result.reason).toMatchObject({ outcome: 'accepted', method: 'full', why: '16 labelled windows' });
    expect(result.new!.after).toBeGreaterThan(result.new!.before);
    expect(result.old!.after).toBeGreaterThanOrEqual(result.old!.before - 0.05);
    const made = await readBundle(out, ['core', 'adapt', 'server']);
    expect(made.manifest.lineage).toMatchObject({ parent: result.parent, split: expect.stringContaining('tuned by full') });
  });

  it('quarantines the annotator whose labels cost what is known, and learns from the others', async () => {
    const good = labelledWindows(machine(0.6), { count: 6 });
    // Healthy and knocking windows of the old kind of machine, each under the other's name.
    const swapped: Record<string, string> = { normal: 'knock', knock: 'normal', hum: 'rub', rub: 'hum' };
    const bad = labelledWindows(machine(0, 8, 21), { count: 4, annotator: 'mallory', named: (label) => swapped[label] }).map((window) => ({
      ...window,
      stream: 'lathe',
    }));
    const { result } = await again([...good, ...bad]);
    expect(result.outcome, result.reason).toBe('accepted');
    expect(result.quarantined.length).toBeGreaterThan(0);
    for (const { label, reason } of result.quarantined) {
      expect(label).toMatch(/^mallory-/);
      expect(reason).toMatch(/costs \d+\.\d points of accuracy on what is known, 8\.0 are allowed/);
    }
    expect(result.pseudonyms).not.toContain('mallory');
  });

  it('writes nothing where it would be no better', async () => {
    const { out, result } = await again(labelledWindows(machine(0, 8, 5), { count: 3 }));
    expect(result).toMatchObject({
      ...{ outcome: 'refused', method: 'full', reason: expect.stringContaining('no better') },
      why: expect.stringContaining('low-rank tuning did not pass: it is no better'),
    });
    expect(existsSync(out)).toBe(false);
  });

  it('refuses windows of other channels or classes', async () => {
    const odd = labelledWindows(machine(0.6), { count: 1, named: () => 'flood' });
    await expect(again(odd)).rejects.toMatchObject({ code: 'retrain/windows' });
  });
});

describe('holding windows out', () => {
  it('never learns from a window that shares a sample with one that it is judged on', () => {
    const [window] = labelledWindows(machine(0, 1), { count: 1 });
    const windows = Array.from({ length: 9 }, (_, index) => ({ ...window, endSequence: 512 + 256 * index }));
    const { learned, held } = holdOut(windows, 512);
    expect(held).toEqual([6, 7, 8]);
    // Window 5 ends in the middle of window 6.
    expect(learned).toEqual([0, 1, 2, 3, 4]);
  });
});
