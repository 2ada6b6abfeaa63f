import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Engine, TensorData } from '../../../models/engine/engine.ts';
import { elementCount } from '../../../models/trace/graph.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { geluActivation, layerNorm } from '../../../models/trace/operations/composite.ts';
import { OPERATIONS } from '../../../models/trace/operations/index.ts';
import { trace } from '../../../models/trace/trace.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError, numbers } from '../../support/numbers.ts';

/** One row of the op table, at several shapes: the op, the shapes of its inputs, the range of its numbers. */
interface Case {
  readonly kernel: string;
  readonly op: (...inputs: tf.Tensor[]) => tf.Tensor;
  readonly shapes: readonly (readonly number[])[][];
  readonly range?: readonly [low: number, high: number];
  /** False where tfjs defines no gradient for it or it is zero everywhere. */
  readonly gradient?: boolean;
}

const ANY = [[[7]], [[2, 3]], [[2, 3, 4]], [[1, 5, 1, 2]]];
const PAIRS = [
  [[4], [4]],
  [
    [2, 3],
    [2, 3],
  ],
  [[2, 3], [3]],
  [[3], [2, 3]],
  [
    [2, 1, 4],
    [3, 1],
  ],
  [[2, 3, 4], []],
  [
    [1, 3],
    [2, 1],
  ],
];
const positive = { range: [0.2, 3] } as const;
const flat = { gradient: false };
const unary = (kernel: string, op: Case['op'], more: Partial<Case> = {}): Case => ({ kernel, op, shapes: ANY, ...more });
const binary = (kernel: string, op: Case['op'], more: Partial<Case> = {}): Case => ({ kernel, op, shapes: PAIRS, ...more });
const asFloat = (op: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor) => (a: tf.Tensor, b: tf.Tensor) => tf.cast(op(a, b), 'float32');

const CASES: Case[] = [
  unary('Abs', tf.abs),
  unary('Exp', tf.exp),
  unary('Log', tf.log, positive),
  unary('Neg', tf.neg),
  unary('Cos', tf.cos, { range: [-3, 7] }),
  unary('Sin', tf.sin, { range: [-3, 7] }),
  unary('Sqrt', tf.sqrt, positive),
  unary('Rsqrt', tf.rsqrt, positive),
  unary('Reciprocal', tf.reciprocal, positive),
  unary('Square', tf.square),
  unary('Erf', tf.erf, { range: [-3, 3] }),
  unary('Tanh', tf.tanh),
  unary('Sigmoid', tf.sigmoid),
  unary('Relu', tf.relu),
  unary('Round', tf.round, { range: [-4, 4], ...flat }),
  unary('Floor', tf.floor, { range: [-4, 4], ...flat }),
  unary('Sign', tf.sign, flat),
  unary('Step', (x) => tf.step(x, 0.3), flat),
  unary('Identity', (x) => tf.mul(tf.clone(x), 2)),
  unary('ClipByValue', (x) => tf.clipByValue(x, -0.4, 0.6)),
  unary('Gelu', geluActivation, { range: [-4, 4] }),
  unary('ZerosLike', (x) => tf.add(tf.zerosLike(x), x)),
  unary('OnesLike', (x) => tf.sub(tf.onesLike(x), x)),
  unary('Fill', (x) => tf.mul(tf.fill(x.shape, 2.5), x)),
  unary('Cast', (x) => tf.cast(tf.cast(x, 'int32'), 'float32'), {
    range: [-9, 9],
    ...flat,
  }),
  unary('LogicalNot', (x) => tf.cast(tf.logicalNot(tf.greater(x, 0)), 'float32'), flat),
  unary('Softmax', (x) => tf.softmax(x), { range: [-5, 5] }),
  unary('ExpandDims', (x) => tf.expandDims(tf.exp(x), 1)),
  unary('Reshape', (x) => tf.reshape(x, [-1, 1])),
  unary('Tile', (x) =>
    tf.tile(
      x,
      x.shape.map((_, axis) => axis + 1),
    ),
  ),
  unary('PadV2', (x) =>
    tf.pad(
      x,
      x.shape.map((_, axis) => [axis, 1]),
      0.5,
    ),
  ),
  unary('SplitV', (x) => tf.add(...(tf.split(tf.concat([x, tf.square(x)], 0), 2, 0) as [tf.Tensor, tf.Tensor]))),

  binary('Add', tf.add),
  binary('Sub', tf.sub),
  binary('Multiply', tf.mul),
  binary('RealDiv', tf.div, positive),
  binary('Pow', tf.pow, positive),
  binary('Mod', tf.mod, { range: [0.5, 9], ...flat }),
  // tfjs does not sum the gradient of these three over broadcast axes: value at all shapes, gradient at equal ones.
  ...(
    [
      ['Maximum', tf.maximum],
      ['Minimum', tf.minimum],
      ['SquaredDifference', tf.squaredDifference],
    ] as const
  ).flatMap(([kernel, op]) => [binary(kernel, op, flat), binary(kernel, op, { shapes: PAIRS.slice(0, 2) })]),
  binary('Greater', asFloat(tf.greater), flat),
  binary('GreaterEqual', asFloat(tf.greaterEqual), flat),
  binary('Less', asFloat(tf.less), flat),
  binary('LessEqual', asFloat(tf.lessEqual), flat),
  binary('Equal', (a, b) => tf.cast(tf.equal(tf.round(a), tf.round(b)), 'float32'), flat),
  binary('LogicalAnd', (a, b) => tf.cast(tf.logicalAnd(tf.greater(a, 0), tf.less(b, 0)), 'float32'), flat),
  {
    kernel: 'Select',
    op: (a, b) => tf.where(tf.greater(tf.tensor(numbers(6, 5), [2, 3]), 0), tf.mul(a, 2), tf.square(b)),
    shapes: PAIRS.slice(1, 2),
  },

  {
    kernel: 'AddN',
    op: (a, b, c) => tf.addN([a, b, c]),
    shapes: [
      [
        [2, 3],
        [2, 3],
        [2, 3],
      ],
    ],
  },
  ...[0, 1, 2, [0, 2], undefined].flatMap((axis): Case[] =>
    [true, false].flatMap((keep) => [
      {
        kernel: 'Sum',
        op: (x) => tf.sum(tf.exp(x), axis, keep),
        shapes: [[[2, 3, 4]]],
      },
      {
        kernel: 'Mean',
        op: (x) => tf.mean(tf.exp(x), axis, keep),
        shapes: [[[2, 3, 4]]],
      },
      {
        kernel: 'Max',
        op: (x) => tf.max(x, axis, keep),
        shapes: [[[2, 3, 4]]],
      },
      {
        kernel: 'Min',
        op: (x) => tf.min(x, axis, keep),
        shapes: [[[2, 3, 4]]],
      },
    ]),
  ),
  {
    kernel: 'Transpose',
    op: (x) => tf.transpose(x, [2, 0, 1]),
    shapes: [[[2, 3, 4]]],
  },
  {
    kernel: 'Transpose',
    op: (x) => tf.transpose(x, [0, 2, 1, 3]),
    shapes: [[[2, 3, 4, 5]]],
  },
  {
    kernel: 'Concat',
    op: (a, b) => tf.concat([a, b], 1),
    shapes: [
      [
        [2, 3, 2],
        [2, 1, 2],
      ],
      [
        [2, 3],
        [2, 4],
      ],
    ],
  },
  {
    kernel: 'Pack',
    op: (a, b) => tf.stack([a, b], 1),
    shapes: [
      [
        [2, 3],
        [2, 3],
      ],
    ],
  },
  {
    kernel: 'Unpack',
    op: (x) => tf.mul(...(tf.unstack(x, 1) as [tf.Tensor, tf.Tensor])),
    shapes: [[[3, 2]], [[2, 2, 4]]],
  },
  {
    kernel: 'SplitV',
    op: (x) => tf.split(x, [1, 3, 1], 1)[1],
    shapes: [[[2, 5, 2]]],
  },
  {
    kernel: 'Slice',
    op: (x) => tf.slice(x, [0, 1, 2], [-1, 2, 1]),
    shapes: [[[2, 3, 4]]],
  },
  {
    kernel: 'Tile',
    op: (x) => tf.broadcastTo(x, [4, 3, 2]),
    shapes: [[[1, 3, 1]]],
  },
  {
    kernel: 'GatherV2',
    op: (x) => tf.gather(x, tf.tensor1d([2, 0, 2], 'int32')),
    shapes: [[[3, 2]]],
    gradient: false,
  },
  {
    kernel: 'Softmax',
    op: (x) => tf.softmax(x),
    shapes: [[[2, 3, 6]]],
    range: [-30, 30],
  },
  {
    kernel: 'LayerNormalization',
    op: (x, scale, bias) => layerNorm(x, scale, bias),
    shapes: [
      [[4, 6], [6], [6]],
      [[2, 3, 5], [5], [5]],
    ],
  },
  ...[false, true].flatMap((a): Case[] =>
    [false, true].map((b) => ({
      kernel: 'BatchMatMul',
      op: (x, y) => tf.matMul(x, y, a, b),
      shapes: [
        [a ? [4, 3] : [3, 4], b ? [5, 4] : [4, 5]],
        [a ? [2, 4, 3] : [2, 3, 4], b ? [2, 5, 4] : [2, 4, 5]],
        [a ? [2, 3, 4, 3] : [2, 3, 3, 4], b ? [2, 3, 5, 4] : [2, 3, 4, 5]],
      ],
    })),
  ),
  // The gradient of a broadcast batch is not summed by tfjs, so networks keep their matrices two-dimensional.
  {
    kernel: 'BatchMatMul',
    op: (x, y) => tf.matMul(x, y),
    shapes: [
      [
        [1, 3, 4],
        [5, 4, 2],
      ],
    ],
    gradient: false,
  },
];

/** Values of `run` on plain tfjs: the oracle. */
function eager(shapes: Case['shapes'][number], feeds: Float32Array[], run: (inputs: tf.Tensor[]) => tf.Tensor[]): Float32Array[] {
  return tf.tidy(() =>
    run(feeds.map((values, index) => tf.tensor(values, [...shapes[index]]))).map((tensor) => Float32Array.from(tensor.dataSync())),
  );
}

async function traced(
  engine: Engine,
  shapes: Case['shapes'][number],
  feeds: Float32Array[],
  run: (inputs: tf.Tensor[]) => tf.Tensor[],
): Promise<ArrayLike<number>[]> {
  const names = shapes.map((_, index) => `x${index}`);
  const graph = trace(
    names.map((name, index) => ({
      name,
      type: 'float32',
      shape: shapes[index],
    })),
    (inputs) => Object.fromEntries(run(names.map((name) => inputs[name])).map((tensor, index) => [`y${index}`, tensor])),
  );
  const session = await engine.load({ graph: encodeOnnx(graph) });
  const given: Record<string, TensorData> = {};
  names.forEach((name, index) => {
    given[name] = {
      type: 'float32',
      shape: shapes[index],
      values: feeds[index],
    };
  });
  const results = await session.run(given);
  await session.release();
  return graph.outputs.map(({ name }) => results[name].values as Float32Array);
}

/** Gradient of a weighted sum of the outputs, so that every output element counts differently. */
function gradientOf(op: Case['op']) {
  return (inputs: tf.Tensor[]) => {
    const weighted = (...xs: tf.Tensor[]) => {
      const y = op(...xs);
      return tf.sum(tf.mul(y, tf.tensor(numbers(elementCount(y.shape), 77, 0.1, 1), y.shape))) as tf.Scalar;
    };
    return tf.grads(weighted)(inputs);
  };
}

describe('op table', () => {
  const engines = {} as Record<'onnxruntime' | 'wasm' | 'cpu', Engine>;
  beforeAll(async () => {
    engines.onnxruntime = await ENGINES.onnxruntime();
    engines.wasm = await ENGINES.wasm();
    engines.cpu = await ENGINES.cpu();
  });

  const within = async (bound: number, { shapes, range = [-1, 1] }: Case, run: (inputs: tf.Tensor[]) => tf.Tensor[]) => {
    for (const given of shapes) {
      const feeds = given.map((shape, index) => numbers(elementCount(shape), index + 3, ...range));
      await tf.setBackend('cpu');
      const expected = eager(given, feeds, run);
      for (const engine of Object.values(engines)) {
        const actual = await traced(engine, given, feeds, run);
        await tf.setBackend('cpu');
        expected.forEach((values, index) => {
          expect(largestError(actual[index], values), `${engine.name} at ${JSON.stringify(given)}`).toBeLessThan(bound);
        });
      }
    }
  };

  describe.each(CASES.map((row, index) => ({ ...row, title: `${row.kernel} (${index})` })))('$title', (row) => {
    it('gives the value that tfjs cpu gives', () => within(2e-6, row, (inputs) => [row.op(...inputs)]));
    if (row.gradient !== false) it('gives the gradient that tfjs cpu gives', () => within(4e-6, row, gradientOf(row.op)));
  });

  it('has a case for every row that a network can use', () => {
    const covered = new Set(CASES.map(({ kernel }) => kernel));
    expect(OPERATIONS.filter(({ kernel }) => kernel && !covered.has(kernel)).map(({ kernel }) => kernel)).toEqual([]);
  });
});
