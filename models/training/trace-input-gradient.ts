import * as tf from '@tensorflow/tfjs-core';
import { frontEnd, standardize } from '../networks/front-end.ts';
import type { Network } from '../networks/network.ts';
import type { Graph } from '../trace/graph.ts';
import { trace } from '../trace/trace.ts';
import { expandGelu } from './expand-gelu.ts';
import { constantsOf, type NetworkWeights } from './trace-training.ts';

/**
 * How a network's loss changes with the samples of its window: what an attack climbs (Szegedy et al. 2014). Front end and network in float32,
 * weights constant.
 *
 * Inputs: `window` [B, window, C] and `scale` [B, C] as the deciding graph has them, `target` [B, classes] class probabilities. Outputs:
 * `gradient` [B, window, C] of each window's own loss by its samples (as they stand in `window`), `loss` [B] cross-entropy in nats, `logits`
 * [B, classes].
 *
 * @param batch fixed, as gradients of sums make ones of the shape of what was summed while they are traced
 */
export function traceInputGradient(network: Network, weights: NetworkWeights, batch: number): Graph {
  const { window, channels } = network.frontEnd;
  const traced = trace(
    [
      { name: 'window', type: 'float32', shape: [batch, window, channels] },
      { name: 'scale', type: 'float32', shape: [batch, channels] },
      { name: 'target', type: 'float32', shape: [batch, network.classes] },
    ],
    (given, constant) => {
      const statistics = constantsOf(network.statistics, weights.statistics, constant);
      const parameters = constantsOf(network.parameters, weights.parameters, constant);
      let [loss, logits]: (tf.Tensor | undefined)[] = [];
      const { grad } = tf.valueAndGrad((samples) => {
        const features = standardize(frontEnd(samples, given.scale, network.frontEnd), network.parts, statistics);
        ({ logits } = network.forward(features, { parameters }));
        loss = tf.neg(tf.sum(tf.mul(given.target, tf.logSoftmax(logits)), 1));
        // The sum, not the mean: a window's gradient does not depend on the size of its batch.
        return tf.sum(loss) as tf.Scalar;
      })(given.window);
      return { gradient: grad, loss: loss!, logits: logits! };
    },
  );
  return expandGelu(traced);
}
