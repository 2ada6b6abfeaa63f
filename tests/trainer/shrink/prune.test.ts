import { beforeAll, describe, expect, it } from 'vitest';
import { type Engine, emptyTensor, floatTensor } from '../../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { type AttentionNetworkOptions, SPECTRAL_TOKENS, STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { BACKUP } from '../../../models/networks/mixer-network.ts';
import { Random } from '../../../models/networks/random.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceFrontEnd, traceInference } from '../../../models/training/trace-inference.ts';
import { traceGradient } from '../../../models/training/trace-training.ts';
import type { TrainedNetwork } from '../../../trainer/release/base.ts';
import { type PruningPlan, pruneNetwork, type UnitImportance, unitImportance } from '../../../trainer/shrink/prune.ts';
import { BatchSampler, NO_AUGMENTATION } from '../../../trainer/train/batches.ts';
import { largestError, numbers } from '../../support/numbers.ts';
import { TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

const OPTIONS: AttentionNetworkOptions = {
  ...STUDENT,
  tokens: SPECTRAL_TOKENS,
  channels: 2,
  classes: TINY_CLASSES.length,
  width: 16,
  heads: 4,
  headDepth: 4,
  feedForward: 12,
};

/** An untrained network in which nothing is zero by its initial value. */
function untrained(options: AttentionNetworkOptions = OPTIONS): TrainedNetwork {
  const network = createNetwork(options);
  const noise = numbers(network.parameters.size, 7, -0.1, 0.1);
  return {
    options,
    weights: {
      parameters: network.parameters.initialize(new Random(3)).map((value, index) => value + noise[index]),
      statistics: network.statistics.initialize(new Random(0)).map((value, index) => value + Math.abs(noise[index])),
    },
  };
}

/** Zeroes the rows through which heads and units reach the rest, so that they do nothing. */
function silence({ options, weights }: TrainedNetwork, heads: readonly number[][], units: readonly number[][]): TrainedNetwork {
  const { parameters: layout } = createNetwork(options);
  const { headDepth, width } = options as AttentionNetworkOptions;
  const parameters = weights.parameters.slice();
  heads.forEach((layer, index) => {
    const rows = layout.view(parameters, `layer${index}.attention.o.weight`);
    for (const head of layer) rows.fill(0, head * headDepth * width, (head + 1) * headDepth * width);
  });
  units.forEach((layer, index) => {
    const rows = layout.view(parameters, `layer${index}.ffn.out.weight`);
    for (const unit of layer) rows.fill(0, unit * width, (unit + 1) * width);
  });
  return { options, weights: { ...weights, parameters } };
}

function* batches({ options }: TrainedNetwork, count: number, augmentation = NO_AUGMENTATION) {
  const sampler = new BatchSampler(createNetwork(options), tinyRecordings(), TINY_CLASSES, 6, augmentation, new Random(1), 0);
  for (let index = 0; index < count; index++) yield sampler.next();
}

const HEADS = [
  [0, 2],
  [1, 3],
];
const UNITS = [
  [0, 5, 6, 11],
  [1, 2, 3, 10],
];
const PLAN: PruningPlan = { heads: 2, feedForward: 8, hop: 32 };
const ZERO: UnitImportance = {
  heads: [new Float64Array(4), new Float64Array(4)],
  units: [new Float64Array(12), new Float64Array(12)],
};

describe('pruning an attention network', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createOnnxruntimeEngine();
  });

  const input = {
    window: floatTensor(numbers(5 * 512 * 2, 9), [5, 512, 2]),
    scale: floatTensor(new Float32Array(10).fill(1), [5, 2]),
  };
  async function logits({ options, weights }: TrainedNetwork): Promise<Float32Array> {
    const graph = traceInference(createNetwork(options), { input: 'float32', reference: false, temperature: 1 }, weights);
    const session = await engine.load({ graph: encodeOnnx(graph) });
    const made = (await session.run(input)).logits.values as Float32Array;
    await session.release();
    return made;
  }

  it('finds the heads and units that do nothing, and without them decides the same', async () => {
    const silent = silence(untrained(), HEADS, UNITS);
    const importance = await unitImportance(engine, silent, batches(silent, 3));
    const zeros = (values: Float64Array) => [...values.keys()].filter((index) => values[index] === 0);
    expect(importance.heads.map(zeros)).toEqual(HEADS);
    expect(importance.units.map(zeros)).toEqual(UNITS);

    const pruned = pruneNetwork(silent, importance, PLAN);
    expect(createNetwork(pruned.options).parameters.size).toBeLessThan(createNetwork(silent.options).parameters.size);
    expect(largestError(await logits(pruned), await logits(silent))).toBeLessThan(1e-5);
    // The same plan on other units is another network, or the comparison above would prove nothing.
    const wrong = pruneNetwork(silent, ZERO, PLAN);
    expect(largestError(await logits(wrong), await logits(silent))).toBeGreaterThan(1e-3);
  });

  it('copies what stays bit by bit, in its old order', () => {
    const trained = untrained();
    const heads = [Float64Array.of(1, 9, 0, 8), Float64Array.of(5, 0, 0, 7)];
    const units = ZERO.units.map((layer) => layer.map((_, index) => index % 3));
    const pruned = pruneNetwork(trained, { heads, units }, { heads: 2, feedForward: 4, hop: 32 });
    const [given, made] = [trained, pruned].map(({ options, weights }) => {
      const { parameters: layout } = createNetwork(options);
      return (name: string) => layout.view(weights.parameters, name);
    });
    const columns = (values: Float32Array, width: number, kept: number[]) => values.filter((_, index) => kept.includes(index % width));
    expect(made('layer0.attention.q.weight')).toEqual(columns(given('layer0.attention.q.weight'), 16, [4, 5, 6, 7, 12, 13, 14, 15]));
    expect(made('layer1.attention.v.bias')).toEqual(columns(given('layer1.attention.v.bias'), 16, [0, 1, 2, 3, 12, 13, 14, 15]));
    expect(made('layer0.ffn.in.weight')).toEqual(columns(given('layer0.ffn.in.weight'), 12, [2, 5, 8, 11]));
    const rows = [2, 5, 8, 11].flatMap((row) => [...given('layer1.ffn.out.weight').subarray(16 * row, 16 * (row + 1))]);
    expect([...made('layer1.ffn.out.weight')]).toEqual(rows);
    for (const name of ['embed.spectrum.weight', 'classToken', 'positions', 'layer0.ffn.out.bias', 'head.weight'])
      expect(made(name)).toEqual(given(name));
    expect(pruned.weights.statistics).toEqual(trained.weights.statistics);
  });

  it('changes nothing where the plan keeps everything', () => {
    const trained = untrained();
    expect(pruneNetwork(trained, ZERO, { heads: 4, feedForward: 12, hop: 32 })).toEqual(trained);
  });

  it('keeps every second frame with its position', async () => {
    const trained = untrained();
    const pruned = pruneNetwork(trained, ZERO, { heads: 4, feedForward: 12, hop: 64 });
    const positions = ({ options, weights }: TrainedNetwork) => {
      const values = createNetwork(options).parameters.view(weights.parameters, 'positions');
      return Array.from({ length: values.length / 16 }, (_, row) => [...values.subarray(16 * row, 16 * (row + 1))]);
    };
    const frames = [1, 3, 5, 7, 9, 11, 13, 15];
    expect(positions(pruned)).toEqual([0, ...frames, 16, 17, 18].map((row) => positions(trained)[row]));

    const features = async (options: AttentionNetworkOptions) => {
      const session = await engine.load({ graph: encodeOnnx(traceFrontEnd(createNetwork(options), 'float32')) });
      const { values, shape } = (await session.run(input)).features;
      await session.release();
      return Array.from({ length: shape[0] }, (_, row) => (values as Float32Array).subarray(row * shape[1], (row + 1) * shape[1]));
    };
    const [all, half] = [await features(OPTIONS), await features({ ...OPTIONS, hop: 64 })];
    half.forEach((row, index) => {
      // 64 numbers a frame of two channels, 15 frames before.
      const kept = [...frames.flatMap((frame) => [...all[index].subarray(64 * (frame - 1), 64 * frame)]), ...all[index].subarray(15 * 64)];
      expect(largestError(row, kept)).toBeLessThan(1e-5);
    });
  });

  it('measures importance under the augmentation of the batches, which may be drawn anew', async () => {
    const trained = untrained();
    const augmented = await unitImportance(engine, trained, batches(trained, 2, { ...NO_AUGMENTATION, mask: 0.4, dropout: 0.1 }));
    const plain = await unitImportance(engine, trained, batches(trained, 2));
    expect(augmented.units[0].every((value) => value > 0 && Number.isFinite(value))).toBe(true);
    expect(augmented.units[0]).not.toEqual(plain.units[0]);
  });

  it('is the slope of the loss as all parameters of a unit grow together', async () => {
    const trained = untrained();
    const network = createNetwork(OPTIONS);
    const { parameters: layout } = network;
    const [feeds] = batches(trained, 1);
    const importance = await unitImportance(engine, trained, [feeds]);
    const training = { batch: 6, input: 'windows', dropout: false, featureMask: false, distillation: false } as const;
    const session = await engine.load({ graph: encodeOnnx(traceGradient(network, training, trained.weights)) });
    const lossAt = async (growth: number, grow: (name: string, index: number, columns: number) => boolean) => {
      const parameters = trained.weights.parameters.slice();
      for (const { name, shape } of layout.parameters) {
        const columns = shape[shape.length - 1];
        layout.view(parameters, name).forEach((value, index, all) => {
          if (grow(name, index, columns)) all[index] = value * (1 + growth);
        });
      }
      const state = { trainable: floatTensor(parameters, [layout.size]), accumulated: emptyTensor('float32', [layout.size]) };
      return ((await session.run({ ...feeds, ...state })).loss.values as Float32Array)[0];
    };
    const slope = async (grow: (name: string, index: number, columns: number) => boolean) =>
      Math.abs((await lossAt(0.05, grow)) - (await lossAt(-0.05, grow))) / 0.1;
    const unit = await slope(
      (name, index, columns) =>
        (name.startsWith('layer1.ffn.in.') && index % columns === 3) ||
        (name === 'layer1.ffn.out.weight' && Math.floor(index / columns) === 3),
    );
    expect(importance.units[1][3] / unit).toBeCloseTo(1, 1);
    const head = await slope(
      (name, index, columns) =>
        (/^layer0\.attention\.[qkv]\./.test(name) && Math.floor((index % columns) / 4) === 2) ||
        (name === 'layer0.attention.o.weight' && Math.floor(index / columns / 4) === 2),
    );
    expect(importance.heads[0][2] / head).toBeCloseTo(1, 1);
    await session.release();
  });

  it.each([
    [{ ...PLAN, heads: 5 }, '5 heads out of 4'],
    [{ ...PLAN, heads: 0 }, '0 heads out of 4'],
    [{ ...PLAN, feedForward: 13 }, '13 feed-forward units out of 12'],
    [{ ...PLAN, hop: 128 }, 'hop 128 out of 32'],
  ])('refuses %o', (plan, message) => {
    expect(() => pruneNetwork(untrained(), ZERO, plan)).toThrow(new RangeError(message));
  });

  it('refuses a network without heads, and importance without a batch', async () => {
    const mixer = createNetwork(BACKUP);
    const weights = { parameters: new Float32Array(mixer.parameters.size), statistics: new Float32Array(mixer.statistics.size) };
    expect(() => pruneNetwork({ options: BACKUP, weights }, ZERO, PLAN)).toThrow('a network of kind mixer has no heads');
    await expect(unitImportance(engine, untrained(), [])).rejects.toThrow('at least one batch');
  });
});
