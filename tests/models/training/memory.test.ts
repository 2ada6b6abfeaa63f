import { describe, expect, it } from 'vitest';
import { createNetwork } from '../../../models/networks/index.ts';
import { BACKUP } from '../../../models/networks/mixer-network.ts';
import { Random } from '../../../models/networks/random.ts';
import type { Graph } from '../../../models/trace/graph.ts';
import { peakBytes } from '../../../models/training/memory.ts';
import { traceGradient } from '../../../models/training/trace-training.ts';

const node = (op: string, inputs: string[], output: string) => ({ op, inputs, outputs: [output], attributes: {} });
const graphOf = (nodes: Graph['nodes'], shapes: Record<string, number[]>): Graph => ({
  inputs: [{ name: 'x', type: 'float32', shape: [10] }],
  outputs: [{ name: 'y', type: 'float32', shape: [10] }],
  initializers: new Map(),
  nodes,
  shapes: new Map(Object.entries(shapes)),
});

describe('the bytes that a graph takes at most', () => {
  it('count a value from where it is made to where it is last read', () => {
    const chain = [node('Exp', ['x'], 'a'), node('Exp', ['a'], 'b'), node('Exp', ['b'], 'y')];
    // x throughout, and two of the others at a time.
    expect(peakBytes(graphOf(chain, { a: [10], b: [10], y: [10] }))).toBe(40 + 80);
    const kept = [...chain.slice(0, 2), node('Add', ['b', 'a'], 'y')];
    expect(peakBytes(graphOf(kept, { a: [10], b: [10], y: [10] }))).toBe(40 + 120);
  });

  it('do not count a reshape, and keep what it is a view of', () => {
    const viewed = [node('Exp', ['x'], 'a'), node('Reshape', ['a'], 'v'), node('Exp', ['x'], 'b'), node('Add', ['v', 'b'], 'y')];
    expect(peakBytes(graphOf(viewed, { a: [10], v: [2, 5], b: [10], y: [10] }))).toBe(40 + 120);
  });

  it('are a straight line over the samples of a training graph, where these outweigh the parameters', () => {
    const network = createNetwork({ ...BACKUP, channels: 1, classes: 4 });
    const weights = { parameters: network.parameters.initialize(new Random(1)), statistics: network.statistics.initialize(new Random(1)) };
    const [few, twice, eightfold] = [16, 32, 128].map((batch) =>
      peakBytes(traceGradient(network, { batch, input: 'windows', dropout: false, featureMask: false, distillation: false }, weights)),
    );
    expect(twice).toBeGreaterThan(few);
    expect(Math.abs(eightfold - (few + 7 * (twice - few)))).toBeLessThan(0.02 * eightfold);
  });
});
