import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { HEAD_SCHEME } from '../../../models/adapters/scheme.ts';
import { bundleModel, checkAnswers, FILES, readBundle } from '../../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { LINEAR, type LinearNetworkOptions } from '../../../models/networks/linear-network.ts';
import { Random } from '../../../models/networks/random.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceFrontEnd } from '../../../models/training/trace-inference.ts';
import { withReferences } from '../../../trainer/data/commissioning.ts';
import { heldRecording, type Recording } from '../../../trainer/data/recording-set.ts';
import { cutWindows } from '../../../trainer/data/windows.ts';
import { BundleDecider } from '../../../trainer/evaluate/bundle-decider.ts';
import { argmaxRows, metricsOf } from '../../../trainer/evaluate/metrics.ts';
import { RidgeClassifier } from '../../../trainer/evaluate/ridge.ts';
import { joinWindows, pickWindows } from '../../../trainer/evaluate/sampling.ts';
import { pickRecipe, type Recipe, type RecipeScore, recipesFor, solveLinear, trainRecipe } from '../../../trainer/train/candidates.ts';
import { runNetwork, runWindows } from '../../../trainer/train/run-windows.ts';
import { DEFAULT_SETTINGS } from '../../../trainer/train/train-network.ts';
import { featuresOf } from '../../../trainer/tune/front-end.ts';
import { makeBundle } from '../../support/make-bundle.ts';
import { largestError } from '../../support/numbers.ts';
import { CLASSES, machine } from '../tune/machines.ts';

const engine = await createOnnxruntimeEngine();

describe('a linear network on several kinds of features', () => {
  const options: LinearNetworkOptions = { ...LINEAR, channels: 1, classes: CLASSES.length, tokens: ['bands', 'demodulation', 'shape'] };
  const windows = cutWindows(machine(0), CLASSES, 512, 256);

  it('adds the scores of a ridge on each kind by itself', async () => {
    const solved = await solveLinear(engine, options, windows, 3);
    const { logits } = await runNetwork(engine, solved, windows);
    const sum = new Float32Array(logits.length);
    for (const kind of options.tokens) {
      const own = createNetwork({ ...options, tokens: [kind] });
      const features = await runWindows(engine, encodeOnnx(traceFrontEnd(own, 'float32')), windows, [512, 1], 'features');
      const scores = new RidgeClassifier(features, windows.labels, CLASSES.length, 3).scores(features);
      scores.forEach((score, at) => {
        sum[at] += score;
      });
    }
    expect(largestError(logits, sum)).toBeLessThan(1e-3);
    expect(metricsOf(windows.labels, argmaxRows(logits, CLASSES.length), CLASSES.length).accuracy).toBeGreaterThan(0.9);
  });

  it('is another one where the penalty is', async () => {
    const [one, other] = [await solveLinear(engine, options, windows), await solveLinear(engine, options, windows, 100)];
    expect(largestError(one.weights.parameters, other.weights.parameters)).toBeGreaterThan(1e-3);
    const again = await solveLinear(engine, options, windows);
    expect(again.weights.parameters).toEqual(one.weights.parameters);
  });
});

describe('the choice among recipes', () => {
  const recipes = recipesFor(false);
  const scored = (...folds: number[][]): RecipeScore[] =>
    folds.map((own, index) => ({ name: recipes[index].name, folds: own, mean: own.reduce((a, b) => a + b, 0) / own.length }));

  it.each([
    ['the only one that was tried', scored([0.999, 1]), 'attention on frames'],
    ['the best network where folds agree', scored([0.96, 0.97], [0.97, 0.98], [0.94, 0.95], [0.9, 0.9]), 'attention on all spectra'],
    ['the first of equals', scored([0.96], [0.961], [0.95], [0.961]), 'attention on frames'],
    ['a solved one that is best', scored([0.3, 0.3], [0.4, 0.4], [0.76, 0.88], [0.4, 0.4]), 'sum of ridges'],
    [
      'the best solved one where a network is better by luck',
      scored([0.6, 0.3], [0.97, 0.58], [0.96, 0.57], [0.82, 0.66]),
      'sum of ridges',
    ],
    ['a network that one fold says is better', scored([0.97], [0.9], [0.96], [0.9]), 'attention on frames'],
  ])('is %s', (_, scores, name) => {
    expect(recipes[pickRecipe(recipes, scores)].name).toBe(name);
  });
});

/** Machines whose healthy waveforms have nothing in common; the same small dent, early or late, is what is wrong with a sick one. */
const KINDS = ['normal', 'early', 'late'];
function triggered(machines: readonly number[], cases: number): { recordings: Recording[]; references: Recording[] } {
  const random = new Random(5);
  const [recordings, references]: [Recording[], Recording[]] = [[], []];
  for (const number of machines) {
    const own = new Random(100 + number);
    const waveform = Float32Array.from({ length: 600 }, () => own.normal());
    for (const [index, label] of KINDS.entries()) {
      for (let count = 0; count < cases + (index === 0 ? 3 : 0); count++) {
        const samples = waveform.map((value, t) => {
          const from = index === 1 ? 100 : 300;
          const dent = index > 0 && t >= from && t < from + 30 ? 0.3 : 0;
          return 5 + 2 * (value + dent + 0.05 * random.normal());
        });
        const file = `${number}-${label}-${count}`;
        const fields = { file, label, n_samples: 600, n_channels: 1, dtype: 'float32' as const, sample_rate_hz: 1000, machine: number };
        const recording = heldRecording({ entry: fields, label, channels: ['x'], sampleRateHz: 1000 }, samples);
        (index === 0 && count < 3 ? references : recordings).push(recording);
      }
    }
  }
  return { recordings, references };
}

describe('a ridge on what differs from a machine’s commissioning reference', () => {
  const { recordings, references } = triggered([1, 2, 3], 8);
  const known = withReferences(recordings, references, { machineOf: ({ machine: number }) => number as number });
  const [train, test] = [known.filter(({ entry }) => entry.machine !== 3), known.filter(({ entry }) => entry.machine === 3)];
  const recipe = recipesFor(true).find(({ name }) => name.includes('reference'))!;
  const solve = (one: Recipe, on: readonly Recording[]) =>
    trainRecipe(engine, one, on, KINDS, { ...DEFAULT_SETTINGS, seed: 1 }, { stride: 1024 });
  const windows = cutWindows(test, KINDS, 512, 1024);
  const accuracyOf = (scores: Float32Array) => metricsOf(windows.labels, argmaxRows(scores, KINDS.length), KINDS.length).accuracy;

  it('is a candidate only where machines are commissioned', () => {
    expect(recipesFor(false)).not.toContain(recipe);
    expect(recipesFor(true).slice(0, -1)).toEqual(recipesFor(false));
  });

  it('decides on a machine that training never saw, and without references cannot', async () => {
    expect(windows.count).toBe(test.length);
    expect(accuracyOf((await runNetwork(engine, await solve(recipe, train), windows)).logits)).toBe(1);
    const bare = { ...recipe, network: { ...recipe.network, reference: false } as LinearNetworkOptions };
    expect(accuracyOf((await runNetwork(engine, await solve(bare, train), windows)).logits)).toBeLessThan(0.8);
  });

  it('refuses windows that know of no reference', async () => {
    const strangers = cutWindows(triggered([3], 1).recordings, KINDS, 512, 1024);
    await expect(runNetwork(engine, await solve(recipe, train), strangers)).rejects.toThrow(
      /takes references, and these windows know of none/,
    );
  });

  it('deployed as int8 decides alike, through a bank made by its own graph, and proves itself by known answers', async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-reference-')), 'bundle');
    const written = await makeBundle(
      folder,
      engine,
      {
        name: 'referenced',
        classes: KINDS,
        recipe: { sampleRateHz: 1000, window: 512, stride: 1024, channels: ['x'] },
        primary: await solve(recipe, train),
        adapter: HEAD_SCHEME,
        temperature: 1,
        referenceKey: 'machine',
        lineage: { set: 'made', split: 'machine 3', seed: 1 },
        version: '0.0.0',
      },
      train,
      async (probabilities) => metricsOf(windows.labels, argmaxRows(await probabilities(windows), KINDS.length), KINDS.length),
    );
    expect(written.manifest.measured.accuracy).toBe(1);
    const bundle = await readBundle(folder, ['core', 'adapt']);
    expect(bundle.manifest.reference).toEqual({ windows: 3, key: 'machine' });
    const decider = await BundleDecider.open(engine, bundle);
    await decider.commission(windows);
    expect(accuracyOf(await decider.probabilitiesOf(windows))).toBe(1);
    await decider.release();
    const session = await engine.load(bundleModel(bundle, FILES.infer));
    expect(await checkAnswers(bundle, session)).toBeLessThanOrEqual(bundle.manifest.answers.tolerance);
    await session.release();
    await expect(featuresOf(engine, bundle, windows)).rejects.toMatchObject({ code: 'tune/reference' });
  });

  it('keeps each window with its machine, however windows are picked and joined', () => {
    const all = cutWindows(known, KINDS, 512, 1024);
    expect([...new Set(all.commissioning!.machines)]).toEqual([1, 2, 3]);
    expect([...all.commissioning!.references.commissioning!.machines]).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3]);
    const last = all.count - 1;
    expect([...joinWindows([pickWindows(all, [last, 0]), pickWindows(all, [last])]).commissioning!.machines]).toEqual([3, 1, 3]);
  });
});
