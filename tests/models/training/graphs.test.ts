import { describe, expect, it } from 'vitest';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import type { Graph } from '../../../models/trace/graph.ts';
import { traceInference } from '../../../models/training/trace-inference.ts';
import { traceGradient, traceTrainingStep } from '../../../models/training/trace-training.ts';

const network = createNetwork({ ...STUDENT, width: 16, feedForward: 16, layers: 1, channels: 1, classes: 4 });
const weights = { parameters: network.parameters.initialize(new Random(1)), statistics: network.statistics.initialize(new Random(1)) };
const training = { batch: 4, input: 'windows', dropout: false, featureMask: false, distillation: false } as const;
const outputsOf = (graph: Graph, op: string) => graph.nodes.filter((node) => node.op === op).map(({ outputs }) => outputs.length);

describe('what a graph computes', () => {
  it('of a layer norm is its mean and deviation too where a gradient reads them, and else not', () => {
    const deciding = traceInference(network, { input: 'float32', reference: false, temperature: 1 }, weights);
    expect(outputsOf(deciding, 'LayerNormalization')).toEqual([1, 1, 1]);
    expect(outputsOf(traceTrainingStep(network, training, weights), 'LayerNormalization')).toEqual([3, 3, 3]);
  });

  it('of a GELU is one error function, which value and gradient share, in training, and one node else', () => {
    const deciding = traceInference(network, { input: 'float32', reference: false, temperature: 1 }, weights);
    expect(outputsOf(deciding, 'Gelu')).toEqual([1]);
    for (const graph of [traceTrainingStep(network, training, weights), traceGradient(network, training, weights)]) {
      expect(outputsOf(graph, 'Gelu')).toEqual([]);
      // Both sides read x times the same constant; onnxruntime merges what is equal.
      expect(outputsOf(graph, 'Erf')).toHaveLength(2);
    }
  });
});
