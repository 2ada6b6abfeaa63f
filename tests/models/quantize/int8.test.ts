import { beforeAll, describe, expect, it } from 'vitest';
import { type Bundle, bankLayout, bundleModel, FILES } from '../../../models/bundle/bundle.ts';
import { emptyTensor, type Session, type TensorData } from '../../../models/engine/engine.ts';
import { quantizeWeight, roundHalfEven, unsignedParameters } from '../../../models/quantize/int8.ts';
import { ENGINES } from '../../support/engines.ts';
import { numbers } from '../../support/numbers.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';

describe('quantisation parameters', () => {
  // From onnxruntime's own tests (reference values for asymmetric unsigned 8 bit).
  it.each([
    [{ min: -1, max: 2 }, 85, 3 / 255],
    [{ min: 0, max: 0 }, 0, 1],
    [{ min: 0, max: 2 }, 0, 2 / 255],
    [{ min: -2, max: 0 }, 255, 2 / 255],
    [{ min: 1, max: 2 }, 0, 2 / 255],
    [{ min: 0, max: 1e-40 }, 0, 1],
  ])('of %o', (range, zeroPoint, scale) => {
    const made = unsignedParameters(range);
    expect(made.zeroPoint).toBeCloseTo(zeroPoint, 12);
    expect(made.scale).toBeCloseTo(scale, 9);
  });

  it('round half to even', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 1.2, -1.7].map((value) => roundHalfEven(value) + 0)).toEqual([0, 2, 2, 0, -2, 1, -2]);
  });

  it('keep a column within half a step, and a column of zeros zero', () => {
    const weight = numbers(40, 3).map((value, index) => (index % 4 === 2 ? 0 : value));
    const { values, scales } = quantizeWeight(weight, [10, 4], 7);
    weight.forEach((value, index) => {
      expect(Math.abs(values[index] * scales[index % 4] - value)).toBeLessThanOrEqual(scales[index % 4] / 2 + 1e-7);
      expect(Math.abs(values[index])).toBeLessThanOrEqual(63);
    });
    expect(scales[2]).toBe(0);
  });
});

describe('an int8 window depends on nothing but itself', () => {
  let bundle: Bundle;
  beforeAll(async () => {
    ({ bundle } = await makeTinyBundle());
  });

  /** Feeds of a batch out of rows of a pool of windows. */
  function batch(rows: readonly number[]): Record<string, TensorData> {
    const size = 512 * 2;
    const window = new Int16Array(rows.length * size);
    rows.forEach((row, at) => {
      // Row 99 is a window at both ends of its range.
      const codes =
        row === 99
          ? Int16Array.from({ length: size }, (_, k) => (k % 3 ? 32_767 : -32_768))
          : Int16Array.from(numbers(size, row + 1), (x) => 3000 * x);
      window.set(codes, at * size);
    });
    const bank = emptyTensor('float32', [3, bankLayout(bundle.manifest).size]);
    (bank.values as Float32Array).set(numbers(bank.values.length, 4, -0.2, 0.2));
    return {
      window: { type: 'int16', shape: [rows.length, 512, 2], values: window },
      scale: { type: 'float32', shape: [rows.length, 2], values: new Float32Array(2 * rows.length).fill(1e-3) },
      adapterBank: bank,
      adapterIndex: { type: 'int32', shape: [rows.length], values: Int32Array.from(rows, (row) => row % 3) },
    };
  }

  const logitsOf = async (session: Session, rows: readonly number[]) => [
    ...((await session.run(batch(rows))).logits.values as Float32Array),
  ];

  it.each(['onnxruntime', 'onnxruntime, 2 threads'])('on %s: alone, anywhere in a batch of 64, beside a saturated window', async (name) => {
    const session = await (await ENGINES[name]()).load(bundleModel(bundle, FILES.infer));
    const alone = new Map<number, number[]>();
    for (const row of [0, 1, 2, 99]) alone.set(row, await logitsOf(session, [row]));
    for (const at of [0, 1, 31, 62, 63]) {
      const rows = Array.from({ length: 64 }, (_, index) => (index === at ? 1 : index % 2 ? 99 : 2));
      const logits = await logitsOf(session, rows);
      rows.forEach((row, index) => {
        expect(logits.slice(index * 3, index * 3 + 3), `row ${index}`).toEqual(alone.get(row));
      });
    }
    await session.release();
  });
});
