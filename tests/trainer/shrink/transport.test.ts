import { describe, expect, it } from 'vitest';
import type { Graph } from '../../../models/trace/graph.ts';
import { transportSize, zeroShare } from '../../../trainer/shrink/transport.ts';
import { numbers } from '../../support/numbers.ts';

describe('bytes that are sent', () => {
  it('are fewer for weights with zeros in them', () => {
    const weights = Uint8Array.from(numbers(20_000, 3, 0, 256));
    const sparse = weights.map((value) => (value < 128 ? 0 : value));
    const [dense, thin] = [transportSize(weights), transportSize(sparse)];
    expect([dense.raw, thin.raw]).toEqual([20_000, 20_000]);
    // Eight random bits do not pack; half of them, and a bit that says which, do.
    expect(dense.gzip).toBeGreaterThan(19_000);
    expect(thin.gzip).toBeLessThan(14_000);
    expect(thin.brotli).toBeLessThanOrEqual(thin.gzip);
  });

  it('count int8 zeros and no others', () => {
    const constant = (name: string, type: 'int8' | 'float32', values: Int8Array | Float32Array) =>
      [name, { name, type, shape: [values.length], values }] as const;
    const initializers = new Map([
      constant('a', 'int8', Int8Array.of(0, 1, 0, -1)),
      constant('b', 'int8', Int8Array.of(5, 0)),
      constant('bias', 'float32', new Float32Array(10)),
    ]);
    const graph: Graph = { inputs: [], outputs: [], initializers, nodes: [] };
    expect(zeroShare(graph)).toBe(0.5);
    expect(zeroShare({ ...graph, initializers: new Map() })).toBe(0);
  });
});
