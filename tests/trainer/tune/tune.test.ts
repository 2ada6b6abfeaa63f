import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { bankRow } from '../../../models/adapters/scheme.ts';
import { type Bundle, bankLayout, bundleModel, checkAnswers, FILES, readAdapter, readBundle } from '../../../models/bundle/bundle.ts';
import { type Engine, floatTensor } from '../../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { createNetwork, type NetworkOptions } from '../../../models/networks/index.ts';
import { BACKUP } from '../../../models/networks/mixer-network.ts';
import { adapt, DEFAULT_ADAPTATION } from '../../../runtime/adapt/adaptation.ts';
import { BundleDecider } from '../../../trainer/evaluate/bundle-decider.ts';
import { readBase } from '../../../trainer/release/base.ts';
import { inferenceFeeds } from '../../../trainer/release/feeds.ts';
import { Decider } from '../../../trainer/tune/decider.ts';
import { mergeDelta, refuseDelta } from '../../../trainer/tune/delta.ts';
import { featuresOf, readReplay } from '../../../trainer/tune/front-end.ts';
import type { MethodName } from '../../../trainer/tune/method.ts';
import { imbalance } from '../../../trainer/tune/methods/statistics.ts';
import { releaseTuned } from '../../../trainer/tune/release.ts';
import { remeasure, restandardize } from '../../../trainer/tune/standardize.ts';
import type { CutRecordings } from '../../../trainer/tune/target.ts';
import { type TuneRequest, tuneBundle } from '../../../trainer/tune/tune.ts';
import { chooseCandidate } from '../../../trainer/tune/validate.ts';
import { largestError } from '../../support/numbers.ts';
import { CLASSES, cut, machine, trainedBundle } from './machines.ts';

let engine: Engine;
let bundle: Bundle;
let folder: string;
let target: CutRecordings;
let source: CutRecordings;

beforeAll(async () => {
  engine = await createOnnxruntimeEngine();
  ({ folder, bundle } = await trainedBundle());
  target = cut(machine(0.5, 8, 4));
  source = cut(machine(0, 8, 5));
});

const request = (method: TuneRequest['method'], more: Partial<TuneRequest['settings']> = {}, shots = 1): TuneRequest => ({
  method,
  shots,
  bankOnly: false,
  settings: { steps: 40, prefixLength: 4, seed: 1, ...more },
});

describe('a machine that the bundle does not know', () => {
  it.each(['lora', 'head', 'prototypes', 'full'] as const)(
    'is recovered by %s from one label a class, and the first stays known',
    async (method) => {
      const { before, after, tuned } = await tuneBundle(engine, bundle, target, source, request(method));
      expect(before.target.accuracy).toBeLessThan(0.85);
      expect(before.source.accuracy).toBeGreaterThan(0.97);
      expect(after.target.accuracy).toBeGreaterThan(0.95);
      expect(after.source.accuracy).toBeGreaterThan(0.95);
      expect(after.source.measuredOn).toBe('recordings');
      expect(tuned.trainable).toBeGreaterThan(0);
    },
  );

  it('is brought nearer by a prefix', async () => {
    const { before, after } = await tuneBundle(engine, bundle, target, source, request('prefix'));
    expect(after.target.accuracy).toBeGreaterThan(before.target.accuracy + 0.1);
    expect(after.source.accuracy).toBeGreaterThan(0.9);
  });

  it('costs what was known where nothing is replayed', async () => {
    const far = cut(machine(0.8, 8, 4));
    const { examples, context, after } = await tuneBundle(engine, bundle, far, source, request('lora', {}, 2));
    const session = await engine.load(bundleModel(bundle, FILES.adapt));
    const initial = readAdapter(bundle, bundle.files.get(FILES.adapter)!, FILES.adapter);
    const none = { features: new Float32Array(0), labels: new Int32Array(0) };
    const forgetful = await adapt(session, initial, examples.shots, none, { ...DEFAULT_ADAPTATION, steps: 40 });
    const decider = await Decider.ofBundle(engine, bundle, context.network, context.base.statistics);
    const known = await featuresOf(engine, bundle, source.windows);
    const { logits } = await decider.decide(known.features, bankRow(bundle.manifest.adapter, bankLayout(bundle.manifest), forgetful));
    const right = known.labels.filter((label, row) => {
      const own = logits.subarray(row * CLASSES.length, (row + 1) * CLASSES.length);
      return own.indexOf(Math.max(...own)) === label;
    }).length;
    expect(right / known.labels.length).toBeLessThan(after.source.accuracy - 0.1);
  });

  it('is measured on replay windows where no source recordings are given, and says so', async () => {
    const { before } = await tuneBundle(engine, bundle, target, undefined, request('prototypes'));
    expect(before.source.measuredOn).toBe('replay');
    expect(before.source.windows).toBe(readReplay(bundle).labels.length);
  });
});

describe('the same seed', () => {
  it('gives the same adapter, bit for bit; another seed draws other windows', async () => {
    const [a, b, c] = [1, 1, 2].map((seed) => tuneBundle(engine, bundle, target, undefined, request('lora', { seed, steps: 8 })));
    expect((await b).tuned.adapter).toEqual((await a).tuned.adapter);
    expect((await b).after).toEqual((await a).after);
    expect((await c).draw.shots).not.toEqual((await a).draw.shots);
  });
});

describe('the adapter of lora', () => {
  it('decides in the bundle itself just as it was measured', async () => {
    const { tuned, after, draw } = await tuneBundle(engine, bundle, target, undefined, request('lora', { steps: 20 }));
    const layout = bankLayout(bundle.manifest);
    const bank = new Float32Array(2 * layout.size);
    bank.set(bankRow(bundle.manifest.adapter, layout, tuned.adapter!), layout.size);
    const session = await engine.load(bundleModel(bundle, FILES.infer));
    const feeds = inferenceFeeds(target.windows, { window: 512, channels: 1 }, floatTensor(bank, [2, layout.size]), 1);
    const logits = (await session.run(feeds)).logits.values as Float32Array;
    const right = draw.measured.filter((row) => {
      const own = logits.subarray(row * CLASSES.length, (row + 1) * CLASSES.length);
      return own.indexOf(Math.max(...own)) === target.windows.labels[row];
    }).length;
    expect(right / draw.measured.length).toBe(after.target.accuracy);
    // The graph without its front end is the very graph.
    const { features } = await featuresOf(engine, bundle, target.windows);
    const network = createNetwork(bundle.manifest.network as NetworkOptions);
    const decider = await Decider.ofBundle(engine, bundle, network, readBase(bundle).primary.weights.statistics);
    expect(largestError((await decider.decide(features, bank.subarray(layout.size))).logits, logits)).toBeLessThan(1e-4);
  });
});

describe('auto', () => {
  it('measures what is possible, names why it left out the rest, and takes the best', async () => {
    const { method, methods, after } = await tuneBundle(engine, bundle, target, source, request('auto', { steps: 20 }, 2));
    expect(methods.map((row) => row.method)).toEqual(['statistics', 'prototypes', 'head', 'lora', 'prefix', 'full']);
    const scores = methods
      .filter(({ validation }) => validation)
      .map((row) => ({ ...row, score: row.validation!.target + row.validation!.source }));
    const best = Math.max(...scores.map(({ score }) => score));
    const chosen = scores.find((row) => row.method === method)!;
    expect((best - chosen.score) / 2).toBeLessThanOrEqual(1 / chosen.validation!.windows);
    expect(after.target.accuracy).toBeGreaterThan(0.9);
  });

  it('never tries statistics on a mostly healthy stream', async () => {
    const healthy = [...machine(0.5, 60, 6).slice(0, 1), ...machine(0.5, 2, 6).slice(1)];
    const { method, methods } = await tuneBundle(engine, bundle, cut(healthy), undefined, request('auto', { steps: 4 }));
    expect(methods.find((row) => row.method === 'statistics')?.refused).toMatch(/mostly one class \(9\d %/);
    expect(method).not.toBe('statistics');
    const forced = await tuneBundle(engine, bundle, cut(healthy), undefined, request('statistics'));
    expect(forced.warnings.join()).toMatch(/do not deploy/);
  });

  it('among equals takes what fits the bank, then what is safe anywhere, then the fewest bytes', () => {
    const row = (name: string, target: number, inBank: boolean, adapterBytes: number, conditional = false) => ({
      name,
      inBank,
      conditional,
      adapterBytes,
      validation: { target, source: 1, windows: 50 },
    });
    expect(chooseCandidate([row('a', 1, false, 10), row('b', 0.99, true, 500), row('c', 0.8, true, 1)]).name).toBe('b');
    expect(chooseCandidate([row('a', 1, false, 1, true), row('b', 1, false, 9), row('c', 0.9, true, 1)]).name).toBe('b');
    expect(chooseCandidate([row('a', 1, false, 10), row('b', 1, false, 9)]).name).toBe('b');
  });

  it('says so where the bundle is as good as it is', async () => {
    const { warnings, unadapted } = await tuneBundle(engine, bundle, source, undefined, request('auto', { steps: 4 }));
    expect(unadapted!.target).toBe(1);
    expect(warnings.join()).toMatch(/no method is better than the bundle as it is/);
  });
});

describe('imbalance', () => {
  it.each([
    [[10, 10, 10, 10], false],
    [[10, 10, 0, 10], false],
    [[90, 4, 3, 3], true],
    [[0, 0, 0, 40], true],
  ])('of %j is %s', (balance, refused) => {
    expect(imbalance(balance) !== undefined).toBe(refused);
  });
});

describe('statistics measured again', () => {
  it('are those of the windows, and features go over and back', async () => {
    const { features } = await featuresOf(engine, bundle, target.windows);
    const network = createNetwork(bundle.manifest.network as NetworkOptions);
    const { statistics } = readBase(bundle).primary.weights;
    const measured = remeasure(network, features, statistics);
    const own = restandardize(network, features, statistics, measured);
    expect(largestError(restandardize(network, own, measured, statistics), features)).toBeLessThan(1e-4);
    const [frames] = network.parts;
    const width = own.length / target.windows.count;
    let [sum, square, count] = [0, 0, 0];
    for (let row = 0; row < target.windows.count; row++) {
      for (let token = 0; token < frames.tokens; token++) {
        const value = own[row * width + token * frames.width];
        sum += value;
        square += value * value;
        count++;
      }
    }
    expect(sum / count).toBeCloseTo(0, 4);
    expect(square / count).toBeCloseTo(1, 3);
  });
});

describe('merging', () => {
  const merged = async (method: MethodName, more: Partial<TuneRequest['settings']> = {}) => {
    const result = await tuneBundle(engine, bundle, target, source, request(method, more));
    const out = join(folder, '..', `merged-${method}`);
    return { result, out, release: await releaseTuned(out, 'second machine', result, target, source) };
  };

  it('lora gives a bundle that decides as base and adapter did, names its parent and keeps the replay', async () => {
    const { out, release, result } = await merged('lora');
    expect(release.delta.changed / release.delta.windows).toBeLessThanOrEqual(0.01);
    expect(release.delta.relative).toBeLessThan(0.1);
    expect(release.delta.largest).toBeGreaterThan(0);
    const fresh = await readBundle(out, ['core', 'adapt', 'server']);
    expect(fresh.manifest.lineage.parent).toBe(bundle.digest);
    expect(fresh.manifest.base).not.toBe(bundle.manifest.base);
    expect(fresh.manifest.measured.accuracy).toBe(release.measured.accuracy);
    expect(release.measured.accuracy).toBeGreaterThan(result.before.target.accuracy + 0.1);
    await checkAnswers(fresh, await engine.load(bundleModel(fresh, FILES.infer)));
    expect(readReplay(fresh).labels.length).toBe(readReplay(bundle).labels.length + CLASSES.length);
    // The new bundle needs no adapter for the second machine.
    const again = await tuneBundle(engine, fresh, target, source, request('prototypes'));
    expect(again.before.target.accuracy).toBeGreaterThan(0.95);
    expect(again.before.source.accuracy).toBeGreaterThan(0.95);
  });

  it('lora of another rank and other layers works the same way', async () => {
    const { result, release } = await merged('lora', { rank: 2, targets: ['head'] });
    expect(result.tuned.trainable).toBe(2 * (32 + CLASSES.length));
    expect(release.delta.changed / release.delta.windows).toBeLessThanOrEqual(0.01);
  });

  it('other statistics carry the replay windows over to them', async () => {
    const { release } = await merged('statistics');
    const network = createNetwork(bundle.manifest.network as NetworkOptions);
    const [old, fresh] = [bundle, release.bundle].map((each) => ({
      replay: readReplay(each),
      own: readBase(each).primary.weights.statistics,
    }));
    const back = restandardize(network, fresh.replay.features, fresh.own, old.own);
    expect(largestError(back.subarray(0, old.replay.features.length), old.replay.features)).toBeLessThan(1e-4);
  });

  it('scores novelty anew where the parent did, and leaves it out where there are too few windows', async () => {
    const result = await tuneBundle(engine, bundle, target, source, request('lora'));
    const { manifest } = result.context.bundle;
    const scoring = (share: number) => ({
      ...result,
      context: { ...result.context, bundle: { ...result.context.bundle, manifest: { ...manifest, novelty: { threshold: 1, share } } } },
    });
    const out = join(folder, '..', 'merged-novelty');
    const { bundle: made, noveltyLeftOut } = await releaseTuned(out, 'second machine', scoring(0.1), target, source);
    expect(noveltyLeftOut).toBeUndefined();
    expect(made.manifest.novelty?.share).toBe(0.1);
    const decider = await BundleDecider.open(engine, made);
    const scores = await decider.run(target.windows, 'novelty');
    await decider.release();
    expect(scores.filter((score) => score > made.manifest.novelty!.threshold).length).toBeLessThanOrEqual(0.2 * scores.length);
    const known = target.windows.count + source.windows.count;
    const without = await releaseTuned(out, 'second machine', scoring(1e-3), target, source);
    expect(without.noveltyLeftOut).toEqual({ windows: known, needed: 999 });
    expect(without.bundle.manifest.novelty).toBeUndefined();
  });

  it('a prefix becomes the adapter that the new bundle brings along', async () => {
    const { out, result } = await merged('prefix');
    const fresh = await readBundle(out);
    expect(fresh.manifest.adapter).toEqual({ kind: 'prefix', length: 4 });
    expect(readAdapter(fresh, await readFile(join(out, FILES.adapter)), 'adapter')).toEqual(result.tuned.adapter);
  });

  it('refuses what decides otherwise than it was measured', () => {
    const reference = Float32Array.of(4, 0, 0, 4, 4, 0, 0, 4);
    expect(mergeDelta(reference, reference, 2)).toMatchObject({ windows: 4, mean: 0, largest: 0, changed: 0 });
    refuseDelta(mergeDelta(reference, reference, 2));
    const other = mergeDelta(Float32Array.of(4, 0, 4, 0, 4, 0, 0, 4), reference, 2);
    expect(other).toMatchObject({ changed: 1, mean: 1, largest: 4 });
    expect(() => refuseDelta(other)).toThrow(/decides 1 of 4 windows otherwise/);
    expect(() =>
      refuseDelta(
        mergeDelta(
          reference.map(() => Number.NaN),
          reference,
          2,
        ),
      ),
    ).toThrow(/otherwise/);
  });
});

describe('a network without attention', () => {
  it('refuses a prefix and is tuned by lora', async () => {
    const mixer = await trainedBundle({ ...BACKUP, channels: 1, classes: CLASSES.length, width: 16, layers: 1, tokenHidden: 8 });
    await expect(tuneBundle(engine, mixer.bundle, target, source, request('prefix'))).rejects.toThrow(/mixer network has no attention/);
    const { before, after } = await tuneBundle(engine, mixer.bundle, target, source, request('lora'));
    expect(after.target.accuracy).toBeGreaterThan(before.target.accuracy);
  });
});

it('stops between two steps where it is aborted', async () => {
  const signal = AbortSignal.abort(new Error('enough'));
  await expect(tuneBundle(engine, bundle, target, source, request('lora'), { signal })).rejects.toThrow('enough');
});
