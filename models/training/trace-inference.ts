import * as tf from '@tensorflow/tfjs-core';
import { adapterLayout, adapterView, gatherAdapters } from '../adapters/adapter.ts';
import type { AdapterScheme } from '../adapters/scheme.ts';
import { flattenFeatures, frontEnd, standardize } from '../networks/front-end.ts';
import type { Network } from '../networks/network.ts';
import type { Graph } from '../trace/graph.ts';
import { type TraceInput, trace } from '../trace/trace.ts';
import { type NoveltyDecision, type NoveltyReference, noveltyLogits, noveltyScore } from './novelty.ts';
import { constantsOf, type NetworkWeights } from './trace-training.ts';

export interface InferenceOptions {
  /** Element type of the window input; int16 codes become physical values through `scale`. */
  readonly input: 'int16' | 'float32';
  /** With the inputs `adapterBank` [K, P] and `adapterIndex` [N]. Row 0 of the bank must be zero: it is the base itself. */
  readonly adapter?: AdapterScheme;
  /** With the inputs `referenceBank` [K, R] and `referenceIndex` [N], subtracted from the features. Row 0 must be zero: no reference. */
  readonly reference: boolean;
  /** Divides the logits before the softmax (Guo et al. 2017). */
  readonly temperature: number;
  /** With the output `novelty` [N]; with a decision, the logits are those of `normal` and `novel` by that score, and not the network's. */
  readonly novelty?: { readonly reference: NoveltyReference; readonly decision?: NoveltyDecision };
}

/** Numbers a stream's commissioning reference has: the mean of its standardised features over healthy windows, frames averaged. */
export function referenceSize(network: Network): number {
  return network.parts.reduce((sum, { width }) => sum + width, 0);
}

function windowInputs(network: Network, type: 'int16' | 'float32'): TraceInput[] {
  const { window, channels } = network.frontEnd;
  return [
    { name: 'window', type, shape: ['N', window, channels] },
    { name: 'scale', type: 'float32', shape: ['N', channels] },
  ];
}

/**
 * The graph that decides.
 *
 * Inputs: `window` [N, window, C], `scale` [N, C] physical units a code, and those of {@link InferenceOptions}.
 * Outputs: `logits` [N, classes], `probabilities` [N, classes], `embedding` [N, E]; with `reference` also `features` [N, R], from whose
 * mean over healthy windows a stream's reference is made; with `novelty` also `novelty` [N], the distance from what is known.
 */
export function traceInference(network: Network, options: InferenceOptions, weights: NetworkWeights): Graph {
  const layout = options.adapter && adapterLayout(options.adapter, network);
  const inputs: TraceInput[] = windowInputs(network, options.input);
  if (layout)
    inputs.push({ name: 'adapterBank', type: 'float32', shape: ['K', layout.size] }, { name: 'adapterIndex', type: 'int32', shape: ['N'] });
  if (options.reference) {
    inputs.push(
      {
        name: 'referenceBank',
        type: 'float32',
        shape: ['K', referenceSize(network)],
      },
      { name: 'referenceIndex', type: 'int32', shape: ['N'] },
    );
  }
  return trace(inputs, (given, constant) => {
    const statistics = constantsOf(network.statistics, weights.statistics, constant);
    const parameters = constantsOf(network.parameters, weights.parameters, constant);
    const temperature = constant('temperature', Float32Array.of(options.temperature), []);
    let features = standardize(frontEnd(given.window, given.scale, network.frontEnd), network.parts, statistics);
    let means: tf.Tensor | undefined;
    if (options.reference) {
      means = tf.concat(
        features.map((part) => tf.mean(part, 1)),
        1,
      );
      const reference = tf.gather(given.referenceBank, given.referenceIndex as tf.Tensor1D);
      const split = tf.split(
        reference,
        network.parts.map(({ width }) => width),
        1,
      );
      features = features.map((part, index) => tf.sub(part, tf.expandDims(split[index], 1)));
    }
    const adapter =
      layout && options.adapter && adapterView(options.adapter, gatherAdapters(layout, given.adapterBank, given.adapterIndex));
    const { logits: decided, embedding } = network.forward(features, {
      parameters,
      adapter,
    });
    const novelty = options.novelty && noveltyScore(embedding, options.novelty.reference, constant);
    const logits = novelty && options.novelty?.decision ? noveltyLogits(novelty, options.novelty.decision, constant) : decided;
    const probabilities = tf.softmax(tf.div(logits, temperature));
    return {
      logits,
      probabilities,
      embedding,
      ...(means && { features: means }),
      ...(novelty && { novelty }),
    };
  });
}

/**
 * The front end alone: `window`, `scale` -> `features` [N, F]. `standardized` with the statistics applied, as replay windows are kept;
 * without them to measure the statistics.
 */
export function traceFrontEnd(network: Network, input: 'int16' | 'float32', statistics?: Float32Array): Graph {
  return trace(windowInputs(network, input), ({ window, scale }, constant) => {
    const raw = frontEnd(window, scale, network.frontEnd);
    const features = statistics ? standardize(raw, network.parts, constantsOf(network.statistics, statistics, constant)) : raw;
    return { features: flattenFeatures(features) };
  });
}
