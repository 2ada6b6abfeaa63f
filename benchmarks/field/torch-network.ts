import { FILES, readBundle } from '../../models/bundle/bundle.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { floatTensor, type TensorData } from '../../models/engine/engine.ts';
import type { AttentionNetworkOptions } from '../../models/networks/attention-network.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { ParameterLayout } from '../../models/networks/parameters.ts';
import { readBase } from '../../trainer/release/base.ts';

/**
 * What PyTorch needs to build a bundle's network (python/network.py): its arguments, and its state by PyTorch's names, as safetensors. PyTorch
 * reads no ONNX, so these are the float32 weights that the int8 ones were made of.
 */
export async function torchNetwork(folder: string): Promise<{ readonly options: object; readonly weights: Uint8Array }> {
  const bundle = await readBundle(folder, ['core', 'server']);
  const { options, weights } = readBase(bundle).primary;
  const { kind, tokens, width, heads, headDepth, window, channels, classes, layers, feedForward, hop } = options as AttentionNetworkOptions;
  if (kind !== 'attention' || tokens.join() !== 'frames,statistics' || heads * headDepth !== width)
    throw new Error(`${FILES.base}: python/network.py is another network than ${kind} on ${tokens}`);
  const network = createNetwork(options);
  const tensors: Record<string, TensorData> = {};
  const add = ({ parameters }: ParameterLayout, values: Float32Array, prefix = '') => {
    for (const { name, shape, offset, size } of parameters) {
      const own = values.subarray(offset, offset + size);
      // y = x W + b here, y = x W^T + b there.
      const turned = name.endsWith('.weight');
      const [inputs, outputs] = shape;
      tensors[prefix + stateName(name)] = turned
        ? floatTensor(
            Float32Array.from(own, (_, at) => own[(at % inputs) * outputs + Math.floor(at / inputs)]),
            [outputs, inputs],
          )
        : floatTensor(own, [...shape]);
    }
  };
  add(network.parameters, weights.parameters);
  add(network.statistics, weights.statistics, 'standardize.');
  return {
    options: { window, channels, classes, width, layers, heads, feedForward, hop, temperature: bundle.manifest.temperature },
    weights: encodeSafetensors({ tensors, metadata: {} }),
  };
}

/** Our parameter's name in PyTorch: `layer0.ffn.norm.scale` is `layers.0.ffn_norm.weight`. */
function stateName(name: string): string {
  return name
    .replace(/^layer(\d+)\./, 'layers.$1.')
    .replace('attention.norm.', 'attention_norm.')
    .replace('ffn.', 'ffn_')
    .replace('.scale', '.weight');
}
