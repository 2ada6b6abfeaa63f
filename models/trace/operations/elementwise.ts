import * as tf from '@tensorflow/tfjs-core';
import type { Operation } from '../operation.ts';
import type { Tracer } from '../tracer.ts';

const ONNX_TYPE_CODE = { float32: 1, int32: 6, bool: 9 } as const;

/** x: any shape -> the same shape and dtype. */
function unary(kernel: string, onnx: string, back: (x: tf.Tensor) => tf.Tensor): Operation {
  return {
    kernel,
    onnx,
    trace: (tracer, [x]) => tracer.tensor(tracer.node(onnx, [tracer.read(x)]), x.shape, x.dtype),
    back: ({ inputs: [x] }) => back(x),
  };
}

/** Binary rules that need no node: `identity` leaves the other side as it is, `zero` makes all zero. */
interface Neutral {
  readonly right?: number;
  readonly left?: number;
  readonly zero?: number;
}

function spread(tracer: Tracer, x: tf.TensorInfo, shape: number[]): tf.TensorInfo {
  const same = x.shape.length === shape.length && x.shape.every((size, axis) => size === shape[axis]);
  if (same) return tracer.alias(x);
  return tracer.tensor(tracer.node('Expand', [tracer.read(x), tracer.runtimeShape(shape)]), shape, x.dtype);
}

/**
 * a, b: shapes that broadcast -> the broadcast shape.
 *
 * tfjs's gradients multiply by full tensors of ones and add tensors of zeros; stored as they are they would be megabytes, so a
 * uniform operand becomes a scalar, a neutral one disappears.
 */
function binary(
  kernel: string,
  onnx: string,
  back: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor,
  neutral: Neutral = {},
  result?: tf.DataType,
): Operation {
  const trace = (tracer: Tracer, [a, b]: tf.TensorInfo[]): tf.TensorInfo => {
    const shape = tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
    const dtype = result ?? tf.upcastType(a.dtype, b.dtype);
    const uniformA = tracer.uniform(a);
    const uniformB = tracer.uniform(b);
    if (uniformB !== undefined && uniformB === neutral.right && uniformA === undefined) return spread(tracer, a, shape);
    if (uniformA !== undefined && uniformA === neutral.left && uniformB === undefined) return spread(tracer, b, shape);
    const fits = (x: tf.TensorInfo) => x.shape.length === shape.length && x.shape.every((size, axis) => size === shape[axis]);
    // A uniform operand whose shape the other side does not lend is needed for the result's shape.
    const operand = (x: tf.TensorInfo, uniform: number | undefined, lent: boolean) =>
      uniform !== undefined && x.dtype === 'float32' && x.shape.length > 0 && lent ? tracer.scalar(uniform) : readable(tracer, x, uniform);
    // Only one of two uniform operands can lend its shape to the other.
    const value = tracer.node(onnx, [operand(a, uniformA, fits(b)), operand(b, uniformB, fits(a) && uniformA === undefined)]);
    return tracer.tensor(value, shape, dtype);
  };
  return { kernel, onnx, trace, back: ({ inputs: [a, b] }) => back(a, b) };
}

/** Name of a tensor; a large uniform one is spread from a scalar when the graph runs. */
function readable(tracer: Tracer, x: tf.TensorInfo, uniform: number | undefined): string {
  const size = x.shape.reduce((product, dim) => product * dim, 1);
  if (uniform === undefined || x.dtype !== 'float32' || size <= 64) return tracer.read(x);
  return tracer.node('Expand', [tracer.scalar(uniform), tracer.runtimeShape(x.shape)]);
}

const elementwise = (x: tf.Tensor) => x;

export const ELEMENTWISE: readonly Operation[] = [
  unary('Abs', 'Abs', tf.abs),
  unary('Exp', 'Exp', tf.exp),
  unary('Log', 'Log', tf.log),
  unary('Neg', 'Neg', tf.neg),
  unary('Cos', 'Cos', tf.cos),
  unary('Sin', 'Sin', tf.sin),
  unary('Sqrt', 'Sqrt', tf.sqrt),
  unary('Reciprocal', 'Reciprocal', tf.reciprocal),
  unary('Erf', 'Erf', tf.erf),
  unary('Tanh', 'Tanh', tf.tanh),
  unary('Sigmoid', 'Sigmoid', tf.sigmoid),
  unary('Relu', 'Relu', tf.relu),
  unary('Round', 'Round', tf.round),
  unary('Floor', 'Floor', tf.floor),
  unary('Sign', 'Sign', tf.sign),
  unary('LogicalNot', 'Not', (x) => tf.logicalNot(x)),
  unary('Identity', 'Identity', elementwise),

  binary('Add', 'Add', tf.add, { left: 0, right: 0 }),
  binary('Sub', 'Sub', tf.sub, { right: 0 }),
  binary('Multiply', 'Mul', tf.mul, { left: 1, right: 1 }),
  binary('RealDiv', 'Div', tf.div, { right: 1 }),
  binary('Pow', 'Pow', tf.pow, { right: 1 }),
  binary('Maximum', 'Max', tf.maximum),
  binary('Minimum', 'Min', tf.minimum),
  binary('Greater', 'Greater', tf.greater, {}, 'bool'),
  binary('GreaterEqual', 'GreaterOrEqual', tf.greaterEqual, {}, 'bool'),
  binary('Less', 'Less', tf.less, {}, 'bool'),
  binary('LessEqual', 'LessOrEqual', tf.lessEqual, {}, 'bool'),
  binary('Equal', 'Equal', tf.equal, {}, 'bool'),
  binary('LogicalAnd', 'And', tf.logicalAnd, {}, 'bool'),

  // Remainder with the sign of the divisor in tfjs, of the dividend in ONNX: the same for positive numbers, which is all that is promised.
  {
    kernel: 'Mod',
    onnx: 'Mod',
    trace: (tracer, [a, b]) =>
      tracer.tensor(
        tracer.node('Mod', [tracer.read(a), tracer.read(b)], { fmod: 1 }),
        tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape),
        'float32',
      ),
    back: ({ inputs: [a, b] }) => tf.mod(a, b),
  },
  // 1 / sqrt(x): ONNX has no operator of its own for it.
  {
    kernel: 'Rsqrt',
    trace: (tracer, [x]) => tracer.tensor(tracer.node('Reciprocal', [tracer.node('Sqrt', [tracer.read(x)])]), x.shape, x.dtype),
  },
  {
    kernel: 'Square',
    trace: (tracer, [x]) => tracer.tensor(tracer.node('Mul', [tracer.read(x), tracer.read(x)]), x.shape, x.dtype),
  },
  {
    kernel: 'SquaredDifference',
    trace: (tracer, [a, b]) => {
      const difference = tracer.node('Sub', [tracer.read(a), tracer.read(b)]);
      const shape = tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
      return tracer.tensor(tracer.node('Mul', [difference, difference]), shape, a.dtype);
    },
  },
  // x > 0 ? 1 : alpha, the derivative of relu and abs.
  {
    kernel: 'Step',
    trace: (tracer, [x], { alpha }) => {
      const positive = tracer.node('Greater', [tracer.read(x), tracer.scalar(0)]);
      return tracer.tensor(tracer.node('Where', [positive, tracer.scalar(1), tracer.scalar(alpha ?? 0)]), x.shape, 'float32');
    },
  },
  {
    kernel: 'ClipByValue',
    onnx: 'Clip',
    trace: (tracer, [x], { clipValueMin, clipValueMax }) =>
      tracer.tensor(tracer.node('Clip', [tracer.read(x), tracer.scalar(clipValueMin), tracer.scalar(clipValueMax)]), x.shape, x.dtype),
    back: ({ inputs: [x], constant }) => tf.clipByValue(x, Number(constant(1)![0]), Number(constant(2)![0])),
  },
  {
    kernel: 'Select',
    onnx: 'Where',
    trace: (tracer, [condition, a, b]) =>
      tracer.tensor(tracer.node('Where', [tracer.read(condition), tracer.read(a), tracer.read(b)]), a.shape, a.dtype),
    back: ({ inputs: [condition, a, b] }) => tf.where(condition, tf.broadcastTo(a, condition.shape), tf.broadcastTo(b, condition.shape)),
  },
  {
    kernel: 'AddN',
    onnx: 'Sum',
    trace: (tracer, inputs) =>
      tracer.tensor(
        tracer.node(
          'Sum',
          inputs.map((x) => tracer.read(x)),
        ),
        inputs[0].shape,
        inputs[0].dtype,
      ),
    back: ({ inputs }) => tf.addN([...inputs]),
  },
  {
    kernel: 'Cast',
    onnx: 'Cast',
    trace: (tracer, [x], { dtype }) => {
      if (x.dtype === dtype) return tracer.alias(x);
      const known = tracer.known(x);
      if (known && dtype === 'float32') return tracer.constant(Float32Array.from(known), x.shape, dtype);
      const to = ONNX_TYPE_CODE[dtype as keyof typeof ONNX_TYPE_CODE];
      return tracer.tensor(tracer.node('Cast', [tracer.read(x)], { to }), x.shape, dtype);
    },
    // Integers narrower than 32 bits are float32 tensors on the way back: exact up to 2^24.
    back: ({ inputs: [x], attributes: { to } }) => {
      if (to === ONNX_TYPE_CODE.int32) return tf.cast(x, 'int32');
      return to === ONNX_TYPE_CODE.bool ? tf.cast(x, 'bool') : tf.cast(x, 'float32');
    },
  },
];
