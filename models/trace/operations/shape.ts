import * as tf from '@tensorflow/tfjs-core';
import type { Operation } from '../operation.ts';
import { BATCH_SENTINEL, type Tracer } from '../tracer.ts';

/** Integers of a shape-like input: a constant of the graph, or computed while running. */
function intsOf(values: ArrayLike<number | bigint> | undefined, tensor: tf.Tensor): number[] {
  return Array.from(values ?? tensor.dataSync(), Number);
}

/** Sum, mean, max, min over axes. x: any shape -> x without the axes, or with size 1 there. */
function reduction(
  kernel: string,
  onnx: string,
  back: (x: tf.Tensor, axes: number[] | undefined, keepDims: boolean) => tf.Tensor,
): Operation {
  return {
    kernel,
    onnx,
    trace: (tracer, [x], { axis, reductionIndices, keepDims }) => {
      // Max and Min call their axes `reductionIndices`, Sum and Mean `axis`.
      const axes = tf.util.parseAxisParam(reductionIndices ?? axis, x.shape);
      const kept = x.shape.map((size, at) => (axes.includes(at) ? 1 : size));
      const shape = keepDims ? kept : x.shape.filter((_, at) => !axes.includes(at));
      const value = tracer.node(onnx, [tracer.read(x), tracer.ints(axes)], {
        keepdims: keepDims ? 1 : 0,
      });
      return tracer.tensor(value, shape, x.dtype === 'bool' ? 'int32' : x.dtype);
    },
    back: ({ inputs: [x, axes], constant, attributes: { keepdims } }) => back(x, intsOf(constant(1) as Int32Array, axes), keepdims === 1),
  };
}

function fill(tracer: Tracer, shape: number[], value: number, dtype: tf.DataType): tf.TensorInfo {
  if (shape.every((size) => size % BATCH_SENTINEL !== 0)) {
    const size = shape.reduce((product, dim) => product * dim, 1);
    const values = dtype === 'int32' ? new Int32Array(size) : dtype === 'bool' ? new Uint8Array(size) : new Float32Array(size);
    return tracer.constant(values.fill(value), shape, dtype);
  }
  const one = tracer.read(tracer.constant(Float32Array.of(value), [], dtype));
  return tracer.tensor(tracer.node('Expand', [one, tracer.runtimeShape(shape)]), shape, dtype);
}

export const SHAPE: readonly Operation[] = [
  {
    kernel: 'Reshape',
    onnx: 'Reshape',
    trace: (tracer, [x], { shape }) =>
      tracer.reshape(
        x,
        tf.util.inferFromImplicitShape(
          shape,
          x.shape.reduce((a, b) => a * b, 1),
        ),
      ),
    back: ({ inputs: [x, shape], constant }) => tf.reshape(x, intsOf(constant(1) as Int32Array, shape)),
  },
  {
    kernel: 'ExpandDims',
    trace: (tracer, [x], { dim }) => {
      const shape = [...x.shape];
      shape.splice(dim < 0 ? shape.length + dim + 1 : dim, 0, 1);
      return tracer.reshape(x, shape);
    },
  },
  {
    kernel: 'Transpose',
    onnx: 'Transpose',
    trace: (tracer, [x], { perm }) =>
      tracer.tensor(
        tracer.node('Transpose', [tracer.read(x)], { perm }),
        perm.map((axis: number) => x.shape[axis]),
        x.dtype,
      ),
    back: ({ inputs: [x], attributes: { perm } }) => tf.transpose(x, [...(perm as number[])]),
  },
  {
    kernel: 'Concat',
    onnx: 'Concat',
    trace: (tracer, inputs, { axis }) => {
      const at = tf.util.parseAxisParam(axis, inputs[0].shape)[0];
      const parts = inputs.filter((x) => x.shape.every((size) => size > 0));
      if (parts.length === 1) return tracer.alias(parts[0]);
      const shape = [...inputs[0].shape];
      shape[at] = inputs.reduce((sum, x) => sum + x.shape[at], 0);
      const value = tracer.node(
        'Concat',
        parts.map((x) => tracer.read(x)),
        { axis: at },
      );
      return tracer.tensor(value, shape, inputs[0].dtype);
    },
    back: ({ inputs, attributes: { axis } }) => tf.concat([...inputs], axis as number),
  },
  {
    kernel: 'Pack',
    trace: (tracer, inputs, { axis }) => {
      const at = axis < 0 ? inputs[0].shape.length + axis + 1 : axis;
      const widened = [...inputs[0].shape];
      widened.splice(at, 0, 1);
      const parts = inputs.map((x) => tracer.read(tracer.reshape(x, widened)));
      const shape = widened.map((size, index) => (index === at ? inputs.length : size));
      return tracer.tensor(tracer.node('Concat', parts, { axis: at }), shape, inputs[0].dtype);
    },
  },
  {
    kernel: 'SplitV',
    onnx: 'Split',
    trace: (tracer, [x], { numOrSizeSplits, axis }) => {
      const at = tf.util.parseAxisParam(axis, x.shape)[0];
      const sizes = tf.backend_util.prepareSplitSize(x as tf.Tensor, numOrSizeSplits, at);
      const names = tracer.nodes('Split', [tracer.read(x), tracer.ints(sizes)], { axis: at }, sizes.length);
      return names.map((name, index) =>
        tracer.tensor(
          name,
          x.shape.map((size, dim) => (dim === at ? sizes[index] : size)),
          x.dtype,
        ),
      );
    },
    back: ({ inputs: [x, sizes], constant, attributes: { axis } }) => tf.split(x, intsOf(constant(1) as Int32Array, sizes), axis as number),
  },
  {
    kernel: 'Unpack',
    trace: (tracer, _inputs, { axis }, { value }) => {
      const at = tf.util.parseAxisParam(axis, value.shape)[0];
      const count = value.shape[at];
      const widened = value.shape.map((size, index) => (index === at ? 1 : size));
      const shape = value.shape.filter((_, index) => index !== at);
      const names = tracer.nodes('Split', [tracer.read(value), tracer.ints(Array<number>(count).fill(1))], { axis: at }, count);
      return names.map((name) => tracer.reshape(tracer.tensor(name, widened, value.dtype), shape));
    },
  },
  {
    kernel: 'Slice',
    onnx: 'Slice',
    trace: (tracer, [x], { begin, size }) => {
      const [starts, sizes] = tf.slice_util.parseSliceParams(x as tf.Tensor, begin, size);
      const axes = x.shape.map((_, axis) => axis).filter((axis) => starts[axis] !== 0 || sizes[axis] !== x.shape[axis]);
      if (axes.length === 0) return tracer.alias(x);
      if (axes.some((axis) => x.shape[axis] % BATCH_SENTINEL === 0)) throw new Error('the batch cannot be sliced while tracing');
      const value = tracer.node('Slice', [
        tracer.read(x),
        tracer.ints(axes.map((axis) => starts[axis])),
        tracer.ints(axes.map((axis) => starts[axis] + sizes[axis])),
        tracer.ints(axes),
      ]);
      return tracer.tensor(value, sizes, x.dtype);
    },
    back: ({ inputs: [x, starts, ends, axes], constant }) => {
      const begin = x.shape.map(() => 0);
      const size = [...x.shape];
      const [from, to, at] = [starts, ends, axes].map((tensor, index) => intsOf(constant(index + 1) as Int32Array, tensor));
      at.forEach((axis, index) => {
        begin[axis] = from[index];
        size[axis] = to[index] - from[index];
      });
      return tf.slice(x, begin, size);
    },
  },
  {
    kernel: 'Tile',
    onnx: 'Tile',
    trace: (tracer, [x], { reps }) => {
      const shape = x.shape.map((size, axis) => size * reps[axis]);
      // A repeated dimension of size 1 is a broadcast, which also works for the batch.
      if (x.shape.every((size, axis) => size === 1 || reps[axis] === 1)) {
        return tracer.tensor(tracer.node('Expand', [tracer.read(x), tracer.runtimeShape(shape)]), shape, x.dtype);
      }
      return tracer.tensor(tracer.node('Tile', [tracer.read(x), tracer.ints(reps)]), shape, x.dtype);
    },
    back: ({ inputs: [x, reps], constant }) => tf.tile(x, intsOf(constant(1) as Int32Array, reps)),
  },
  {
    onnx: 'Expand',
    back: ({ inputs: [x, shape], constant }) => tf.broadcastTo(x, intsOf(constant(1) as Int32Array, shape)),
  },
  {
    onnx: 'Shape',
    back: ({ inputs: [x], attributes: { start, end } }) => tf.tensor1d(x.shape.slice(start as number, end as number), 'int32'),
  },
  {
    kernel: 'PadV2',
    onnx: 'Pad',
    trace: (tracer, [x], { paddings, constantValue }) => {
      const pads = [...paddings.map(([before]: number[]) => before), ...paddings.map(([, after]: number[]) => after)];
      const value = tracer.node('Pad', [tracer.read(x), tracer.ints(pads), tracer.scalar(constantValue)]);
      return tracer.tensor(
        value,
        x.shape.map((size, axis) => size + paddings[axis][0] + paddings[axis][1]),
        x.dtype,
      );
    },
    back: ({ inputs: [x, pads], constant }) => {
      const widths = intsOf(constant(1) as Int32Array, pads);
      return tf.pad(
        x,
        x.shape.map((_, axis) => [widths[axis], widths[axis + x.rank]]),
        Number(constant(2)![0]),
      );
    },
  },
  {
    kernel: 'GatherV2',
    onnx: 'Gather',
    trace: (tracer, _inputs, { axis, batchDims }, named) => {
      if (batchDims) throw new Error('gather with batchDims cannot be traced');
      const { x, indices } = named;
      const at = tf.util.parseAxisParam(axis, x.shape)[0];
      const shape = [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)];
      return tracer.tensor(
        tracer.node('Gather', [tracer.read(x), tracer.read(indices)], {
          axis: at,
        }),
        shape,
        x.dtype,
      );
    },
    back: ({ inputs: [x, indices], attributes: { axis } }) => tf.gather(x, tf.cast(indices, 'int32'), (axis as number) ?? 0),
  },
  {
    kernel: 'Fill',
    trace: (tracer, _inputs, { shape, value, dtype }) => fill(tracer, shape, value, dtype ?? 'float32'),
  },
  {
    kernel: 'ZerosLike',
    trace: (tracer, [x]) => fill(tracer, x.shape, 0, x.dtype),
  },
  {
    kernel: 'OnesLike',
    trace: (tracer, [x]) => fill(tracer, x.shape, 1, x.dtype),
  },
  reduction('Sum', 'ReduceSum', (x, axes, keepDims) => tf.sum(x, axes, keepDims)),
  reduction('Mean', 'ReduceMean', (x, axes, keepDims) => tf.mean(x, axes, keepDims)),
  reduction('Max', 'ReduceMax', (x, axes, keepDims) => tf.max(x, axes, keepDims)),
  reduction('Min', 'ReduceMin', (x, axes, keepDims) => tf.min(x, axes, keepDims)),
];
