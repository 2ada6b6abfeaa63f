import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { affineParameters, quantizeWeight, roundHalfEven, sparsify, unsignedParameters } from '../../../models/quantize/parameters.ts';
import { numbers } from '../../support/numbers.ts';

describe('scale and zero point', () => {
  // onnxruntime, test_quant_util.py: test_compute_scale_zp.
  it.each([
    [-1, 2, [-127, 127], true, 0, 2 / 127],
    [-1, 2, [-127, 127], false, -42, 3 / 254],
    [-1, 2, [0, 255], true, 128, 4 / 255],
    [-1, 2, [0, 255], false, 85, 3 / 255],
    [0, 0, [0, 255], false, 0, 1],
    [0, 1e-40, [0, 255], false, 0, 1],
    // A range without zero is widened to it.
    [1, 2, [0, 255], false, 0, 2 / 255],
    [-2, -1, [0, 255], false, 255, 2 / 255],
  ] as const)('of [%d, %d] in %j, symmetric %s: %d, %d', (min, max, integers, symmetric, zeroPoint, scale) => {
    const made = affineParameters({ min, max }, { integers, symmetric });
    expect(made.zeroPoint).toBe(zeroPoint);
    expect(made.scale).toBe(Math.fround(scale));
  });

  it('keep a smallest range where one is asked for', () => {
    const made = affineParameters({ min: 0, max: 0 }, { integers: [0, 255], symmetric: false, smallestRange: 1e-4 });
    expect(made).toEqual({ zeroPoint: 0, scale: Math.fround(1e-4 / 255) });
  });

  it('represent zero exactly and every value of the range within half a step', () => {
    const real = fc.double({ min: -1e3, max: 1e3, noNaN: true });
    fc.assert(
      fc.property(real, real, fc.double({ min: 0, max: 1, noNaN: true }), (a, b, share) => {
        const range = { min: Math.min(a, b, 0), max: Math.max(a, b, 0) };
        const { scale, zeroPoint } = unsignedParameters(range);
        expect(Number.isInteger(zeroPoint) && zeroPoint >= 0 && zeroPoint <= 255).toBe(true);
        const value = range.min + share * (range.max - range.min);
        const integer = Math.max(0, Math.min(255, roundHalfEven(value / scale) + zeroPoint));
        // The zero point itself is rounded by up to half a step.
        expect(Math.abs(scale * (integer - zeroPoint) - value)).toBeLessThanOrEqual(1.001 * scale);
      }),
    );
  });
});

it('rounds half to even', () => {
  expect([0.5, 1.5, 2.5, -0.5, -1.5, 1.2, -1.7].map((value) => roundHalfEven(value) + 0)).toEqual([0, 2, 2, 0, -2, 1, -2]);
});

describe('weights as integers', () => {
  it.each([
    [7, 63],
    [8, 127],
  ])('of %d bits keep a column within half a step and %d, and a column of zeros zero', (bits, limit) => {
    const weight = numbers(40, 3).map((value, index) => (index % 4 === 2 ? 0 : value));
    const { values, scales } = quantizeWeight(weight, [10, 4], bits);
    weight.forEach((value, index) => {
      expect(Math.abs(values[index] * scales[index % 4] - value)).toBeLessThanOrEqual(scales[index % 4] / 2 + 1e-7);
    });
    expect(Math.max(...values.map(Math.abs))).toBe(limit);
    expect(scales[2]).toBe(0);
  });

  it('below a share of their column become zero, and no others', () => {
    const weight = Float32Array.of(1, 100, 0.3, 30, -0.2, -20, 0.1, 10);
    const dense = quantizeWeight(weight, [4, 2], 8);
    const sparse = quantizeWeight(weight, [4, 2], 8, 0.25);
    // A share of the column: the second is the first times 100 and loses the same rows.
    expect([...sparse.values]).toEqual([127, 127, 38, 38, 0, 0, 0, 0]);
    expect(sparse.scales).toEqual(dense.scales);
    expect([...quantizeWeight(weight, [4, 2], 8, 0).values]).toEqual([...dense.values]);
  });

  it.each([-0.1, 1, Number.NaN])('refuse a threshold of %d', (threshold) => {
    expect(() => sparsify(Int8Array.of(1), 63, threshold)).toThrow(RangeError);
  });
});
