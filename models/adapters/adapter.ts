import * as tf from '@tensorflow/tfjs-core';
import type { AdapterTarget, Network } from '../networks/network.ts';
import { splitParameters } from '../networks/parameter-tensors.ts';
import { ParameterLayout, type ParameterSpec } from '../networks/parameters.ts';
import { type AdapterScheme, loraScale } from './scheme.ts';

/** What a network asks of the adapter while it computes. */
export interface AdapterView {
  /** What the adapter adds to the linear layer `target`. x: [N * tokens, inputs] -> [N * tokens, outputs] */
  delta(target: string, x: tf.Tensor, tokens: number): tf.Tensor | undefined;
  prefix(layer: number): PrefixView | undefined;
}

export interface PrefixView {
  readonly length: number;
  /** [length, W], or [N, length, W] where windows differ. */
  readonly keys: tf.Tensor;
  readonly values: tf.Tensor;
  /** Added to the scores [N, H, T, length + T]: shuts the prefix out where the row is slot 0. */
  scoreBias(tokens: number): tf.Tensor;
}

function matches(name: string, pattern: string): boolean {
  const escaped = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('.*')}$`).test(name);
}

/** The linear layers that `scheme` changes. @throws Error where a pattern fits no layer */
export function adaptedTargets(scheme: AdapterScheme, network: Network): AdapterTarget[] {
  if (scheme.kind === 'prefix') return [];
  const patterns = scheme.kind === 'head' ? ['head'] : scheme.targets;
  for (const pattern of patterns) {
    if (!network.targets.some(({ name }) => matches(name, pattern))) {
      throw new Error(
        `adapter target ${pattern} fits no layer of the network; there are ${network.targets.map(({ name }) => name).join(', ')}`,
      );
    }
  }
  return network.targets.filter(({ name }) => patterns.some((pattern) => matches(name, pattern)));
}

/** Where the numbers of one adapter lie in its row of the bank. */
export function adapterLayout(scheme: AdapterScheme, network: Network): ParameterLayout {
  const specs: ParameterSpec[] = [];
  if (scheme.kind === 'prefix') {
    if (!network.attention) throw new Error(`a ${network.kind} network has no attention for a prefix`);
    const { layers, width } = network.attention;
    for (let layer = 0; layer < layers; layer++) {
      specs.push({
        name: `layer${layer}.keys`,
        shape: [scheme.length, width],
        initial: { normal: 0.5 },
      });
      specs.push({
        name: `layer${layer}.values`,
        shape: [scheme.length, width],
        initial: { normal: 0.1 },
      });
    }
    // 1 in every trained row, 0 in slot 0: an all-zero key still draws attention, so slot 0 must be shut out.
    specs.push({ name: 'gate', shape: [1], initial: { fill: 1 } });
  }
  for (const { name, inputs, outputs } of adaptedTargets(scheme, network)) {
    if (scheme.kind === 'lora') {
      // Kaiming-uniform with a = sqrt(5) is +-1/sqrt(inputs); B = 0 makes a new adapter change nothing.
      specs.push({
        name: `${name}.A`,
        shape: [inputs, scheme.rank],
        initial: { uniform: inputs },
      });
      specs.push({
        name: `${name}.B`,
        shape: [scheme.rank, outputs],
        initial: { fill: 0 },
      });
    } else {
      specs.push({
        name: `${name}.weight`,
        shape: [inputs, outputs],
        initial: { fill: 0 },
      });
      specs.push({
        name: `${name}.bias`,
        shape: [outputs],
        initial: { fill: 0 },
      });
    }
  }
  return new ParameterLayout(specs);
}

/**
 * The adapters of a batch as the network sees them.
 *
 * @param tensors by name of the layout, either of the layout's shapes (one adapter for all windows: training) or with a leading N
 * (an adapter for each window: the bank)
 */
export function adapterView(scheme: AdapterScheme, tensors: Readonly<Record<string, tf.Tensor>>): AdapterView {
  const product = (x: tf.Tensor, weight: tf.Tensor, tokens: number): tf.Tensor => {
    if (weight.rank === 2) return tf.matMul(x, weight);
    const [, inputs, outputs] = weight.shape as [number, number, number];
    return tf.reshape(tf.matMul(tf.reshape(x, [-1, tokens, inputs]), weight), [-1, outputs]);
  };
  return {
    delta(target, x, tokens) {
      const a = tensors[`${target}.A`];
      if (a && scheme.kind === 'lora') {
        const lowRank = product(x, a, tokens);
        // Rows of a bank carry the scale already: see bankRow.
        return product(a.rank === 2 ? tf.mul(lowRank, loraScale(scheme)) : lowRank, tensors[`${target}.B`], tokens);
      }
      const weight = tensors[`${target}.weight`];
      if (!weight) return undefined;
      const bias = tensors[`${target}.bias`];
      const y = product(x, weight, tokens);
      if (bias.rank === 1) return tf.add(y, bias);
      // [N, outputs] -> a row for each of the window's tokens
      const outputs = bias.shape[1]!;
      return tf.reshape(tf.add(tf.reshape(y, [-1, tokens, outputs]), tf.expandDims(bias, 1)), [-1, outputs]);
    },
    prefix(layer) {
      if (scheme.kind !== 'prefix') return undefined;
      const { length } = scheme;
      const gate = tensors.gate;
      // Step, not Greater: tfjs has a gradient for it, which is zero, so training leaves the gate alone.
      const shut = tf.mul(tf.sub(1, tf.step(tf.sub(gate, 0.5))), -1e9);
      return {
        length,
        keys: tensors[`layer${layer}.keys`],
        values: tensors[`layer${layer}.values`],
        // [1] or [N, 1] -> [1 or N, 1, 1, length + tokens]
        scoreBias: (tokens) => {
          const column = tf.reshape(shut, [-1, 1, 1, 1]);
          const rows = column.shape[0];
          return tf.concat([tf.broadcastTo(column, [rows, 1, 1, length]), tf.broadcastTo(tf.mul(column, 0), [rows, 1, 1, tokens])], 3);
        },
      };
    },
  };
}

/** Gathers a row a window. bank: [K, P], adapterIndex: [N] -> tensors by name with a leading N */
export function gatherAdapters(layout: ParameterLayout, bank: tf.Tensor, adapterIndex: tf.Tensor): Record<string, tf.Tensor> {
  return splitParameters(layout, tf.gather(bank, adapterIndex as tf.Tensor1D));
}
