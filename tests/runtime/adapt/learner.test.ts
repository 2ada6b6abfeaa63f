import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_SCHEME } from '../../../models/adapters/scheme.ts';
import { type Bundle, bankLayout, readBundle } from '../../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { indexOfLargest } from '../../../runtime/adapt/guard.ts';
import type { Learner, LearnerExamples } from '../../../runtime/adapt/learner.ts';
import { takeWindows } from '../../../runtime/adapt/raw-windows.ts';
import { cannotLearn, openLearner } from '../../../runtime/io/adapt-bundle.ts';
import { cutWindows } from '../../../trainer/data/windows.ts';
import { argmaxRows, metricsOf } from '../../../trainer/evaluate/metrics.ts';
import { encodeWindows } from '../../../trainer/release/feeds.ts';
import { DEFAULT_SETTINGS, trainNetwork } from '../../../trainer/train/train-network.ts';
import { makeBundle } from '../../support/make-bundle.ts';
import { CLASSES, machine, RECIPE } from '../../trainer/tune/machines.ts';

let bundle: Bundle;
let learner: Learner;
let release: () => Promise<void>;
/** Another machine of the kind, with the truth beside. */
let target: ReturnType<typeof sent>;

function sent(shift: number, seed: number) {
  const windows = cutWindows(machine(shift, 8, seed), CLASSES, RECIPE.window, RECIPE.stride);
  return { count: windows.count, ...encodeWindows(windows, 1), labels: windows.labels };
}

beforeAll(async () => {
  const engine = await createOnnxruntimeEngine();
  const recordings = machine(0);
  const options = { ...STUDENT, channels: 1, classes: CLASSES.length, width: 16, feedForward: 32, layers: 1 };
  const settings = { ...DEFAULT_SETTINGS, steps: 150, seed: 1 };
  const { weights } = await trainNetwork(engine, { options, recordings, classes: CLASSES, settings });
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-learner-')), 'bundle');
  const windows = cutWindows(recordings, CLASSES, RECIPE.window, RECIPE.stride);
  const lineage = { set: 'machine', split: 'all', seed: 1 };
  const request = {
    name: 'm',
    classes: CLASSES,
    recipe: RECIPE,
    primary: { options, weights },
    adapter: DEFAULT_SCHEME,
    lineage,
    version: '0.0.0',
    temperature: 1,
  };
  await makeBundle(folder, engine, request, recordings, async (decide) =>
    metricsOf(windows.labels, argmaxRows(await decide(windows), CLASSES.length), CLASSES.length),
  );
  bundle = await readBundle(folder, ['core', 'adapt']);
  ({ learner, release } = await openLearner(engine, bundle));
  target = sent(1, 7);
});
afterAll(() => release());

const decisions = async (windows: Parameters<Learner['decide']>[0], adapter?: Float32Array) => {
  const probabilities = await learner.decide(windows, adapter);
  return Array.from({ length: windows.count }, (_, row) => {
    const own = probabilities.subarray(row * CLASSES.length, (row + 1) * CLASSES.length);
    return { decided: indexOfLargest(own), sure: Math.max(...own) };
  });
};

function examples(rows: readonly number[], more: Partial<LearnerExamples> = {}): LearnerExamples {
  return {
    ...takeWindows(target, rows),
    labels: Int32Array.from(rows, (row) => target.labels[row]),
    heldOut: new Uint8Array(rows.length),
    trusted: new Uint8Array(rows.length),
    rejected: CLASSES.map(() => false),
    ...more,
  };
}

const some = (label: number, count: number) => [...target.labels.keys()].filter((row) => target.labels[row] === label).slice(2, 2 + count);
const rightShare = async (adapter?: Float32Array) => {
  const made = await decisions(target, adapter);
  return made.filter(({ decided }, row) => decided === target.labels[row]).length / target.count;
};
const nothing = () => takeWindows(target, []);

describe('a gateway’s learner', () => {
  it('learns another machine from three labels a class, keeps what it knew, and gives the same adapter twice', async () => {
    const labelled = examples(CLASSES.flatMap((_, label) => some(label, 3)));
    const first = await learner.learn(labelled, undefined, nothing());
    expect(first.refusal).toBeUndefined();
    expect(await rightShare(first.adapter)).toBeGreaterThan(await rightShare());
    const { base, own } = await learner.known(first.adapter);
    expect(own).toBeGreaterThanOrEqual(base);
    expect(first.guard!.known.windows).toBe(2 * CLASSES.length);
    expect(await learner.learn(labelled, undefined, nothing())).toEqual(first);
  });

  it('sets a label aside that contradicts a sure decision, until a second one or a higher tier says so too', async () => {
    const made = await decisions(target);
    const wrong = [...made.keys()].filter((row) => made[row].sure >= 0.95 && made[row].decided === target.labels[row]).slice(0, 2);
    expect(wrong).toHaveLength(2);
    const kind = (made[wrong[0]].decided + 1) % CLASSES.length;
    const alone = await learner.learn(examples([wrong[0]], { labels: Int32Array.of(kind) }), undefined, nothing());
    expect(alone).toMatchObject({ refusal: expect.stringContaining('contradicts a sure decision'), used: [] });
    const same = [...made.keys()].filter((row) => made[row].sure >= 0.95 && made[row].decided === made[wrong[0]].decided).slice(0, 2);
    const two = await learner.learn(examples(same, { labels: Int32Array.of(kind, kind) }), undefined, nothing());
    expect(two.used).toEqual([0, 1]);
    expect(two.contested[made[wrong[0]].decided]).toBe(true);
    const checked = examples([wrong[0]], { labels: Int32Array.of(kind), trusted: Uint8Array.of(1) });
    expect((await learner.learn(checked, undefined, nothing())).used).toEqual([0]);
  });

  it('compares two adapters on live windows, and ends where its hooks throw', async () => {
    const live = takeWindows(target, [0, 10, 20, 30]);
    const zero = new Float32Array(bankLayout(bundle.manifest).size);
    const figures = await learner.compare(
      live,
      { current: undefined, candidate: zero },
      CLASSES.map(() => false),
    );
    expect(figures).toMatchObject({ windows: 4, agreement: 1 });
    const tired = () => Promise.reject(new Error('5 s of CPU are used up'));
    await expect(learner.learn(examples(some(1, 2)), undefined, live, undefined, { onStep: tired })).rejects.toThrow('used up');
  });

  it('is not to be had of a bundle without the part, or with references', () => {
    const { manifest } = bundle;
    const { adapt: _adapt, ...bare } = manifest.parts;
    expect(cannotLearn(manifest)).toBeUndefined();
    expect(cannotLearn({ ...manifest, parts: bare })).toMatch(/no part adapt/);
    expect(cannotLearn({ ...manifest, reference: { windows: 4 } })).toMatch(/reference/);
  });
});
