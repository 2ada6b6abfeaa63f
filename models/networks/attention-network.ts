import * as tf from '@tensorflow/tfjs-core';
import { geluActivation, layerNorm } from '../trace/operations/composite.ts';
import { type FrontEndOptions, featureParts, statisticsSpecs, type TokenKind } from './front-end.ts';
import {
  denseLayers,
  dropoutSites,
  embedParts,
  linear,
  meanOverTokens,
  type Network,
  type NetworkContext,
  type NetworkOutput,
} from './network.ts';
import { ParameterLayout, type ParameterSpec } from './parameters.ts';

export interface AttentionNetworkOptions {
  readonly kind: 'attention';
  readonly window: number;
  readonly channels: number;
  readonly classes: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Numbers a head; `width / heads` before pruning, the same after it. */
  readonly headDepth: number;
  readonly feedForward: number;
  readonly tokens: readonly TokenKind[];
  readonly patch: number;
  readonly hop: number;
}

/**
 * Short-time spectra and statistics. One fine spectrum and the envelope's beside them were right more often on machines that training knew, and
 * less often on others (uet_motor1k: 2 points a window, 8 in the hardest block).
 */
const STUDENT_TOKENS: readonly TokenKind[] = ['frames', 'statistics'];
/** All kinds of spectra. */
export const SPECTRAL_TOKENS: readonly TokenKind[] = ['frames', 'spectrum', 'envelope', 'statistics'];

/** The student: 42 thousand parameters for one channel. */
export const STUDENT: AttentionNetworkOptions = {
  kind: 'attention',
  window: 512,
  channels: 3,
  classes: 12,
  width: 48,
  layers: 2,
  heads: 8,
  headDepth: 6,
  feedForward: 96,
  tokens: STUDENT_TOKENS,
  patch: 16,
  hop: 32,
};

/** The teacher: 1.3 million parameters. */
export const TEACHER: AttentionNetworkOptions = {
  ...STUDENT,
  width: 160,
  headDepth: 20,
  layers: 4,
  feedForward: 640,
};

function linearSpecs(name: string, inputs: number, outputs: number, bias = true): ParameterSpec[] {
  const weight: ParameterSpec = {
    name: `${name}.weight`,
    shape: [inputs, outputs],
    initial: { uniform: inputs },
  };
  return bias ? [weight, { name: `${name}.bias`, shape: [outputs], initial: { fill: 0 } }] : [weight];
}

function normSpecs(name: string, width: number): ParameterSpec[] {
  return [
    { name: `${name}.scale`, shape: [width], initial: { fill: 1 } },
    { name: `${name}.bias`, shape: [width], initial: { fill: 0 } },
  ];
}

/**
 * Pre-LN transformer encoder (Vaswani et al. 2017; Xiong et al. 2020) over the time and spectrum tokens of one window, with a class
 * token. Embedding: [class token, mean of the other tokens]; linear head.
 *
 * The key projection has no bias: softmax does not change when all scores of a query move together, so its gradient is zero and
 * AdamW would only amplify rounding noise.
 */
export function attentionNetwork(options: AttentionNetworkOptions): Network {
  const { width, layers, heads, headDepth, feedForward, classes } = options;
  const inner = heads * headDepth;
  const frontEnd: FrontEndOptions = options;
  const parts = featureParts(frontEnd);
  const tokens = 1 + parts.reduce((sum, part) => sum + part.tokens, 0);
  const layer = (index: number): ParameterSpec[] => {
    const name = `layer${index}`;
    return [
      ...normSpecs(`${name}.attention.norm`, width),
      ...linearSpecs(`${name}.attention.q`, width, inner),
      ...linearSpecs(`${name}.attention.k`, width, inner, false),
      ...linearSpecs(`${name}.attention.v`, width, inner),
      ...linearSpecs(`${name}.attention.o`, inner, width),
      ...normSpecs(`${name}.ffn.norm`, width),
      ...linearSpecs(`${name}.ffn.in`, width, feedForward),
      ...linearSpecs(`${name}.ffn.out`, feedForward, width),
    ];
  };
  const parameters = new ParameterLayout([
    ...parts.flatMap((part) => linearSpecs(`embed.${part.kind}`, part.width, width)),
    { name: 'classToken', shape: [width], initial: { normal: 0.02 } },
    { name: 'positions', shape: [tokens, width], initial: { normal: 0.02 } },
    ...Array.from({ length: layers }, (_, index) => layer(index)).flat(),
    ...normSpecs('norm', width),
    ...linearSpecs('head', 2 * width, classes),
  ]);

  function attention(x: tf.Tensor, name: string, index: number, context: NetworkContext): tf.Tensor {
    // I = H * D. [N * T, I] -> [N, H, D, T]. Queries, keys and values all lie with time last, because turning [T, I] into [I, T] is one fast transpose,
    // while [T, H, D] into [H, T, D] moves D numbers at a time; the products below read them transposed where they must.
    const byHead = (projection: tf.Tensor, count: number) =>
      tf.reshape(tf.transpose(tf.reshape(projection, [-1, count, inner]), [0, 2, 1]), [-1, heads, headDepth, count]);
    const project = (target: string) => linear(x, `${name}.${target}`, tokens, context);
    // Scaling the queries costs I products a token, scaling the scores heads * T.
    const q = byHead(tf.mul(project('q'), 1 / Math.sqrt(headDepth)), tokens);
    const prefix = context.adapter?.prefix(index);
    const widen = (projection: tf.Tensor, extra: tf.Tensor | undefined) =>
      extra ? tf.reshape(tf.concat([batched(extra, x, tokens), tf.reshape(projection, [-1, tokens, inner])], 1), [-1, inner]) : projection;
    const length = tokens + (prefix?.length ?? 0);
    const k = byHead(widen(project('k'), prefix?.keys), length);
    const v = byHead(widen(project('v'), prefix?.values), length);
    // [N, H, T, D] x [N, H, D, L] -> [N, H, T, L]
    const scores = tf.matMul(q, k, true, false);
    const weights = tf.softmax(prefix ? tf.add(scores, prefix.scoreBias(tokens)) : scores);
    // [N, H, D, L] x [N, H, L, T] -> [N, H, D, T] -> [N * T, I]
    const mixed = tf.reshape(tf.transpose(tf.reshape(tf.matMul(v, weights, false, true), [-1, inner, tokens]), [0, 2, 1]), [-1, inner]);
    return linear(mixed, `${name}.o`, tokens, context);
  }

  return {
    kind: 'attention',
    classes,
    frontEnd,
    parts,
    parameters,
    statistics: new ParameterLayout(statisticsSpecs(parts)),
    embeddingWidth: 2 * width,
    targets: denseLayers(parameters),
    attention: { layers, width: inner },
    dropout: { sites: 1 + 2 * layers, tokens, width },

    forward(features, context): NetworkOutput {
      const { parameters: p } = context;
      const drop = dropoutSites(context);
      const embedded = embedParts(parts, features, width, context);
      // The class token takes its batch from the first part's first token; Expand would read it from the graph's input.
      const classToken = batched(tf.reshape(p.classToken, [1, width]), tf.reshape(embedded[0], [-1, width]), parts[0].tokens);
      let x = tf.add(tf.concat([classToken, ...embedded], 1), p.positions);
      x = drop(tf.reshape(x, [-1, width]), 0);
      for (let index = 0; index < layers; index++) {
        const name = `layer${index}`;
        const attended = attention(
          layerNorm(x, p[`${name}.attention.norm.scale`], p[`${name}.attention.norm.bias`]),
          `${name}.attention`,
          index,
          context,
        );
        x = tf.add(x, drop(attended, 1 + 2 * index));
        const normed = layerNorm(x, p[`${name}.ffn.norm.scale`], p[`${name}.ffn.norm.bias`]);
        const hidden = geluActivation(linear(normed, `${name}.ffn.in`, tokens, context));
        x = tf.add(x, drop(linear(hidden, `${name}.ffn.out`, tokens, context), 2 + 2 * index));
      }
      const last = tf.reshape(layerNorm(x, p['norm.scale'], p['norm.bias']), [-1, tokens, width]);
      const first = tf.reshape(tf.slice(last, [0, 0, 0], [-1, 1, width]), [-1, width]);
      const mean = meanOverTokens(tf.slice(last, [0, 1, 0], [-1, tokens - 1, width]));
      const embedding = tf.concat([first, mean], 1);
      return { logits: linear(embedding, 'head', 1, context), embedding };
    },
  };
}

/** Repeats rows for every window. rows: [L, W] or already [N, L, W]; like: [N * tokens, W] -> [N, L, W] */
function batched(rows: tf.Tensor, like: tf.Tensor, tokens: number): tf.Tensor {
  if (rows.rank === 3) return rows;
  const count = like.shape[0] / tokens;
  return tf.broadcastTo(tf.expandDims(rows, 0), [count, rows.shape[0], rows.shape[1]!]);
}
