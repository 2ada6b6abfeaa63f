import * as tf from '@tensorflow/tfjs-core';
import { type AdapterScheme, DEFAULT_SCHEME } from '../../models/adapters/scheme.ts';
import { createCpuEngine } from '../../models/engine/cpu-engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { frontEnd, standardize } from '../../models/networks/front-end.ts';
import { splitParameters } from '../../models/networks/parameter-tensors.ts';
import { DEFAULT_ADAMW } from '../../models/training/adamw.ts';
import { type TrainingOptions, traceTrainingStep, trainableLayout } from '../../models/training/trace-training.ts';
import { floatGraph, load } from '../fixtures/inference.ts';
import { type Fixture, fixture, NETWORKS, NETWORKS_WITH_TEACHER } from '../fixtures/networks.ts';
import { eagerGradient, trainingFeeds } from '../fixtures/training.ts';
import { machineWindows, uniformNumbers, windowFeeds } from '../fixtures/windows.ts';
import { largestError, magnitude } from '../harness/compare.ts';
import { digits } from '../harness/interleave.ts';
import type { Scenario } from '../harness/scenario.ts';

/** Logits of every window by itself, op by op on tfjs's plain JavaScript backend. */
function oracleLogits({ network, weights }: Fixture, codes: Int16Array): number[] {
  const { window, channels } = network.frontEnd;
  const rows = codes.length / (window * channels);
  return Array.from({ length: rows }, (_, row) =>
    tf.tidy(() => {
      const samples = Float32Array.from(codes.subarray(row * window * channels, (row + 1) * window * channels));
      const scale = tf.fill([1, channels], 1e-3);
      const statistics = splitParameters(network.statistics, tf.tensor1d(weights.statistics));
      const features = standardize(frontEnd(tf.tensor(samples, [1, window, channels]), scale, network.frontEnd), network.parts, statistics);
      const { logits } = network.forward(features, { parameters: splitParameters(network.parameters, tf.tensor1d(weights.parameters)) });
      return [...logits.dataSync()];
    }),
  ).flat();
}

const logits: Scenario = {
  id: 'model.agreement.logits',
  what: 'logits, onnxruntime against tfjs cpu, all networks and front ends: largest error',
  unit: '',
  target: { atMost: 1e-5 },
  async measure({ quick, progress }) {
    const engine = await createOnnxruntimeEngine();
    const errors: Record<string, number> = {};
    let samples = 0;
    for (const [name, options] of Object.entries(quick ? NETWORKS : NETWORKS_WITH_TEACHER)) {
      progress(name);
      const made = fixture(options);
      const codes = machineWindows(made.network, 4, 8);
      const session = await load(engine, floatGraph(made));
      const actual = (await session.run(windowFeeds(made.network, codes))).logits.values as Float32Array;
      await session.release();
      await createCpuEngine();
      errors[name] = largestError(actual, oracleLogits(made, codes));
      samples += actual.length;
    }
    const details = Object.fromEntries(Object.entries(errors).map(([name, error]) => [name, digits(error)]));
    return { figure: Math.max(...Object.values(errors)), samples, details };
  },
};

const SCHEMES: Readonly<Record<string, AdapterScheme | undefined>> = {
  'all weights': undefined,
  LoRA: DEFAULT_SCHEME,
  'head only': { kind: 'head' },
};

const gradients: Scenario = {
  id: 'model.agreement.gradients',
  what: 'every gradient, onnxruntime step against tfjs cpu, all networks, whole and adapters: largest error',
  unit: '',
  target: { atMost: 1e-5 },
  async measure({ quick, progress }) {
    const engine = await createOnnxruntimeEngine();
    const batch = 6;
    const errors: Record<string, number> = {};
    let [samples, largest] = [0, 0];
    for (const [name, options] of Object.entries(NETWORKS).slice(0, quick ? 1 : undefined)) {
      const made = fixture(options);
      const { network, weights } = made;
      for (const [scheme, adapter] of Object.entries(SCHEMES)) {
        if (adapter?.kind === 'lora' && network.kind === 'mixer') continue;
        progress(`${name}, ${scheme}`);
        const training: TrainingOptions = { batch, input: 'windows', adapter, dropout: true, featureMask: true, distillation: true };
        const { size } = trainableLayout(network, adapter);
        const graph = traceTrainingStep(network, training, weights);
        const feeds = trainingFeeds(network, graph.inputs, batch, {
          trainable: adapter ? uniformNumbers(size, 9, -0.2, 0.2) : weights.parameters,
          sampleWeight: Float32Array.of(1, 1, 0.5, 1, 2, 0),
          firstMoment: new Float32Array(size),
          secondMoment: new Float32Array(size),
          // Beyond any gradient's norm: clipping would hide a wrong norm behind a small gradient.
          clipNorm: Float32Array.of(1e9),
        });
        const session = await load(engine, graph);
        const { firstMomentNext } = await session.run(feeds);
        await session.release();
        // From zero moments the first moment is (1 - beta1) times the gradient.
        const actual = (firstMomentNext.values as Float32Array).map((moment) => moment / (1 - DEFAULT_ADAMW.beta1));
        await createCpuEngine();
        const { gradient } = eagerGradient(made, training, feeds);
        errors[`${name}, ${scheme}`] = largestError(actual, gradient);
        largest = Math.max(largest, magnitude(gradient));
        samples += size;
      }
    }
    const details = Object.fromEntries(Object.entries(errors).map(([name, error]) => [name, digits(error)]));
    return {
      figure: Math.max(...Object.values(errors)),
      samples,
      details: { ...details, 'largest gradient': digits(largest) },
    };
  },
};

export const AGREEMENT: readonly Scenario[] = [logits, gradients];
