import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { adapterLayout, adapterView } from '../../../models/adapters/adapter.ts';
import { type AdapterScheme, bankRow, DEFAULT_SCHEME } from '../../../models/adapters/scheme.ts';
import type { TensorData } from '../../../models/engine/engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { frontEnd, standardize } from '../../../models/networks/front-end.ts';
import { createNetwork, type NetworkOptions } from '../../../models/networks/index.ts';
import { BACKUP } from '../../../models/networks/mixer-network.ts';
import { splitParameters } from '../../../models/networks/parameter-tensors.ts';
import { Random } from '../../../models/networks/random.ts';
import { elementCount, type ValueInfo } from '../../../models/trace/graph.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { referenceSize, traceInference } from '../../../models/training/trace-inference.ts';
import { batchLoss, type TrainingOptions, traceTrainingStep, trainableLayout } from '../../../models/training/trace-training.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError, numbers } from '../../support/numbers.ts';

const SMALL = { width: 32, feedForward: 48, channels: 2, classes: 5 };
const NETWORKS: Record<string, NetworkOptions> = {
  'attention, spectral tokens': { ...STUDENT, ...SMALL },
  'attention, raw patches': { ...STUDENT, ...SMALL, tokens: ['patches'] },
  'attention, spectra and patches, window 1024': {
    ...STUDENT,
    ...SMALL,
    window: 1024,
    tokens: ['spectrum', 'patches'],
    patch: 32,
  },
  mixer: { ...BACKUP, channels: 2, classes: 5 },
};
const SCHEMES: Record<string, AdapterScheme | undefined> = {
  none: undefined,
  lora: {
    ...DEFAULT_SCHEME,
    targets: ['layer*.ffn.*', 'head', 'embed.*'],
  } as AdapterScheme,
  head: { kind: 'head' },
};

function weightsOf(options: NetworkOptions) {
  const network = createNetwork(options);
  const parameters = network.parameters.initialize(new Random(3));
  const statistics = network.statistics.initialize(new Random(4)).map((value) => value * 0.9 - 0.1);
  return { network, weights: { parameters, statistics } };
}

/** Feeds for every input of a graph: plausible where it matters, arbitrary elsewhere. */
function feedsFor(
  inputs: readonly ValueInfo[],
  batch: number,
  special: Record<string, Float32Array | Int32Array | Int16Array>,
): Record<string, TensorData> {
  const scalars: Record<string, number> = {
    learningRate: 1e-3,
    weightDecay: 0.01,
    clipNorm: 1,
    step: 3,
    labelSmoothing: 0.1,
    temperature: 2,
    distillationWeight: 0.4,
  };
  return Object.fromEntries(
    inputs.map(({ name, type, shape }, index) => {
      const sizes = shape.map((size) => (size === 'N' ? batch : size === 'K' ? 5 : (size as number)));
      const count = elementCount(sizes);
      const values = special[name] ?? (name in scalars ? Float32Array.of(scalars[name]) : numbers(count, index + 11, 0.05, 1));
      return [name, { type, shape: sizes, values }];
    }),
  );
}

function oneHot(batch: number, classes: number): Float32Array {
  const target = new Float32Array(batch * classes);
  for (let row = 0; row < batch; row++) target[row * classes + (row % classes)] = 1;
  return target;
}

describe.each(Object.entries(NETWORKS))('%s', (_name, options) => {
  const { network, weights } = weightsOf(options);
  const { window, channels } = network.frontEnd;

  describe.each(Object.entries(SCHEMES))('with adapter %s', (_scheme, adapter) => {
    it('has the logits and embedding of tfjs cpu on every engine, batch 3, an adapter a window', async () => {
      const batch = 3;
      const graph = traceInference(network, { input: 'float32', adapter, reference: false, temperature: 1.3 }, weights);
      const layout = adapter && adapterLayout(adapter, network);
      // Five adapters as they come from training, the first all zero.
      const trained =
        layout && Array.from({ length: 5 }, (_, index) => numbers(layout.size, index + 5, -0.3, 0.3).map((x) => (index ? x : 0)));
      const bank = trained && Float32Array.from(trained.flatMap((flat) => [...bankRow(adapter!, layout, flat)]));
      const special: Record<string, Float32Array | Int32Array> = {
        window: numbers(batch * window * channels, 8),
      };
      if (bank)
        Object.assign(special, {
          adapterBank: bank,
          adapterIndex: Int32Array.of(2, 0, 4),
        });
      const feeds = feedsFor(graph.inputs, batch, special);
      await ENGINES.cpu();
      // The oracle computes each window by itself with its own adapter and no batch.
      const expected = [0, 1, 2].map((row) =>
        tf.tidy(() => {
          const one = tf.tensor(feeds.window.values.slice(row * window * channels, (row + 1) * window * channels) as Float32Array, [
            1,
            window,
            channels,
          ]);
          const scale = tf.tensor(feeds.scale.values.slice(row * channels, (row + 1) * channels) as Float32Array, [1, channels]);
          const statistics = splitParameters(network.statistics, tf.tensor1d(weights.statistics));
          const features = standardize(frontEnd(one, scale, network.frontEnd), network.parts, statistics);
          const index = [2, 0, 4][row];
          const view = layout && adapterView(adapter!, splitParameters(layout, tf.tensor1d(trained![index])));
          const { logits, embedding } = network.forward(features, {
            parameters: splitParameters(network.parameters, tf.tensor1d(weights.parameters)),
            adapter: view,
          });
          return {
            logits: [...logits.dataSync()],
            embedding: [...embedding.dataSync()],
          };
        }),
      );
      const model = { graph: encodeOnnx(graph) };
      for (const make of Object.values(ENGINES)) {
        const engine = await make();
        const session = await engine.load(model);
        const { logits, embedding } = await session.run(feeds);
        await session.release();
        expect(
          largestError(
            logits.values as Float32Array,
            expected.flatMap((row) => row.logits),
          ),
          engine.name,
        ).toBeLessThan(1e-5);
        expect(
          largestError(
            embedding.values as Float32Array,
            expected.flatMap((row) => row.embedding),
          ),
          engine.name,
        ).toBeLessThan(1e-5);
      }
      await ENGINES.cpu();
    });

    it('has every gradient of tfjs cpu, and takes the same AdamW step', async () => {
      const batch = 6;
      const training: TrainingOptions = {
        batch,
        input: 'windows',
        adapter,
        dropout: true,
        featureMask: true,
        distillation: true,
      };
      const layout = trainableLayout(network, adapter);
      const graph = traceTrainingStep(network, training, weights);
      const trainable = adapter ? numbers(layout.size, 9, -0.2, 0.2) : weights.parameters;
      const sampleWeight = Float32Array.of(1, 1, 0.5, 1, 2, 0);
      const feeds = feedsFor(graph.inputs, batch, {
        window: numbers(batch * window * channels, 8),
        target: oneHot(batch, network.classes),
        trainable,
        sampleWeight,
        firstMoment: new Float32Array(layout.size),
        secondMoment: new Float32Array(layout.size),
      });
      await ENGINES.cpu();
      const expected = tf.tidy(() => {
        const inputs = Object.fromEntries(
          Object.entries(feeds).map(([name, { values, shape }]) => [name, tf.tensor(values as Float32Array, [...shape])]),
        );
        const compute = batchLoss(
          network,
          training,
          {
            statistics: splitParameters(network.statistics, tf.tensor1d(weights.statistics)),
            parameters: splitParameters(network.parameters, tf.tensor1d(weights.parameters)),
          },
          inputs,
        );
        const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => compute(x).loss as tf.Scalar)(inputs.trainable);
        return {
          loss: value.dataSync()[0],
          gradient: grad.dataSync() as Float32Array,
        };
      });
      const engine = await ENGINES.onnxruntime();
      const session = await engine.load({ graph: encodeOnnx(graph) });
      const results = await session.run(feeds);
      await session.release();
      expect(largestError(results.loss.values as Float32Array, [expected.loss])).toBeLessThan(1e-5);
      // From zero moments, the first moment after one step is (1 - beta1) times the clipped gradient.
      const norm = Math.sqrt(expected.gradient.reduce((sum, g) => sum + g * g, 0));
      expect(largestError(results.gradientNorm.values as Float32Array, [norm])).toBeLessThan(1e-5);
      const clip = Math.min(1, 1 / (norm + 1e-6));
      const first = (results.firstMomentNext.values as Float32Array).map((moment) => moment / 0.1 / clip);
      for (const { name, offset, size } of layout.parameters) {
        expect(largestError(first.subarray(offset, offset + size), expected.gradient.subarray(offset, offset + size)), name).toBeLessThan(
          1e-5,
        );
      }
      const next = results.trainableNext.values as Float32Array;
      layout.parameters.forEach(({ name, offset, size, shape }) => {
        for (let index = offset; index < offset + size; index++) {
          const gradient = expected.gradient[index] * clip;
          // Where the gradient is rounding noise, its normalised step is noise too.
          if (Math.abs(gradient) < 1e-5) continue;
          const [m, v] = [(0.1 * gradient) / (1 - 0.9 ** 3), (0.01 * gradient ** 2) / (1 - 0.99 ** 3)];
          const decay = shape.length > 1 ? 1 - 1e-3 * 0.01 : 1;
          expect(next[index], name).toBeCloseTo(trainable[index] * decay - (1e-3 * m) / (Math.sqrt(v) + 1e-8), 5);
        }
      });
    });
  });

  it('takes a commissioning reference from a bank, row 0 being none', async () => {
    const graph = traceInference(network, { input: 'int16', reference: true, temperature: 1 }, weights);
    const size = referenceSize(network);
    const codes = Int16Array.from(numbers(2 * window * channels, 8), (value) => value * 1000);
    const feeds = feedsFor(graph.inputs, 2, {
      window: codes,
      referenceBank: numbers(5 * size, 6).fill(0, 0, size),
      referenceIndex: Int32Array.of(0, 3),
    });
    const plain = traceInference(network, { input: 'float32', reference: false, temperature: 1 }, weights);
    const engine = await ENGINES.onnxruntime();
    const [withReference, without] = [await engine.load({ graph: encodeOnnx(graph) }), await engine.load({ graph: encodeOnnx(plain) })];
    const referenced = await withReference.run(feeds);
    const bare = await without.run({
      window: {
        ...feeds.window,
        type: 'float32',
        values: Float32Array.from(codes),
      },
      scale: feeds.scale,
    });
    const { classes } = network;
    const [a, b] = [referenced.logits.values as Float32Array, bare.logits.values as Float32Array];
    expect(largestError(a.subarray(0, classes), b.subarray(0, classes))).toBeLessThan(1e-5);
    expect(largestError(a.subarray(classes), b.subarray(classes))).toBeGreaterThan(1e-3);
    expect(referenced.features.shape).toEqual([2, size]);
  });
});
