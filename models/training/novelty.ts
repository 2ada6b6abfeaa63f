import * as tf from '@tensorflow/tfjs-core';
import type { ConstantMaker } from '../trace/trace.ts';

/** Where known windows lie in the embedding: what the novelty score measures from. */
export interface NoveltyReference {
  /** Numbers of an embedding. */
  readonly width: number;
  /** Equal parts of an embedding that are each scaled to unit length first. */
  readonly parts: number;
  /** Directions that are looked at. */
  readonly rank: number;
  /** Means of known windows, their parts scaled, row-major [K, width]. */
  readonly mean: Float32Array;
  /** Makes known windows equally wide in all directions about their means, row-major [width, rank]. */
  readonly whiten: Float32Array;
}

/** How a score becomes a decision: log-odds of novel against known = slope * (score - threshold). */
export interface NoveltyDecision {
  readonly threshold: number;
  readonly slope: number;
}

/** Constants by which a graph decides from its score, found again by name when they are calibrated on the int8 graph. */
export const NOVELTY_CONSTANTS = { threshold: 'novelty.threshold', slope: 'novelty.slopes' } as const;

/** Means as they stand in the whitened space, row-major [K, rank]. */
export function projectedMeans({ width, rank, mean, whiten }: NoveltyReference): Float32Array {
  const projected = new Float32Array((mean.length / width) * rank);
  for (let at = 0; at < projected.length; at++) {
    const [row, column] = [Math.floor(at / rank), at % rank];
    let sum = 0;
    for (let i = 0; i < width; i++) sum += mean[row * width + i] * whiten[i * rank + column];
    projected[at] = sum;
  }
  return projected;
}

/**
 * Distance of each embedding to the nearest known mean (Mahalanobis; Lee et al. 2018), its parts scaled to unit length. The whitening matrix is
 * named as a weight, so that the int8 pass takes it; sums are matrix products, whose order does not depend on the batch.
 *
 * embedding: [N, width] -> [N]
 */
export function noveltyScore(embedding: tf.Tensor, reference: NoveltyReference, constant: ConstantMaker): tf.Tensor {
  const { width, parts, rank, mean, whiten } = reference;
  const known = mean.length / width;
  const part = width / parts;
  // [N, parts, part] -> squared lengths [N, parts, 1]
  const byPart = tf.reshape(embedding, [-1, parts, part]);
  const lengths = tf.matMul(tf.fill([1, 1, part], 1), tf.transpose(tf.square(byPart), [0, 2, 1]));
  const scaled = tf.div(byPart, tf.sqrt(tf.add(tf.reshape(lengths, [-1, parts, 1]), 1e-12)));
  const projected = tf.matMul(tf.reshape(scaled, [-1, width]), constant('novelty.weight', whiten, [width, rank]));
  // [N, rank, 1] - [rank, K] -> [N, rank, K], summed over the rank
  const means = projectedMeans(reference);
  const columns = Float32Array.from(means, (_, at) => means[(at % known) * rank + Math.floor(at / known)]);
  const apart = tf.sub(tf.reshape(projected, [-1, rank, 1]), constant('novelty.means', columns, [rank, known]));
  const squares = tf.reshape(tf.matMul(tf.fill([1, 1, rank], 1), tf.square(apart)), [-1, known]);
  return tf.sqrt(tf.min(squares, 1));
}

/** score: [N] -> logits [N, 2] of `normal` and `novel`; even at the threshold. */
export function noveltyLogits(score: tf.Tensor, { threshold, slope }: NoveltyDecision, constant: ConstantMaker): tf.Tensor {
  const above = tf.sub(score, constant(NOVELTY_CONSTANTS.threshold, Float32Array.of(threshold), []));
  return tf.mul(tf.expandDims(above, 1), constant(NOVELTY_CONSTANTS.slope, Float32Array.of(0, slope), [1, 2]));
}
