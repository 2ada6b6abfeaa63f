import { type FrontEndOptions, featureCount, featureParts, flattenFeatures, statisticsSpecs, type TokenKind } from './front-end.ts';
import { linear, type Network, type NetworkOutput } from './network.ts';
import { ParameterLayout } from './parameters.ts';

export interface LinearNetworkOptions {
  readonly kind: 'linear';
  readonly window: number;
  readonly channels: number;
  readonly classes: number;
  readonly tokens: readonly TokenKind[];
  readonly patch: number;
  readonly hop: number;
  /** Whether features are taken relative to a machine's commissioning reference. */
  readonly reference?: boolean;
}

/** The baseline as a network: the log spectrum and one matrix, which a ridge solves. */
export const LINEAR: LinearNetworkOptions = {
  kind: 'linear',
  window: 512,
  channels: 3,
  classes: 12,
  tokens: ['tapered'],
  patch: 16,
  hop: 32,
};

/** One linear layer on the standardised features. Where a ridge generalises better than attention, this is what a bundle decides with. */
export function linearNetwork(options: LinearNetworkOptions): Network {
  const frontEnd: FrontEndOptions = options;
  const parts = featureParts(frontEnd);
  const features = featureCount(parts);
  const { classes } = options;
  return {
    kind: 'linear',
    classes,
    frontEnd,
    parts,
    parameters: new ParameterLayout([
      { name: 'head.weight', shape: [features, classes], initial: { uniform: features } },
      { name: 'head.bias', shape: [classes], initial: { fill: 0 } },
    ]),
    statistics: new ParameterLayout(statisticsSpecs(parts)),
    reference: options.reference ?? false,
    embeddingWidth: features,
    targets: [{ name: 'head', inputs: features, outputs: classes }],
    dropout: { sites: 0, tokens: 0, width: 0 },

    forward(given, context): NetworkOutput {
      const embedding = flattenFeatures(given);
      return { logits: linear(embedding, 'head', 1, context), embedding };
    },
  };
}
