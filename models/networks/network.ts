import * as tf from '@tensorflow/tfjs-core';
import type { AdapterView } from '../adapters/adapter.ts';
import type { FeaturePart, FrontEndOptions } from './front-end.ts';
import type { ParameterLayout } from './parameters.ts';

/** A linear layer that an adapter may change: y = x W + b, W: [inputs, outputs]. */
export interface AdapterTarget {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

export interface NetworkOutput {
  /** [N, classes] */
  readonly logits: tf.Tensor;
  /** [N, embeddingWidth] */
  readonly embedding: tf.Tensor;
}

/** What a network needs beside its features to compute: its parameters, perhaps an adapter, perhaps dropout. */
export interface NetworkContext {
  readonly parameters: Readonly<Record<string, tf.Tensor>>;
  readonly adapter?: AdapterView;
  /** Kept units scaled by 1 / (1 - p), dropped ones 0: [sites, N * tokens, width]. Without it nothing is dropped. */
  readonly dropout?: tf.Tensor;
}

/**
 * A network, written once in tfjs-core ops. Everything else (inference graph, training step, adapter step, int8, eager runs) comes
 * from this description. A new network is one file that returns one of these.
 */
export interface Network {
  readonly kind: string;
  readonly classes: number;
  readonly frontEnd: FrontEndOptions;
  readonly parts: readonly FeaturePart[];
  readonly parameters: ParameterLayout;
  readonly statistics: ParameterLayout;
  readonly embeddingWidth: number;
  readonly targets: readonly AdapterTarget[];
  /** Whether features are taken relative to a machine's commissioning reference: the mean of its healthy windows, subtracted. */
  readonly reference?: boolean;
  /** Attention layers and the width of their keys and values, for prefix adapters; none in networks without attention. */
  readonly attention?: { readonly layers: number; readonly width: number };
  /** Shape of the dropout mask without its batch: `sites` masks of [N * tokens, width]. */
  readonly dropout: {
    readonly sites: number;
    readonly tokens: number;
    readonly width: number;
  };
  /** features: standardised, [N, tokens, width] a part. */
  forward(features: readonly tf.Tensor[], context: NetworkContext): NetworkOutput;
}

/**
 * y = x W + b, plus what the adapter adds. Activations stay two-dimensional, so that one matrix product serves the whole batch.
 *
 * x: [N * tokens, inputs] -> [N * tokens, outputs]
 */
export function linear(x: tf.Tensor, name: string, tokens: number, { parameters, adapter }: NetworkContext): tf.Tensor {
  const product = tf.matMul(x, parameters[`${name}.weight`]);
  const bias = parameters[`${name}.bias`];
  const y = bias ? tf.add(product, bias) : product;
  const delta = adapter?.delta(name, x, tokens);
  return delta ? tf.add(y, delta) : y;
}

/** Each part of the features becomes tokens of one width, by the layer `embed.KIND`. [N, tokens, part width] -> [N, tokens, width] a part */
export function embedParts(
  parts: readonly FeaturePart[],
  features: readonly tf.Tensor[],
  width: number,
  context: NetworkContext,
): tf.Tensor[] {
  return parts.map((part, index) => {
    const flat = tf.reshape(features[index], [-1, part.width]);
    return tf.reshape(linear(flat, `embed.${part.kind}`, part.tokens, context), [-1, part.tokens, width]);
  });
}

/** All layers that `linear` computes. */
export function denseLayers({ parameters }: ParameterLayout): AdapterTarget[] {
  return parameters
    .filter(({ name }) => name.endsWith('.weight'))
    .map(({ name, shape }) => ({ name: name.slice(0, -'.weight'.length), inputs: shape[0], outputs: shape[1] }));
}

/** Masks of a batch, one a site, each [N * tokens, width]; the identity without a mask. */
export function dropoutSites(context: NetworkContext): (x: tf.Tensor, site: number) => tf.Tensor {
  if (!context.dropout) return (x) => x;
  const masks = tf.split(context.dropout, context.dropout.shape[0], 0);
  return (x, site) => tf.mul(x, tf.reshape(masks[site], x.shape));
}

/**
 * Mean over the tokens of each window as a matrix product, whose order of summation does not depend on the batch (onnxruntime's ReduceMean
 * does). x: [N, tokens, W] -> [N, W]
 */
export function meanOverTokens(x: tf.Tensor): tf.Tensor {
  const [, tokens, width] = x.shape as [number, number, number];
  return tf.reshape(tf.matMul(tf.fill([1, 1, tokens], 1 / tokens), x), [-1, width]);
}
