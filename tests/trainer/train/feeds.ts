import { floatTensor, scalarTensor, type TensorData } from '../../../models/engine/engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { featureCount } from '../../../models/networks/front-end.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import type { TrainingOptions } from '../../../models/training/trace-training.ts';
import { numbers } from '../../support/numbers.ts';

/** A small network with everything that a real one has, and what trains it. */
export const CLASSES = 4;
export const network = createNetwork({ ...STUDENT, width: 16, feedForward: 16, layers: 1, channels: 1, classes: CLASSES });
export const weights = {
  parameters: network.parameters.initialize(new Random(1)),
  statistics: network.statistics.initialize(new Random(1)),
};

/** An epsilon this large makes AdamW's step a smooth function of the gradient: otherwise the first one is its sign, rounding noise included. */
const SMOOTH = { beta1: 0.9, beta2: 0.99, epsilon: 0.1 };
export const trainingOf = (batch: number, distillation = false): TrainingOptions => ({
  batch,
  input: 'windows',
  dropout: true,
  featureMask: true,
  distillation,
  optimizer: SMOOTH,
});
export const RATES = { learningRate: 1e-2, weightDecay: 0.01, clipNorm: 1 };

/** A batch in which no two rows, weights, masks or teachers are alike. */
export function feedsOf(batch: number, distillation = false, seed = 1): Record<string, TensorData> {
  const target = new Float32Array(batch * CLASSES);
  for (let row = 0; row < batch; row++) target[row * CLASSES + ((row * 7 + seed) % CLASSES)] = 1;
  const { sites, tokens, width } = network.dropout;
  const mask = (shape: number[], from: number) =>
    floatTensor(
      numbers(
        shape.reduce((product, size) => product * size, 1),
        from,
      ).map((value) => (value < -0.6 ? 0 : 1.25)),
      shape,
    );
  return {
    window: floatTensor(numbers(batch * 512, seed), [batch, 512, 1]),
    scale: floatTensor(numbers(batch, seed + 1, 0.5, 2), [batch, 1]),
    target: floatTensor(target, [batch, CLASSES]),
    sampleWeight: floatTensor(numbers(batch, seed + 2, 0.2, 2), [batch]),
    classWeight: floatTensor(Float32Array.of(1, 0.5, 2, 3), [CLASSES]),
    labelSmoothing: scalarTensor(0.05),
    featureMask: mask([batch, featureCount(network.parts)], seed + 3),
    dropoutMask: mask([sites, batch * tokens, width], seed + 4),
    ...(distillation && {
      teacherLogits: floatTensor(numbers(batch * CLASSES, seed + 5, -3, 3), [batch, CLASSES]),
      temperature: scalarTensor(2),
      distillationWeight: scalarTensor(0.4),
    }),
  };
}
