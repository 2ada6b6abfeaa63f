import { type AttentionNetworkOptions, attentionNetwork } from './attention-network.ts';
import { type LinearNetworkOptions, linearNetwork } from './linear-network.ts';
import { type MixerNetworkOptions, mixerNetwork } from './mixer-network.ts';
import type { Network } from './network.ts';

export type NetworkOptions = AttentionNetworkOptions | MixerNetworkOptions | LinearNetworkOptions;

/** The network that the options describe; the same options always give the same layout of parameters. */
export function createNetwork(options: NetworkOptions): Network {
  switch (options.kind) {
    case 'attention':
      return attentionNetwork(options);
    case 'mixer':
      return mixerNetwork(options);
    case 'linear':
      return linearNetwork(options);
  }
}
