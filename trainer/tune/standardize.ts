import { featureCount } from '../../models/networks/front-end.ts';
import type { Network } from '../../models/networks/network.ts';

/**
 * Calls `visit` for every number of features [count, F] with its place in mean and inverse deviation, which tokens of one kind share.
 */
function eachFeature(network: Network, count: number, visit: (index: number, kind: string, column: number) => void): void {
  let index = 0;
  for (let row = 0; row < count; row++) {
    for (const { kind, tokens, width } of network.parts) {
      for (let at = 0; at < tokens * width; at++) visit(index++, kind, at % width);
    }
  }
}

/** Mean and inverse deviation of every kind, as one object of views. */
function views(network: Network, statistics: Float32Array): Record<string, { mean: Float32Array; inverse: Float32Array }> {
  return Object.fromEntries(
    network.parts.map(({ kind }) => [
      kind,
      {
        mean: network.statistics.view(statistics, `${kind}.mean`),
        inverse: network.statistics.view(statistics, `${kind}.inverseDeviation`),
      },
    ]),
  );
}

/** Features that were standardised with `from`, as `to` would have made them. features: [count, F] */
export function restandardize(network: Network, features: Float32Array, from: Float32Array, to: Float32Array): Float32Array {
  if (from === to) return features;
  const [old, fresh] = [views(network, from), views(network, to)];
  const made = new Float32Array(features.length);
  eachFeature(network, features.length / featureCount(network.parts), (index, kind, column) => {
    const raw = features[index] / old[kind].inverse[column] + old[kind].mean[column];
    made[index] = (raw - fresh[kind].mean[column]) * fresh[kind].inverse[column];
  });
  return made;
}

/**
 * Statistics measured again on other windows: mean and inverse deviation of what the features were before standardising.
 *
 * @param features standardised with `statistics`, [count, F]
 */
export function remeasure(network: Network, features: Float32Array, statistics: Float32Array): Float32Array {
  const old = views(network, statistics);
  const sums = Object.fromEntries(
    network.parts.map(({ kind, width }) => [kind, { count: 0, sum: new Float64Array(width), square: new Float64Array(width) }]),
  );
  const count = features.length / featureCount(network.parts);
  eachFeature(network, count, (index, kind, column) => {
    sums[kind].sum[column] += features[index];
    sums[kind].square[column] += features[index] ** 2;
  });
  const made = statistics.slice();
  const fresh = views(network, made);
  for (const { kind, tokens, width } of network.parts) {
    const total = count * tokens;
    for (let column = 0; column < width; column++) {
      const mean = sums[kind].sum[column] / total;
      const deviation = Math.sqrt(Math.max(0, sums[kind].square[column] / total - mean ** 2));
      fresh[kind].mean[column] = old[kind].mean[column] + mean / old[kind].inverse[column];
      // A tenth: a feature that hardly varies on this machine must not drown the others the first time it does.
      fresh[kind].inverse[column] = old[kind].inverse[column] / Math.max(deviation, 0.1);
    }
  }
  return made;
}
