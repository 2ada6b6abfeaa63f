import * as tf from '@tensorflow/tfjs-core';

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

export const DEFAULT_ADAMW: AdamWOptions = {
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
};

export interface AdamWInputs {
  /** [P], as are gradient and both moments. */
  readonly trainable: tf.Tensor;
  readonly gradient: tf.Tensor;
  readonly firstMoment: tf.Tensor;
  readonly secondMoment: tf.Tensor;
  /** 1 where weight decay applies, [P]. */
  readonly decayMask: tf.Tensor;
  /** Scalars. `step` counts from 1. A `clipNorm` above any gradient's norm switches clipping off. */
  readonly learningRate: tf.Tensor;
  readonly weightDecay: tf.Tensor;
  readonly clipNorm: tf.Tensor;
  readonly step: tf.Tensor;
}

export interface AdamWOutputs {
  readonly trainable: tf.Tensor;
  readonly firstMoment: tf.Tensor;
  readonly secondMoment: tf.Tensor;
  /** Global norm before clipping, scalar. */
  readonly gradientNorm: tf.Tensor;
}

/**
 * One step of AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019) after clipping by the global norm, over one flat
 * vector of parameters. Agrees with torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
 */
export function adamW(inputs: AdamWInputs, { beta1, beta2, epsilon }: AdamWOptions): AdamWOutputs {
  const { trainable, firstMoment, secondMoment, decayMask, learningRate, weightDecay, clipNorm, step } = inputs;
  // Scalars are gathered before they meet the vectors: every operation on a vector is a pass through memory.
  const square = tf.square(inputs.gradient);
  const gradientNorm = tf.sqrt(tf.sum(square));
  const clip = tf.minimum(tf.div(clipNorm, tf.add(gradientNorm, 1e-6)), 1);
  const first = tf.add(tf.mul(firstMoment, beta1), tf.mul(inputs.gradient, tf.mul(clip, 1 - beta1)));
  const second = tf.add(tf.mul(secondMoment, beta2), tf.mul(square, tf.mul(tf.square(clip), 1 - beta2)));
  // beta^step = exp(step * ln beta)
  const correction = (beta: number) => tf.sub(1, tf.exp(tf.mul(step, Math.log(beta))));
  // sqrt(v / c) + eps = (sqrt(v) + eps sqrt(c)) / sqrt(c)
  const root = tf.sqrt(correction(beta2));
  const rate = tf.div(tf.mul(learningRate, root), correction(beta1));
  const denominator = tf.add(tf.sqrt(second), tf.mul(root, epsilon));
  const decayed = tf.mul(trainable, tf.sub(1, tf.mul(decayMask, tf.mul(learningRate, weightDecay))));
  return {
    trainable: tf.sub(decayed, tf.mul(rate, tf.div(first, denominator))),
    firstMoment: first,
    secondMoment: second,
    gradientNorm,
  };
}
