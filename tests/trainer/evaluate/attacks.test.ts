import { beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../../models/engine/engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceInference } from '../../../models/training/trace-inference.ts';
import { cutWindows, type Windows } from '../../../trainer/data/windows.ts';
import { type AttackTarget, attackCurves } from '../../../trainer/evaluate/attacks.ts';
import { runWindows } from '../../../trainer/train/run-windows.ts';
import { DEFAULT_SETTINGS, trainNetwork } from '../../../trainer/train/train-network.ts';
import { ENGINES } from '../../support/engines.ts';
import { TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

const OPTIONS = { ...STUDENT, channels: 2, classes: 3, width: 16, feedForward: 32, layers: 1 };
const BUDGETS = [0, 0.01, 0.1, 0.3];

describe('an attack', () => {
  let engine: Engine;
  let target: AttackTarget;
  /** Windows as they were given to what is attacked. */
  const seen: Windows[] = [];
  const windows = cutWindows(tinyRecordings(8, 9), TINY_CLASSES, 512, 256);

  beforeAll(async () => {
    engine = await ENGINES.onnxruntime();
    const network = createNetwork(OPTIONS);
    const settings = { ...DEFAULT_SETTINGS, steps: 40, batch: 24, learningRate: 5e-3, averaging: 0 };
    const request = { options: OPTIONS, recordings: tinyRecordings(), classes: TINY_CLASSES, settings };
    const { weights } = await trainNetwork(engine, request);
    const graph = encodeOnnx(traceInference(network, { input: 'float32', reference: false, temperature: 1 }, weights));
    const probabilitiesOf = async (given: Windows) => {
      seen.push(given);
      return runWindows(engine, graph, given, [512, 2], 'probabilities');
    };
    target = { options: OPTIONS, weights, probabilitiesOf };
  });

  it('of budget 0 does nothing, of a large one much, and PGD as much as FGSM', async () => {
    const [fgsm, pgd] = await attackCurves(engine, target, windows, { seed: 1, budgets: BUDGETS, most: 60 });
    expect([fgsm.kind, pgd.kind]).toEqual(['fgsm', 'pgd']);
    for (const { points } of [fgsm, pgd]) {
      expect(points.map(({ level }) => level)).toEqual(BUDGETS);
      expect(points[0].success).toBe(0);
      expect(points[0].accuracy).toBeGreaterThan(0.9);
    }
    // 60 windows: a window or two are noise.
    fgsm.points.forEach(({ success }, index) => {
      expect(pgd.points[index].success!).toBeGreaterThanOrEqual(success! - 0.05);
    });
    expect(pgd.points.at(-1)!.success!).toBeGreaterThan(0.5);
    expect(pgd.points.at(-1)!.accuracy).toBeLessThan(0.5);
  });

  it('stays within its budget of the RMS of each channel, and is the same for the same seed', async () => {
    // A second channel ten times as loud and far from zero: it may move ten times as far.
    const samples = windows.samples.map((value, at) => (at % 2 === 0 ? value : 10 * value + 50));
    const settings = { seed: 4, budgets: [0.1], most: 3 };
    seen.length = 0;
    const first = await attackCurves(engine, target, { ...windows, samples }, settings);
    const [original, ...attacks] = seen;
    expect(attacks).toHaveLength(2);
    for (const attacked of attacks) {
      // Only windows that were right are attacked: here all of them, so that the rows are the same.
      expect(attacked.count).toBe(original.count);
      for (let row = 0; row < original.count; row++) {
        for (const channel of [0, 1]) {
          const rows = (from: Windows) => from.samples.subarray(row * 1024, (row + 1) * 1024).filter((_, at) => at % 2 === channel);
          const [before, after] = [rows(original), rows(attacked)];
          const mean = before.reduce((a, b) => a + b / 512, 0);
          const rms = Math.sqrt(before.reduce((a, b) => a + (b - mean) ** 2 / 512, 0));
          const farthest = Math.max(...before.map((value, at) => Math.abs(value - after[at])));
          expect(farthest / rms).toBeGreaterThan(0.09);
          expect(farthest / rms).toBeLessThan(0.1001);
        }
      }
    }
    seen.length = 0;
    expect(await attackCurves(engine, target, { ...windows, samples }, settings)).toEqual(first);
    expect(seen.slice(1)).toEqual(attacks);
  });

  it('stops at the signal', async () => {
    const signal = AbortSignal.abort(new Error('stopped'));
    await expect(attackCurves(engine, target, windows, { seed: 1, signal })).rejects.toThrow('stopped');
  });
});
