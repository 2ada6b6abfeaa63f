import * as tf from '@tensorflow/tfjs-core';
import { adapterLayout, adapterView } from '../adapters/adapter.ts';
import type { AdapterScheme } from '../adapters/scheme.ts';
import { featureCount, flattenFeatures, frontEnd, standardize, unflattenFeatures } from '../networks/front-end.ts';
import type { Network } from '../networks/network.ts';
import { decayMask, splitParameters } from '../networks/parameter-tensors.ts';
import type { ParameterLayout } from '../networks/parameters.ts';
import type { Graph } from '../trace/graph.ts';
import { type ConstantMaker, type TracedTensors, type TraceInput, trace } from '../trace/trace.ts';
import { type AdamWOptions, adamW, DEFAULT_ADAMW } from './adamw.ts';
import { expandGelu } from './expand-gelu.ts';
import { classificationLoss } from './loss.ts';

/** Flat vectors by the network's layouts. */
export interface NetworkWeights {
  readonly parameters: Float32Array;
  readonly statistics: Float32Array;
}

export interface TrainingOptions {
  /** Samples a step; the graph's batch is fixed, a smaller batch is padded with samples of weight 0. */
  readonly batch: number;
  /** `windows`: raw samples [B, window, C]; `features`: standardised front-end features [B, F], as a bundle keeps them for replay. */
  readonly input: 'windows' | 'features';
  /** What is trained: the whole network, or an adapter on the frozen network. */
  readonly adapter?: AdapterScheme;
  readonly dropout: boolean;
  /** With an input `featureMask` [B, F] that multiplies the standardised features. */
  readonly featureMask: boolean;
  /** With the inputs `teacherLogits`, `temperature`, `distillationWeight`. */
  readonly distillation: boolean;
  /** Numbers of the teacher's embedding E', to match it too: with the inputs `teacherEmbedding` [B, E'], `embeddingWeight`. */
  readonly teacherEmbedding?: number;
  readonly optimizer?: AdamWOptions;
}

const scalar = (name: string): TraceInput => ({
  name,
  type: 'float32',
  shape: [],
});
const vector = (name: string, size: number): TraceInput => ({
  name,
  type: 'float32',
  shape: [size],
});

/** What is trained and how long it is. */
export function trainableLayout(network: Network, adapter: AdapterScheme | undefined): ParameterLayout {
  return adapter ? adapterLayout(adapter, network) : network.parameters;
}

const float = (name: string, shape: number[]): TraceInput => ({ name, type: 'float32', shape });

function sampleInputs(
  { frontEnd: { window, channels }, parts }: Network,
  { batch, input }: Pick<TrainingOptions, 'batch' | 'input'>,
): TraceInput[] {
  if (input === 'features') return [float('features', [batch, featureCount(parts)])];
  return [float('window', [batch, window, channels]), float('scale', [batch, channels])];
}

function maskInputs({ parts }: Network, { batch, featureMask }: Pick<TrainingOptions, 'batch' | 'featureMask'>): TraceInput[] {
  return featureMask ? [float('featureMask', [batch, featureCount(parts)])] : [];
}

/** Graph inputs that carry a batch, in addition to `trainable` and the hyper-parameters. */
function batchInputs(network: Network, options: TrainingOptions): TraceInput[] {
  const { batch } = options;
  const { sites, tokens, width } = network.dropout;
  return [
    ...sampleInputs(network, options),
    float('target', [batch, network.classes]),
    float('sampleWeight', [batch]),
    float('classWeight', [network.classes]),
    scalar('labelSmoothing'),
    ...maskInputs(network, options),
    ...(options.dropout ? [float('dropoutMask', [sites, batch * tokens, width])] : []),
    ...(options.distillation
      ? [float('teacherLogits', [batch, network.classes]), scalar('temperature'), scalar('distillationWeight')]
      : []),
    ...(options.teacherEmbedding ? [float('teacherEmbedding', [batch, options.teacherEmbedding]), scalar('embeddingWeight')] : []),
  ];
}

/** Standardised features of a batch, masked where the options say so. */
function inputFeatures(
  network: Network,
  options: Pick<TrainingOptions, 'input' | 'featureMask'>,
  statistics: Record<string, tf.Tensor>,
  inputs: TracedTensors,
): tf.Tensor[] {
  const features =
    options.input === 'windows'
      ? standardize(frontEnd(inputs.window, inputs.scale, network.frontEnd), network.parts, statistics)
      : unflattenFeatures(inputs.features, network.parts);
  if (!options.featureMask) return features;
  return unflattenFeatures(tf.mul(flattenFeatures(features), inputs.featureMask), network.parts);
}

/**
 * The network alone on a batch as training sees it: a teacher on the batch of its student (`parameters` baked in), or a validation while
 * training goes on (without: the input `trainable` [P]).
 *
 * Inputs: `window` and `scale`, or `features`, and `featureMask` as the options say. Outputs: `logits` [B, K], `embedding` [B, E].
 */
export function traceForward(
  network: Network,
  options: Pick<TrainingOptions, 'batch' | 'input' | 'featureMask'>,
  weights: Pick<NetworkWeights, 'statistics'> & Partial<NetworkWeights>,
): Graph {
  const { parameters } = weights;
  const inputs = [
    ...(parameters ? [] : [vector('trainable', network.parameters.size)]),
    ...sampleInputs(network, options),
    ...maskInputs(network, options),
  ];
  return trace(inputs, (given, constant) => {
    const features = inputFeatures(network, options, constantsOf(network.statistics, weights.statistics, constant), given);
    const own = parameters ? constantsOf(network.parameters, parameters, constant) : splitParameters(network.parameters, given.trainable);
    const { logits, embedding } = network.forward(features, { parameters: own });
    return { logits, embedding };
  });
}

/** Loss of a batch as a function of the trainable vector, in plain tfjs ops: traced, and run eagerly as the oracle. */
export function batchLoss(
  network: Network,
  options: TrainingOptions,
  weights: {
    statistics: Record<string, tf.Tensor>;
    parameters?: Record<string, tf.Tensor>;
  },
  inputs: TracedTensors,
): (trainable: tf.Tensor) => { loss: tf.Tensor; logits: tf.Tensor } {
  const features = inputFeatures(network, options, weights.statistics, inputs);
  return (trainable) => {
    const trained = splitParameters(trainableLayout(network, options.adapter), trainable);
    const { logits, embedding } = network.forward(features, {
      parameters: options.adapter ? weights.parameters! : trained,
      adapter: options.adapter && adapterView(options.adapter, trained),
      dropout: inputs.dropoutMask,
    });
    const { target, sampleWeight, classWeight, labelSmoothing, teacherLogits, temperature, distillationWeight } = inputs;
    const embeddings = options.teacherEmbedding
      ? { student: embedding, teacher: inputs.teacherEmbedding, weight: inputs.embeddingWeight }
      : undefined;
    const distillation = options.distillation ? { teacherLogits, temperature, distillationWeight, embeddings } : undefined;
    return {
      loss: classificationLoss({ logits, target, sampleWeight, classWeight, labelSmoothing }, distillation),
      logits,
    };
  };
}

/** Named constants of a layout, which later passes find again by name. */
export function constantsOf(layout: ParameterLayout, flat: Float32Array, constant: ConstantMaker): Record<string, tf.Tensor> {
  return Object.fromEntries(layout.parameters.map(({ name, shape }) => [name, constant(name, layout.view(flat, name), shape)]));
}

/** Loss, logits and gradient of a batch. */
function gradients(network: Network, options: TrainingOptions, weights: NetworkWeights, inputs: TracedTensors, constant: ConstantMaker) {
  const statistics = constantsOf(network.statistics, weights.statistics, constant);
  const parameters = options.adapter && constantsOf(network.parameters, weights.parameters, constant);
  const compute = batchLoss(network, options, { statistics, parameters }, inputs);
  let logits: tf.Tensor | undefined;
  const { value, grad } = tf.valueAndGrad((trainable) => {
    const result = compute(trainable);
    logits = result.logits;
    return result.loss as tf.Scalar;
  })(inputs.trainable);
  return { loss: value, gradient: grad, logits: logits! };
}

const OPTIMIZER_SCALARS = ['learningRate', 'weightDecay', 'clipNorm', 'step'];

function optimizerInputs(size: number): TraceInput[] {
  return [vector('trainable', size), vector('firstMoment', size), vector('secondMoment', size), ...OPTIMIZER_SCALARS.map(scalar)];
}

function updateOutputs(layout: ParameterLayout, inputs: TracedTensors, gradient: tf.Tensor, options: AdamWOptions): TracedTensors {
  const { trainable, firstMoment, secondMoment, learningRate, weightDecay, clipNorm, step } = inputs;
  const updated = adamW(
    {
      trainable,
      gradient,
      firstMoment,
      secondMoment,
      decayMask: decayMask(layout),
      learningRate,
      weightDecay,
      clipNorm,
      step,
    },
    options,
  );
  return {
    trainableNext: updated.trainable,
    firstMomentNext: updated.firstMoment,
    secondMomentNext: updated.secondMoment,
    gradientNorm: updated.gradientNorm,
  };
}

/**
 * One whole training step as a graph: forward, backward, clipping, AdamW.
 *
 * Inputs: those of {@link TrainingOptions}, `trainable`, `firstMoment`, `secondMoment` [P], and the scalars learningRate, weightDecay,
 * clipNorm, step (from 1). Outputs: `trainableNext`, `firstMomentNext`, `secondMomentNext` [P], `gradientNorm`, `loss`, `logits`.
 *
 * @param weights statistics are baked in; parameters too where an adapter is trained, and else ignored
 */
export function traceTrainingStep(network: Network, options: TrainingOptions, weights: NetworkWeights): Graph {
  const layout = trainableLayout(network, options.adapter);
  const traced = trace([...optimizerInputs(layout.size), ...batchInputs(network, options)], (inputs, constant) => {
    const { loss, gradient, logits } = gradients(network, options, weights, inputs, constant);
    return {
      ...updateOutputs(layout, inputs, gradient, options.optimizer ?? DEFAULT_ADAMW),
      loss,
      logits,
    };
  });
  return expandGelu(traced);
}

/**
 * Only the gradient of a batch, added to what was accumulated: for gradient accumulation and for data-parallel workers.
 *
 * Inputs: those of the batch, `trainable` and `accumulated` [P]. Outputs: `gradient` [P] = accumulated + gradient, `loss`, `logits`.
 */
export function traceGradient(network: Network, options: TrainingOptions, weights: NetworkWeights): Graph {
  const { size } = trainableLayout(network, options.adapter);
  const inputs = [vector('trainable', size), vector('accumulated', size), ...batchInputs(network, options)];
  const traced = trace(inputs, (given, constant) => {
    const { loss, gradient, logits } = gradients(network, options, weights, given, constant);
    return { gradient: tf.add(gradient, given.accumulated), loss, logits };
  });
  return expandGelu(traced);
}

/** AdamW alone, on `gradient` [P] times `gradientScale` (1 / batches accumulated). Outputs as {@link traceTrainingStep}, less loss and logits. */
export function traceUpdate(network: Network, options: Pick<TrainingOptions, 'adapter' | 'optimizer'>): Graph {
  const layout = trainableLayout(network, options.adapter);
  return trace([...optimizerInputs(layout.size), vector('gradient', layout.size), scalar('gradientScale')], (inputs) =>
    updateOutputs(layout, inputs, tf.mul(inputs.gradient, inputs.gradientScale), options.optimizer ?? DEFAULT_ADAMW),
  );
}
