import { describe, expect, it } from 'vitest';
import { adapterLayout } from '../../../models/adapters/adapter.ts';
import { mergeAdapter } from '../../../models/adapters/merge.ts';
import type { AdapterScheme } from '../../../models/adapters/scheme.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import { averageAdapters } from '../../../trainer/server/average.ts';

const SCHEME: AdapterScheme = { kind: 'lora', rank: 4, alpha: 8, rankStabilized: true, targets: ['layer*.ffn.*', 'head'] };
const network = createNetwork({ ...STUDENT, channels: 2, classes: 5, width: 16, feedForward: 32, layers: 1 });
const layout = adapterLayout(SCHEME, network);
const nothing = new Float32Array(network.parameters.size);

/** @param used columns of A and rows of B that are not zero */
function adapter(seed: number, used: readonly number[] = [0, 1, 2, 3]): Float32Array {
  const random = new Random(seed);
  const flat = new Float32Array(layout.size);
  for (const { name, shape, offset, size } of layout.parameters) {
    const width = shape[1];
    for (let at = 0; at < size; at++) {
      const k = name.endsWith('.A') ? at % width : Math.floor(at / width);
      flat[offset + at] = used.includes(k) ? random.normal() : 0;
    }
  }
  return flat;
}

/** What an adapter adds to the weights. */
const added = (flat: Float32Array) => mergeAdapter(network, nothing, SCHEME, flat);

function distance(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, value, at) => sum + (value - b[at]) ** 2, 0) / b.reduce((sum, value) => sum + value ** 2, 0));
}

const mixed = (parts: readonly Float32Array[], shares: readonly number[]) =>
  parts[0].map((_, at) => parts.reduce((sum, part, index) => sum + shares[index] * part[at], 0));

describe('the average of adapters', () => {
  it('of one is what that one adds', () => {
    const one = adapter(1);
    expect(distance(added(averageAdapters(SCHEME, network, [one], [3])), added(one))).toBeLessThan(1e-5);
  });

  it('adds exactly the mean of what each adds, where that has the rank', () => {
    const [a, b] = [adapter(1, [0, 1]), adapter(2, [2, 3])];
    const average = averageAdapters(SCHEME, network, [a, b], [3, 1]);
    expect(distance(added(average), mixed([added(a), added(b)], [0.75, 0.25]))).toBeLessThan(1e-5);
  });

  it('lies nearer to the mean of the products than the mean of the factors does', () => {
    const parts = [adapter(1), adapter(2), adapter(3)];
    const shares = [1 / 3, 1 / 3, 1 / 3];
    const wanted = mixed(parts.map(added), shares);
    const average = distance(added(averageAdapters(SCHEME, network, parts, [1, 1, 1])), wanted);
    const naive = distance(added(mixed(parts, shares)), wanted);
    expect(average).toBeLessThan(1);
    expect(average).toBeLessThan(0.8 * naive);
  });

  it('does not mind that one machine turned the signs of its factors', () => {
    const one = adapter(1);
    const turned = one.map((value) => -value);
    expect(distance(added(averageAdapters(SCHEME, network, [one, turned], [1, 1])), added(one))).toBeLessThan(1e-5);
    // Its factors' mean is nothing at all.
    expect(mixed([one, turned], [0.5, 0.5]).every((value) => value === 0)).toBe(true);
  });

  it('of fresh adapters, which change nothing, changes nothing', () => {
    const fresh = layout.initialize(new Random(1));
    expect(added(averageAdapters(SCHEME, network, [fresh, fresh], [1, 1])).every((value) => value === 0)).toBe(true);
  });
});
