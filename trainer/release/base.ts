import { type Bundle, FILES } from '../../models/bundle/bundle.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import { decodeSafetensors, encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { floatTensor, type TensorData } from '../../models/engine/engine.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import type { NetworkWeights } from '../../models/training/trace-training.ts';

/** A network with its float32 weights. */
export interface TrainedNetwork {
  readonly options: NetworkOptions;
  readonly weights: NetworkWeights;
}

/** The float networks of a bundle, from which the server tunes, merges and measures; gateways never get them. */
export interface Base {
  readonly primary: TrainedNetwork;
  readonly backup?: TrainedNetwork;
}

/** One flat vector each, by the networks' layouts: `primary.parameters`, `primary.statistics` and those of the back-up. */
export function encodeBase(base: Base): Uint8Array {
  const tensors: Record<string, TensorData> = {};
  for (const [name, trained] of Object.entries(base) as [string, TrainedNetwork][]) {
    for (const [kind, values] of Object.entries(trained.weights)) tensors[`${name}.${kind}`] = floatTensor(values, [values.length]);
  }
  return encodeSafetensors({ tensors, metadata: {} });
}

/**
 * The float networks of a bundle that was read with its part `server`.
 *
 * @throws BundleRefusal bundle/part, bundle/tensors
 */
export function readBase({ manifest, files }: Bundle): Base {
  const bytes = files.get(FILES.base);
  if (!bytes) throw new BundleRefusal('bundle/part', `the bundle has no ${FILES.base}; use the folder that tremolo train wrote`);
  const { tensors } = decodeSafetensors(bytes, FILES.base);
  const read = (name: string, options: NetworkOptions): TrainedNetwork => {
    const { parameters, statistics } = createNetwork(options);
    const flat = (kind: string, size: number): Float32Array => {
      const tensor = tensors[`${name}.${kind}`];
      if (tensor?.type === 'float32' && tensor.values.length === size) return tensor.values as Float32Array;
      throw new BundleRefusal('bundle/tensors', `${FILES.base}: ${name}.${kind} is not ${size} float32 numbers`);
    };
    return { options, weights: { parameters: flat('parameters', parameters.size), statistics: flat('statistics', statistics.size) } };
  };
  return {
    primary: read('primary', manifest.network as NetworkOptions),
    ...(manifest.backup && { backup: read('backup', manifest.backup as NetworkOptions) }),
  };
}
