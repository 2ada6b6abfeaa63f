import { beforeAll, describe, expect, it } from 'vitest';
import { type Bundle, bankLayout, bundleModel, FILES } from '../../../models/bundle/bundle.ts';
import { emptyTensor, type Session, type TensorData } from '../../../models/engine/engine.ts';
import { quantizableWeights, quantize, quantizeWeights } from '../../../models/quantize/int8.ts';
import type { Graph, Initializer } from '../../../models/trace/graph.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError, numbers } from '../../support/numbers.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';

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

describe('the int8 pass', () => {
  const constant = (name: string, values: Float32Array, shape: readonly number[]): [string, Initializer] => [
    name,
    { name, type: 'float32', shape, values },
  ];
  /** y = (x + positions + 1 + 1) W + b */
  const small = (): Graph => ({
    inputs: [{ name: 'x', type: 'float32', shape: [32, 16] }],
    outputs: [{ name: 'y', type: 'float32', shape: [32, 4] }],
    initializers: new Map([
      constant('positions', numbers(32 * 16, 2), [32, 16]),
      constant('layer.weight', numbers(16 * 4, 3), [16, 4]),
      constant('layer.bias', numbers(4, 4), [4]),
      constant('_1', Float32Array.of(1), []),
      constant('_2', Float32Array.of(1), []),
      constant('temperature', Float32Array.of(1), []),
    ]),
    nodes: [
      { op: 'Add', inputs: ['x', 'positions'], outputs: ['a'], attributes: {} },
      { op: 'Add', inputs: ['a', '_1'], outputs: ['b'], attributes: {} },
      { op: 'Add', inputs: ['b', '_2'], outputs: ['c'], attributes: {} },
      { op: 'MatMul', inputs: ['c', 'layer.weight'], outputs: ['product'], attributes: {} },
      { op: 'Add', inputs: ['product', 'layer.bias'], outputs: ['d'], attributes: {} },
      { op: 'Mul', inputs: ['d', 'temperature'], outputs: ['y'], attributes: {} },
    ],
  });
  const ranges = new Map([['c', { min: -1, max: 4 }]]);

  it('takes products, their biases and tables of parameters', () => {
    expect(quantizableWeights(small())).toEqual(['layer.weight', 'positions']);
    const made = quantize(small(), ranges);
    expect(made.initializers.get('positions.int8')!.type).toBe('int8');
    expect(made.initializers.has('positions')).toBe(false);
    const product = made.nodes.find(({ op }) => op === 'com.microsoft.MatMulIntegerToFloat')!;
    expect(product.inputs.at(-1)).toBe('layer.bias');
    expect(product.outputs).toEqual(['d']);
  });

  it('keeps what it is told to keep, alike in both graphs', () => {
    const options = { weightBits: 7, keep: ['positions'] } as const;
    for (const made of [quantize(small(), ranges, options), quantizeWeights(small(), quantizableWeights(small()), options)]) {
      expect(made.initializers.get('positions')!.type).toBe('float32');
      expect(made.initializers.get('layer.weight.int8')!.type).toBe('int8');
    }
  });

  it('leaves one of several equal constants, and every constant that has a name of its own', () => {
    const made = quantize(small(), ranges);
    expect(['_1', '_2', 'temperature'].map((name) => made.initializers.has(name))).toEqual([true, false, true]);
    expect(made.nodes.filter(({ inputs }) => inputs.includes('_1'))).toHaveLength(2);
  });

  it('leaves the float graph as it was', () => {
    const graph = small();
    quantize(graph, ranges);
    expect(graph).toEqual(small());
  });

  it.each(Object.keys(ENGINES))('computes on %s what the float graph does, within the steps of its integers', async (name) => {
    const engine = await ENGINES[name]();
    const x = { x: { type: 'float32', shape: [32, 16], values: numbers(32 * 16, 9, 0, 1) } } as const;
    const outputs = [];
    for (const graph of [small(), quantize(small(), ranges)]) {
      const session = await engine.load({ graph: encodeOnnx(graph) });
      outputs.push((await session.run(x)).y.values as Float32Array);
      await session.release();
    }
    const error = largestError(outputs[1], outputs[0]);
    expect(error).toBeGreaterThan(0);
    // At worst 16 * (4 / 126 + 1 / 126 + 5 / 510) = 0.8; errors that are not all of one sign stay far below.
    expect(error).toBeLessThan(0.1);
  });
});
