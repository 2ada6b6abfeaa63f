import { beforeAll, describe, expect, it } from 'vitest';
import { bankLayout, bundleModel, FILES, readAdapter } from '../../../models/bundle/bundle.ts';
import type { Session } from '../../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { Random } from '../../../models/networks/random.ts';
import { adapt, DEFAULT_ADAPTATION } from '../../../runtime/adapt/adaptation.ts';
import { AdaptationBatches } from '../../../runtime/adapt/adaptation-batches.ts';
import { joinFeatures, type LabelledFeatures, rowsByClass, takeRows } from '../../../runtime/adapt/labelled-features.ts';
import { cutWindows } from '../../../trainer/data/windows.ts';
import { featuresOf, readReplay } from '../../../trainer/tune/front-end.ts';
import { numbers } from '../../support/numbers.ts';
import { makeTinyBundle, TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

const settings = { ...DEFAULT_ADAPTATION, steps: 12 };
const none: LabelledFeatures = { features: new Float32Array(0), labels: new Int32Array(0) };

let session: Session;
let initial: Float32Array;
let examples: LabelledFeatures;
let replay: LabelledFeatures;

beforeAll(async () => {
  const engine = await createOnnxruntimeEngine();
  const { bundle } = await makeTinyBundle();
  session = await engine.load(bundleModel(bundle, FILES.adapt));
  initial = readAdapter(bundle, bundle.files.get(FILES.adapter)!, FILES.adapter);
  expect(initial.length).toBe(bankLayout(bundle.manifest).size);
  const windows = cutWindows(tinyRecordings(2, 9), TINY_CLASSES, 512, 256);
  examples = takeRows(await featuresOf(engine, bundle, windows), [0, 12, 24]);
  replay = readReplay(bundle);
});

describe('adaptation through the graph that a bundle carries', () => {
  it('gives the same adapter for the same seed, bit for bit, and another for another', async () => {
    const first = await adapt(session, initial, examples, replay, settings);
    expect(await adapt(session, initial, examples, replay, settings)).toEqual(first);
    expect(await adapt(session, initial, examples, replay, { ...settings, seed: 2 })).not.toEqual(first);
  });

  it('lowers the loss and leaves the vector it began with as it was', async () => {
    const losses: number[] = [];
    const before = initial.slice();
    await adapt(session, initial, examples, replay, { ...settings, steps: 40 }, { onStep: ({ loss }) => void losses.push(loss) });
    expect(losses).toHaveLength(40);
    expect(losses.at(-1)!).toBeLessThan(losses[0] / 2);
    expect(initial).toEqual(before);
  });

  it('stops at once where it is aborted between two steps', async () => {
    const abort = new AbortController();
    const steps: number[] = [];
    const adapting = adapt(session, initial, examples, replay, settings, {
      signal: abort.signal,
      onStep: ({ step }) => {
        steps.push(step);
        if (step === 3) abort.abort(new Error('enough'));
      },
    });
    await expect(adapting).rejects.toThrow('enough');
    expect(steps).toEqual([1, 2, 3]);
  });

  it('refuses windows that do not fit the graph, and none at all', async () => {
    const narrow = { features: examples.features.subarray(1), labels: examples.labels };
    await expect(adapt(session, initial, narrow, replay, settings)).rejects.toThrow(/examples: .* are not 3 rows/);
    const foreign = { features: examples.features, labels: Int32Array.of(0, 1, 3) };
    await expect(adapt(session, initial, foreign, replay, settings)).rejects.toThrow(/label 3 where there are 3 classes/);
    await expect(adapt(session, initial, none, replay, settings)).rejects.toThrow(/none to adapt to/);
  });

  it('says so where training diverges', async () => {
    const wild = { ...examples, features: examples.features.map(() => Number.NaN) };
    await expect(adapt(session, initial, wild, none, settings)).rejects.toThrow(/loss is NaN after 1 steps/);
  });
});

describe('batches of an adaptation', () => {
  const labelled = (labels: number[], first: number): LabelledFeatures => ({
    features: Float32Array.from(labels, (_, row) => first + row),
    labels: Int32Array.from(labels),
  });

  it('hold the share of replay that was asked for, and every class as often as any other', () => {
    // Class 0 has nine times the rows of class 1.
    const own = labelled([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 100);
    const known = labelled([0, 1, 2], 200);
    const batches = new AdaptationBatches({ rows: 60, features: 1, classes: 3 }, own, known, 1 / 3, new Random(4));
    let rare = 0;
    for (let step = 0; step < 50; step++) {
      const { features, target } = batches.next();
      const rows = [...(features.values as Float32Array)];
      expect(rows.filter((value) => value >= 200)).toHaveLength(20);
      rare += rows.filter((value) => value === 109).length;
      rows.forEach((value, row) => {
        const label = value >= 200 ? known.labels[value - 200] : own.labels[value - 100];
        expect([...(target.values as Float32Array).subarray(3 * row, 3 * row + 3)]).toEqual(
          [0, 1, 2].map((other) => (other === label ? 1 : 0)),
        );
      });
    }
    // 50 steps of 40 rows, half of them of class 1: 1000 +- five standard deviations.
    expect(Math.abs(rare - 1000)).toBeLessThan(112);
  });

  it('are of the machine alone where there is no replay', () => {
    const batches = new AdaptationBatches({ rows: 6, features: 1, classes: 2 }, labelled([0, 1], 1), none, 1 / 3, new Random(1));
    expect([...(batches.next().features.values as Float32Array)].every((value) => value === 1 || value === 2)).toBe(true);
  });
});

describe('labelled features', () => {
  it('are taken by row and joined in order', () => {
    const all = { features: numbers(12), labels: Int32Array.of(2, 0, 2) };
    const [a, b] = [takeRows(all, [2, 0]), takeRows(all, [1])];
    expect([...a.labels]).toEqual([2, 2]);
    expect([...a.features.subarray(0, 4)]).toEqual([...all.features.subarray(8, 12)]);
    const joined = joinFeatures([a, b]);
    expect([...joined.labels]).toEqual([2, 2, 0]);
    expect([...joined.features.subarray(8)]).toEqual([...all.features.subarray(4, 8)]);
    expect(rowsByClass(all.labels)).toEqual([[1], [0, 2]]);
  });
});
