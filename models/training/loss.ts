import * as tf from '@tensorflow/tfjs-core';

export interface LossInputs {
  /** [B, K] */
  readonly logits: tf.Tensor;
  /** Class probabilities, one-hot or mixed, [B, K] */
  readonly target: tf.Tensor;
  /** 0 for padding, [B] */
  readonly sampleWeight: tf.Tensor;
  /** [K] */
  readonly classWeight: tf.Tensor;
  /** Share of the target spread evenly over all classes, scalar. */
  readonly labelSmoothing: tf.Tensor;
}

export interface DistillationInputs {
  /** [B, K] */
  readonly teacherLogits: tf.Tensor;
  /** Scalar; softens both distributions. */
  readonly temperature: tf.Tensor;
  /** Share of the distillation loss, scalar in [0, 1]. */
  readonly distillationWeight: tf.Tensor;
  /** Embeddings of the batch, [B, E] and [B, E'], and the weight of their likeness, scalar. */
  readonly embeddings?: { readonly student: tf.Tensor; readonly teacher: tf.Tensor; readonly weight: tf.Tensor };
}

/** Cosines of all pairs of rows. x: [B, E] -> [B, B] */
function cosines(x: tf.Tensor): tf.Tensor {
  const length = tf.sqrt(tf.add(tf.sum(tf.square(x), 1, true), 1e-12));
  const unit = tf.div(x, length);
  return tf.matMul(unit as tf.Tensor2D, unit as tf.Tensor2D, false, true);
}

/**
 * How differently two networks place the windows of a batch to one another: mean squared difference of all cosines (Tung and Mori 2019, with
 * cosines for products). Needs no projection between embeddings of different widths.
 */
function embeddingMismatch(student: tf.Tensor, teacher: tf.Tensor): tf.Tensor {
  return tf.mean(tf.square(tf.sub(cosines(student), cosines(teacher))));
}

/** Weighted mean over the batch; the weights' sum is kept from zero so that a batch of padding alone gives 0. */
function weightedMean(loss: tf.Tensor, weight: tf.Tensor): tf.Tensor {
  return tf.div(tf.sum(tf.mul(loss, weight)), tf.maximum(tf.sum(weight), 1e-12));
}

/**
 * Cross-entropy with label smoothing (Szegedy et al. 2016) and class weights, averaged over the samples' weights as PyTorch's
 * CrossEntropyLoss does; with a teacher, mixed with T^2 KL(teacher || student) at temperature T (Hinton et al. 2015).
 *
 * @returns scalar
 */
export function classificationLoss(inputs: LossInputs, distillation?: DistillationInputs): tf.Tensor {
  const { logits, target, sampleWeight, classWeight, labelSmoothing } = inputs;
  const classes = logits.shape[1]!;
  const smooth = tf.add(tf.mul(target, tf.sub(1, labelSmoothing)), tf.div(labelSmoothing, classes));
  const crossEntropy = tf.neg(tf.sum(tf.mul(smooth, tf.logSoftmax(logits)), 1));
  const weight = tf.mul(sampleWeight, tf.sum(tf.mul(target, classWeight), 1));
  const supervised = weightedMean(crossEntropy, weight);
  if (!distillation) return supervised;
  const { teacherLogits, temperature, distillationWeight } = distillation;
  const teacher = tf.logSoftmax(tf.div(teacherLogits, temperature));
  const student = tf.logSoftmax(tf.div(logits, temperature));
  const divergence = tf.sum(tf.mul(tf.exp(teacher), tf.sub(teacher, student)), 1);
  const soft = tf.mul(weightedMean(divergence, sampleWeight), tf.square(temperature));
  const mixed = tf.add(tf.mul(supervised, tf.sub(1, distillationWeight)), tf.mul(soft, distillationWeight));
  const { embeddings } = distillation;
  return embeddings ? tf.add(mixed, tf.mul(embeddingMismatch(embeddings.student, embeddings.teacher), embeddings.weight)) : mixed;
}
