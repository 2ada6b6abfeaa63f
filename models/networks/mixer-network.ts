import * as tf from '@tensorflow/tfjs-core';
import { geluActivation, layerNorm } from '../trace/operations/composite.ts';
import { type FrontEndOptions, featureParts, statisticsSpecs, type TokenKind } from './front-end.ts';
import { denseLayers, dropoutSites, embedParts, linear, meanOverTokens, type Network, type NetworkOutput } from './network.ts';
import { ParameterLayout, type ParameterSpec } from './parameters.ts';

export interface MixerNetworkOptions {
  readonly kind: 'mixer';
  readonly window: number;
  readonly channels: number;
  readonly classes: number;
  readonly width: number;
  readonly layers: number;
  readonly tokenHidden: number;
  readonly tokens: readonly TokenKind[];
  readonly patch: number;
  readonly hop: number;
}

/**
 * The back-up: no attention, and what a signal is modulated with instead of its spectrum, so that the two err differently: noise that hides one
 * leaves the other.
 */
export const BACKUP: MixerNetworkOptions = {
  kind: 'mixer',
  window: 512,
  channels: 3,
  classes: 12,
  width: 16,
  layers: 2,
  tokenHidden: 16,
  tokens: ['envelope', 'demodulation', 'shape'],
  patch: 16,
  hop: 32,
};

/**
 * MLP-mixer (Tolstikhin et al. 2021): each layer mixes first over the tokens, then over the features of each token. Structurally
 * different from the attention network, for the fail-over.
 */
export function mixerNetwork(options: MixerNetworkOptions): Network {
  const { width, layers, classes, tokenHidden } = options;
  const frontEnd: FrontEndOptions = options;
  const parts = featureParts(frontEnd);
  const tokens = parts.reduce((sum, part) => sum + part.tokens, 0);
  const dense = (name: string, inputs: number, outputs: number): ParameterSpec[] => [
    {
      name: `${name}.weight`,
      shape: [inputs, outputs],
      initial: { uniform: inputs },
    },
    { name: `${name}.bias`, shape: [outputs], initial: { fill: 0 } },
  ];
  const norm = (name: string): ParameterSpec[] => [
    { name: `${name}.scale`, shape: [width], initial: { fill: 1 } },
    { name: `${name}.bias`, shape: [width], initial: { fill: 0 } },
  ];
  const parameters = new ParameterLayout([
    ...parts.flatMap((part) => dense(`embed.${part.kind}`, part.width, width)),
    ...Array.from({ length: layers }, (_, index) => [
      ...norm(`layer${index}.tokens.norm`),
      ...dense(`layer${index}.tokens.in`, tokens, tokenHidden),
      ...dense(`layer${index}.tokens.out`, tokenHidden, tokens),
      ...norm(`layer${index}.ffn.norm`),
      ...dense(`layer${index}.ffn.in`, width, 2 * width),
      ...dense(`layer${index}.ffn.out`, 2 * width, width),
    ]).flat(),
    ...norm('norm'),
    ...dense('head', width, classes),
  ]);

  return {
    kind: 'mixer',
    classes,
    frontEnd,
    parts,
    parameters,
    statistics: new ParameterLayout(statisticsSpecs(parts)),
    embeddingWidth: width,
    targets: denseLayers(parameters).filter(({ name }) => !name.includes('.tokens.')),
    dropout: { sites: 1 + layers, tokens, width },

    forward(features, context): NetworkOutput {
      const { parameters: p } = context;
      const drop = dropoutSites(context);
      const embedded = embedParts(parts, features, width, context);
      let x = drop(tf.reshape(embedded.length === 1 ? embedded[0] : tf.concat(embedded, 1), [-1, width]), 0);
      for (let index = 0; index < layers; index++) {
        const name = `layer${index}`;
        const normed = layerNorm(x, p[`${name}.tokens.norm.scale`], p[`${name}.tokens.norm.bias`]);
        // [N * T, W] -> [N * W, T]: every feature's course over the tokens is a row.
        const turned = tf.reshape(tf.transpose(tf.reshape(normed, [-1, tokens, width]), [0, 2, 1]), [-1, tokens]);
        const hidden = geluActivation(linear(turned, `${name}.tokens.in`, width, context));
        const mixed = tf.reshape(linear(hidden, `${name}.tokens.out`, width, context), [-1, width, tokens]);
        x = tf.add(x, tf.reshape(tf.transpose(mixed, [0, 2, 1]), [-1, width]));
        const inner = layerNorm(x, p[`${name}.ffn.norm.scale`], p[`${name}.ffn.norm.bias`]);
        const wide = geluActivation(linear(inner, `${name}.ffn.in`, tokens, context));
        x = tf.add(x, drop(linear(wide, `${name}.ffn.out`, tokens, context), 1 + index));
      }
      const last = tf.reshape(layerNorm(x, p['norm.scale'], p['norm.bias']), [-1, tokens, width]);
      const embedding = meanOverTokens(last);
      return { logits: linear(embedding, 'head', 1, context), embedding };
    },
  };
}
