import * as tf from '@tensorflow/tfjs-core';
import type { ParameterLayout } from './parameters.ts';

/** flat: [size] or [N, size] -> one tensor a parameter, of its shape or [N, ...shape]. Differentiable. */
export function splitParameters(layout: ParameterLayout, flat: tf.Tensor): Record<string, tf.Tensor> {
  const leading = flat.shape.slice(0, -1);
  const parts = tf.split(
    flat,
    layout.parameters.map(({ size }) => size),
    flat.rank - 1,
  );
  return Object.fromEntries(layout.parameters.map(({ name, shape }, index) => [name, tf.reshape(parts[index], [...leading, ...shape])]));
}

/** 1 where weight decay applies (matrices), 0 elsewhere (biases, norms), [size]. */
export function decayMask(layout: ParameterLayout): tf.Tensor {
  return tf.concat(layout.parameters.map(({ shape, size }) => tf.fill([size], shape.length > 1 ? 1 : 0)));
}
