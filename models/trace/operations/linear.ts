import * as tf from '@tensorflow/tfjs-core';
import type { Operation } from '../operation.ts';

/** Permutation that swaps the last two axes. */
function swapLast(rank: number): number[] {
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  [perm[rank - 2], perm[rank - 1]] = [rank - 1, rank - 2];
  return perm;
}

export const LINEAR: readonly Operation[] = [
  // a: [..., m, k] (or [..., k, m] transposed), b: [..., k, n] -> [..., m, n]; leading axes broadcast.
  {
    kernel: 'BatchMatMul',
    onnx: 'MatMul',
    trace: (tracer, [a, b], { transposeA, transposeB }) => {
      const outer = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
      const rows = a.shape[a.shape.length - (transposeA ? 1 : 2)];
      const columns = b.shape[b.shape.length - (transposeB ? 2 : 1)];
      const shape = [...outer, rows, columns];
      const [left, right] = [tracer.read(a), tracer.read(b)];
      // A weight's gradient, x^T dy: turning the smaller factor by itself is faster than a Gemm that reads it turned. By way of a rank 3,
      // so that onnxruntime does not fuse the two again; what several gradients share it turns once.
      if (a.shape.length === 2 && b.shape.length === 2 && transposeA && !transposeB && rows <= Math.max(columns, 256)) {
        const cube = tracer.node('Reshape', [left, tracer.ints([1, ...a.shape])]);
        const turned = tracer.node('Reshape', [tracer.node('Transpose', [cube], { perm: [0, 2, 1] }), tracer.ints([rows, a.shape[0]])]);
        return tracer.tensor(tracer.node('MatMul', [turned, right]), shape, 'float32');
      }
      // Gemm reads a transposed matrix in place; only for matrices proper.
      if (a.shape.length === 2 && b.shape.length === 2 && (transposeA || transposeB)) {
        const value = tracer.node('Gemm', [left, right], {
          transA: transposeA ? 1 : 0,
          transB: transposeB ? 1 : 0,
        });
        return tracer.tensor(value, shape, 'float32');
      }
      const turned = (name: string, x: tf.TensorInfo) => tracer.node('Transpose', [name], { perm: swapLast(x.shape.length) });
      return tracer.tensor(
        tracer.node('MatMul', [transposeA ? turned(left, a) : left, transposeB ? turned(right, b) : right]),
        shape,
        'float32',
      );
    },
    back: ({ inputs: [a, b] }) => tf.matMul(a, b),
  },
  {
    onnx: 'Gemm',
    back: ({ inputs: [a, b, c], attributes: { transA, transB } }) => {
      const product = tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D, transA === 1, transB === 1);
      return c ? tf.add(product, c) : product;
    },
  },
  {
    kernel: 'Softmax',
    onnx: 'Softmax',
    trace: (tracer, _inputs, { dim }, { logits }) =>
      tracer.tensor(tracer.node('Softmax', [tracer.read(logits)], { axis: dim }), logits.shape, 'float32'),
    back: ({ inputs: [x], attributes: { axis } }) => tf.softmax(x, axis as number),
  },
];
