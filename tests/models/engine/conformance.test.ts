import { describe, expect, it } from 'vitest';
import { type Engine, emptyTensor, floatTensor, scalarTensor } from '../../../models/engine/engine.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { BACKUP } from '../../../models/networks/mixer-network.ts';
import { Random } from '../../../models/networks/random.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { TrainingStepper } from '../../../models/training/stepper.ts';
import { traceInference } from '../../../models/training/trace-inference.ts';
import { type TrainingOptions, traceTrainingStep } from '../../../models/training/trace-training.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError, numbers } from '../../support/numbers.ts';

const network = createNetwork({ ...BACKUP, width: 8, layers: 1, channels: 1, classes: 4 });
const weights = { parameters: network.parameters.initialize(new Random(1)), statistics: network.statistics.initialize(new Random(1)) };
const graph = encodeOnnx(traceInference(network, { input: 'float32', reference: false, temperature: 1 }, weights));
const feeds = (count: number) => ({
  window: floatTensor(numbers(512 * count), [count, 512, 1]),
  scale: floatTensor(new Float32Array(count).fill(1), [count, 1]),
});

const training: TrainingOptions = { batch: 4, input: 'windows', dropout: false, featureMask: false, distillation: false };
// An epsilon this large makes AdamW's step a smooth function of the gradient; otherwise the first one is its sign, rounding noise included.
const step = encodeOnnx(traceTrainingStep(network, { ...training, optimizer: { beta1: 0.9, beta2: 0.99, epsilon: 0.1 } }, weights));
const batch = {
  ...feeds(4),
  target: floatTensor(
    Float32Array.from({ length: 16 }, (_, index) => Number(index % 5 === 0)),
    [4, 4],
  ),
  sampleWeight: floatTensor(Float32Array.of(1, 1, 0.5, 2), [4]),
  classWeight: floatTensor(Float32Array.of(1, 2, 1, 1), [4]),
  labelSmoothing: scalarTensor(0.1),
};

/** Losses and gradient norms of five training steps, and what was trained. */
async function trained(engine: Engine): Promise<{ figures: number[]; trainable: Float32Array }> {
  const stepper = new TrainingStepper(await engine.load({ graph: step }), weights.parameters);
  const figures: number[] = [];
  for (let count = 0; count < 5; count++) {
    const { loss, gradientNorm } = await stepper.step(batch, { learningRate: 1e-2, weightDecay: 0.01, clipNorm: 1 });
    figures.push(loss, gradientNorm);
  }
  const trainable = stepper.optimizer.trainable.slice();
  await stepper.release();
  return { figures, trainable };
}

/** How far engines may be from the plain JavaScript one after five training steps, relative to 1 or the larger value. */
const TRAINING_BOUND = 2e-5;

/** What every engine must do alike. */
describe.each(Object.entries(ENGINES))('engine %s', (_name, make) => {
  it('states name, version and threads', async () => {
    const engine = await make();
    expect(engine.name).toMatch(/^[a-z]/);
    expect(engine.version).toMatch(/^\d+\.\d+/);
    expect(engine.threads).toBeGreaterThan(0);
  });

  it('runs batches of 1, 4, 16 and 64 of one session, and a window is the same in each', async () => {
    const session = await (await make()).load({ graph });
    const all = (await session.run(feeds(64))).logits.values as Float32Array;
    for (const count of [1, 4, 16, 64]) {
      const { logits } = await session.run(feeds(count));
      expect(logits.shape).toEqual([count, 4]);
      expect(largestError(logits.values as Float32Array, all.slice(0, count * 4))).toBeLessThan(1e-5);
    }
    await session.release();
  });

  it('takes the training steps of the plain JavaScript engine', async () => {
    const [own, expected] = [await trained(await make()), await trained(await ENGINES.cpu())];
    expect(largestError(own.figures, expected.figures)).toBeLessThan(TRAINING_BOUND);
    expect(largestError(own.trainable, expected.trainable)).toBeLessThan(TRAINING_BOUND);
    expect(largestError(expected.trainable, weights.parameters)).toBeGreaterThan(1e-2);
  });

  it('writes into the memory that it is given', async () => {
    const session = await (await make()).load({ graph });
    const logits = emptyTensor('float32', [2, 4]);
    const results = await session.run(feeds(2), { logits });
    expect(results.logits.values).toBe(logits.values);
    expect((logits.values as Float32Array).some((value) => value !== 0)).toBe(true);
    await session.release();
  });

  it('refuses a missing input, another shape and another type', async () => {
    const session = await (await make()).load({ graph });
    const good = feeds(1);
    await expect(session.run({ window: good.window })).rejects.toThrow(/scale/);
    await expect(session.run({ ...good, window: floatTensor(numbers(256), [1, 256, 1]) })).rejects.toThrow();
    await expect(session.run({ ...good, window: { type: 'int16', shape: [1, 512, 1], values: new Int16Array(512) } })).rejects.toThrow();
    await session.release();
  });

  it('refuses what is not a graph', async () => {
    const engine = await make();
    await expect(engine.load({ graph: new Uint8Array([1, 2, 3, 4]) })).rejects.toThrow();
  });
});
