import * as tf from '@tensorflow/tfjs-core';
import type { Operation } from '../operation.ts';

/**
 * Rows that only the int8 pass writes. On the way back integers are float32 tensors with integer values, so quantised activations are
 * rounded exactly as onnxruntime rounds them (half to even).
 */

/** Scale or zero point reshaped so that it lies along `axis` of x. */
function along(parameter: tf.Tensor, x: tf.Tensor, axis: number): tf.Tensor {
  if (parameter.size === 1) return tf.reshape(parameter, []);
  return tf.reshape(
    parameter,
    x.shape.map((size, at) => (at === (axis + x.rank) % x.rank ? size : 1)),
  );
}

export const QUANTIZED: readonly Operation[] = [
  {
    onnx: 'QuantizeLinear',
    back: ({ inputs: [x, scale, zero], constant, attributes: { axis = 1 } }) => {
      const signed = constant(2) instanceof Int8Array;
      const shifted = tf.add(tf.round(tf.div(x, along(scale, x, axis as number))), along(zero, x, axis as number));
      return signed ? tf.clipByValue(shifted, -128, 127) : tf.clipByValue(shifted, 0, 255);
    },
  },
  {
    onnx: 'DequantizeLinear',
    back: ({ inputs: [x, scale, zero], attributes: { axis = 1 } }) => {
      const shifted = zero ? tf.sub(x, along(zero, x, axis as number)) : x;
      return tf.mul(shifted, along(scale, x, axis as number));
    },
  },
  // (A - zero) B, integers times integers, then scaled: every partial sum below 2^24 is exact in float32.
  {
    onnx: 'com.microsoft.MatMulIntegerToFloat',
    back: ({ inputs: [a, b, aScale, bScale, aZero, , bias] }) => {
      const product = tf.matMul(tf.sub(a, aZero), b);
      const scaled = tf.mul(product, tf.mul(aScale, bScale));
      return bias ? tf.add(scaled, bias) : scaled;
    },
  },
];
