import { describe, expect, it } from 'vitest';
import { adapterLayout } from '../../../models/adapters/adapter.ts';
import { bankRow } from '../../../models/adapters/scheme.ts';
import { bankLayout, bundleModel, FILES, readBundle } from '../../../models/bundle/bundle.ts';
import { decodeSafetensors } from '../../../models/bundle/schema/safetensors.ts';
import { floatTensor, scalarTensor, type TensorData } from '../../../models/engine/engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { BACKUP } from '../../../models/networks/mixer-network.ts';
import { Random } from '../../../models/networks/random.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { cosineRate, TrainingStepper } from '../../../models/training/stepper.ts';
import { type TrainingOptions, traceGradient, traceTrainingStep, traceUpdate } from '../../../models/training/trace-training.ts';
import { cutWindows } from '../../../trainer/data/windows.ts';
import { argmaxRows } from '../../../trainer/evaluate/metrics.ts';
import { inferenceFeeds } from '../../../trainer/release/feeds.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError, numbers } from '../../support/numbers.ts';
import { makeTinyBundle, TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

const RATE = { learningRate: 1e-2, weightDecay: 0.01, clipNorm: 1 };
const PLAIN: Omit<TrainingOptions, 'batch'> = { input: 'windows', dropout: false, featureMask: false, distillation: false };

function batchOf(rows: readonly number[], weights: readonly number[]): Record<string, TensorData> {
  const target = new Float32Array(rows.length * 4);
  rows.forEach((row, at) => {
    target[4 * at + (row % 4)] = 1;
  });
  return {
    window: floatTensor(Float32Array.from(rows.flatMap((row) => [...numbers(512, row + 1)])), [rows.length, 512, 1]),
    scale: floatTensor(new Float32Array(rows.length).fill(1), [rows.length, 1]),
    target: floatTensor(target, [rows.length, 4]),
    sampleWeight: floatTensor(Float32Array.from(weights), [rows.length]),
    classWeight: floatTensor(new Float32Array(4).fill(1), [4]),
    labelSmoothing: scalarTensor(0),
  };
}

describe('the learning rate', () => {
  it('follows the cosine of the reference', () => {
    const expected = [
      0.001, 0.000975773, 0.000905463, 0.000795954, 0.000657963, 0.000505, 0.000352037, 0.000214046, 0.000104537, 3.4227e-5, 1e-5,
    ];
    expected.forEach((rate, step) => {
      expect(cosineRate(step, { peak: 1e-3, final: 1e-5, warmUp: 0, steps: 10 })).toBeCloseTo(rate, 8);
    });
  });

  it('warms up in a straight line', () => {
    expect([0, 1, 2, 3].map((step) => cosineRate(step, { peak: 4, final: 0, warmUp: 4, steps: 100 }))).toEqual([1, 2, 3, 4]);
  });
});

describe('training graphs', () => {
  const network = createNetwork({ ...BACKUP, width: 8, layers: 1, channels: 1, classes: 4 });
  const weights = { parameters: network.parameters.initialize(new Random(1)), statistics: network.statistics.initialize(new Random(1)) };
  const shape = [network.parameters.size];

  it('accumulated over two halves of a batch, gradient and update give the step of the whole batch', async () => {
    const engine = await ENGINES.onnxruntime();
    const whole = new TrainingStepper(
      await engine.load({ graph: encodeOnnx(traceTrainingStep(network, { ...PLAIN, batch: 8 }, weights)) }),
      weights.parameters,
    );
    await whole.step(batchOf([0, 1, 2, 3, 4, 5, 6, 7], new Array(8).fill(1)), RATE);

    const gradient = await engine.load({ graph: encodeOnnx(traceGradient(network, { ...PLAIN, batch: 4 }, weights)) });
    const trainable = floatTensor(weights.parameters, shape);
    let accumulated: TensorData = floatTensor(new Float32Array(shape[0]), shape);
    for (const rows of [
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]) {
      accumulated = (await gradient.run({ ...batchOf(rows, [1, 1, 1, 1]), trainable, accumulated })).gradient;
    }
    const update = await engine.load({ graph: encodeOnnx(traceUpdate(network, {})) });
    const zeros = () => floatTensor(new Float32Array(shape[0]), shape);
    const updated = await update.run({
      trainable,
      firstMoment: zeros(),
      secondMoment: zeros(),
      gradient: accumulated,
      gradientScale: scalarTensor(0.5),
      learningRate: scalarTensor(RATE.learningRate),
      weightDecay: scalarTensor(RATE.weightDecay),
      clipNorm: scalarTensor(RATE.clipNorm),
      step: scalarTensor(1),
    });
    // The first AdamW step is the sign of the gradient: where that is rounding noise, so is its sign.
    const moment = updated.firstMomentNext.values as Float32Array;
    const [a, b] = [updated.trainableNext.values as Float32Array, whole.optimizer.trainable];
    const sure = Array.from(moment.keys()).filter((index) => Math.abs(moment[index]) > 1e-6);
    expect(sure.length).toBeGreaterThan(0.5 * moment.length);
    expect(
      largestError(
        sure.map((index) => a[index]),
        sure.map((index) => b[index]),
      ),
    ).toBeLessThan(1e-5);
  });

  it.each([{ kind: 'prefix', length: 3 }, { kind: 'head' }] as const)('train a $kind adapter on a frozen network', async (adapter) => {
    const frozen = createNetwork({ ...STUDENT, width: 16, feedForward: 16, layers: 1, channels: 1, classes: 4 });
    const base = { parameters: frozen.parameters.initialize(new Random(1)), statistics: frozen.statistics.initialize(new Random(1)) };
    const layout = adapterLayout(adapter, frozen);
    const graph = encodeOnnx(traceTrainingStep(frozen, { ...PLAIN, batch: 4, adapter }, base));
    const initial = layout.initialize(new Random(2));
    const stepper = new TrainingStepper(await (await ENGINES.onnxruntime()).load({ graph }), initial);
    const losses: number[] = [];
    for (let step = 0; step < 30; step++) losses.push((await stepper.step(batchOf([0, 1, 2, 3], [1, 1, 1, 1]), RATE)).loss);
    // A prefix can only move attention of a network that knows nothing yet: little, but surely down.
    expect(losses.at(-1)!).toBeLessThan(losses[0] - 0.05);
    if (adapter.kind === 'prefix') expect(layout.view(stepper.optimizer.trainable, 'gate')[0]).toBe(1);
  });

  it('padding of weight 0 changes nothing', async () => {
    const engine = await ENGINES.onnxruntime();
    const step = async (batch: number, rows: number[], sampleWeights: number[]) => {
      const stepper = new TrainingStepper(
        await engine.load({ graph: encodeOnnx(traceTrainingStep(network, { ...PLAIN, batch }, weights)) }),
        weights.parameters,
      );
      return stepper.step(batchOf(rows, sampleWeights), RATE);
    };
    const padded = await step(6, [0, 1, 2, 3, 9, 9], [1, 1, 1, 1, 0, 0]);
    const plain = await step(4, [0, 1, 2, 3], [1, 1, 1, 1]);
    expect(padded.loss).toBeCloseTo(plain.loss, 5);
    expect(padded.gradientNorm).toBeCloseTo(plain.gradientNorm, 4);
  });

  it('the same seed gives the same bits, with 1 and 2 threads', async () => {
    const runs = await Promise.all(
      ['onnxruntime', 'onnxruntime', 'onnxruntime, 2 threads'].map(async (name) => {
        const engine = await ENGINES[name]();
        const stepper = new TrainingStepper(
          await engine.load({ graph: encodeOnnx(traceTrainingStep(network, { ...PLAIN, batch: 4 }, weights)) }),
          weights.parameters,
        );
        for (let step = 0; step < 5; step++) await stepper.step(batchOf([step, step + 1, step + 2, step + 3], [1, 1, 1, 1]), RATE);
        return [...stepper.optimizer.trainable];
      }),
    );
    expect(runs[1]).toEqual(runs[0]);
    expect(runs[2]).toEqual(runs[0]);
  });
});

describe('the adaptation graph of a bundle', () => {
  it('trains an adapter on the int8 base that the deciding graph then uses', async () => {
    const { folder } = await makeTinyBundle();
    const bundle = await readBundle(folder, ['core', 'adapt']);
    const { manifest } = bundle;
    const layout = bankLayout(manifest);
    expect(layout.size).toBe(adapterLayout(manifest.adapter, createNetwork(manifest.network)).size);
    const engine = await ENGINES.onnxruntime();
    const session = await engine.load(bundleModel(bundle, FILES.adapt));
    const initial = new Float32Array(layout.size);
    const { tensors: own } = decodeSafetensors(bundle.files.get(FILES.adapter)!, FILES.adapter);
    for (const { name, offset } of layout.parameters) initial.set(own[name].values as Float32Array, offset);
    const stepper = new TrainingStepper(session, initial);

    const { tensors } = decodeSafetensors(bundle.files.get(FILES.replay)!, FILES.replay);
    const [count, width] = tensors.features.shape;
    const batch = session.inputs.find(({ name }) => name === 'features')!.shape[0] as number;
    const [features, target, sampleWeight] = [new Float32Array(batch * width), new Float32Array(batch * 3), new Float32Array(batch)];
    for (let row = 0; row < Math.min(batch, count); row++) {
      features.set((tensors.features.values as Float32Array).subarray(row * width, (row + 1) * width), row * width);
      target[3 * row + (tensors.labels.values as Int32Array)[row]] = 1;
      sampleWeight[row] = 1;
    }
    const feeds = {
      features: floatTensor(features, [batch, width]),
      target: floatTensor(target, [batch, 3]),
      sampleWeight: floatTensor(sampleWeight, [batch]),
      classWeight: floatTensor(new Float32Array(3).fill(1), [3]),
      labelSmoothing: scalarTensor(0),
    };
    const losses: number[] = [];
    for (let step = 0; step < 60; step++) losses.push((await stepper.step(feeds, RATE)).loss);
    expect(losses.at(-1)!).toBeLessThan(0.3 * losses[0]);

    const windows = cutWindows(tinyRecordings(4, 99), TINY_CLASSES, 512, 256);
    const infer = await engine.load(bundleModel(bundle, FILES.infer));
    const bank = floatTensor(
      Float32Array.from([...new Float32Array(layout.size), ...bankRow(manifest.adapter, layout, stepper.optimizer.trainable)]),
      [2, layout.size],
    );
    const accuracy = async (adapter: number) => {
      const feedsOf = inferenceFeeds(windows, { window: 512, channels: 2 }, bank, adapter);
      const decided = argmaxRows((await infer.run(feedsOf)).logits.values as Float32Array, 3);
      return decided.filter((label, row) => label === windows.labels[row]).length / windows.count;
    };
    // The base is untrained; what decides right after adaptation is the adapter alone.
    expect(await accuracy(0)).toBeLessThan(0.7);
    expect(await accuracy(1)).toBeGreaterThan(0.95);
  });
});
