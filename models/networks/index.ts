import { type AttentionNetworkOptions, attentionNetwork } from './attention-network.ts';
import { type MixerNetworkOptions, mixerNetwork } from './mixer-network.ts';
import type { Network } from './network.ts';

export type NetworkOptions = AttentionNetworkOptions | MixerNetworkOptions;

/** The network that the options describe; the same options always give the same layout of parameters. */
export function createNetwork(options: NetworkOptions): Network {
  return options.kind === 'attention' ? attentionNetwork(options) : mixerNetwork(options);
}
