import type { Network } from '../networks/network.ts';
import { adaptedTargets, adapterLayout } from './adapter.ts';
import { type AdapterScheme, loraScale } from './scheme.ts';

/**
 * The network's weights with an adapter merged into them: W + A B * scale for LoRA, W + dW and b + db for the head.
 *
 * @param parameters of the network, float32, [P]; left as they are
 * @param adapter as trained
 * @throws Error for a prefix, which is further tokens and not a change of weights
 */
export function mergeAdapter(network: Network, parameters: Float32Array, scheme: AdapterScheme, adapter: Float32Array): Float32Array {
  if (scheme.kind === 'prefix') throw new Error('a prefix cannot be merged into weights');
  const layout = adapterLayout(scheme, network);
  if (adapter.length !== layout.size) throw new RangeError(`an adapter of ${adapter.length} numbers where the scheme has ${layout.size}`);
  const merged = parameters.slice();
  for (const { name, inputs, outputs } of adaptedTargets(scheme, network)) {
    const weight = network.parameters.view(merged, `${name}.weight`);
    if (scheme.kind === 'head') {
      layout.view(adapter, `${name}.weight`).forEach((value, index) => {
        weight[index] += value;
      });
      const bias = network.parameters.view(merged, `${name}.bias`);
      layout.view(adapter, `${name}.bias`).forEach((value, index) => {
        bias[index] += value;
      });
      continue;
    }
    const scale = loraScale(scheme);
    // a: [inputs, rank], b: [rank, outputs]
    const [a, b] = [layout.view(adapter, `${name}.A`), layout.view(adapter, `${name}.B`)];
    for (let row = 0; row < inputs; row++) {
      for (let column = 0; column < outputs; column++) {
        let sum = 0;
        for (let k = 0; k < scheme.rank; k++) sum += a[row * scheme.rank + k] * b[k * outputs + column];
        weight[row * outputs + column] += scale * sum;
      }
    }
  }
  return merged;
}
