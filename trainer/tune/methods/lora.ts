import { adaptedTargets } from '../../../models/adapters/adapter.ts';
import { type AdapterScheme, DEFAULT_SCHEME, HEAD_SCHEME } from '../../../models/adapters/scheme.ts';
import type { TuneContext, TuneMethod } from '../method.ts';
import { trainAdapter } from '../train-adapter.ts';

type LoraScheme = Extract<AdapterScheme, { kind: 'lora' }>;

/** The bundle's own scheme where it is one, changed by the settings that are given. */
export function loraScheme({ bundle, settings }: Pick<TuneContext, 'bundle' | 'settings'>): LoraScheme {
  const { adapter, network } = bundle.manifest;
  const general = network.kind === 'linear' ? HEAD_SCHEME : DEFAULT_SCHEME;
  const start = (adapter.kind === 'lora' ? adapter : general) as LoraScheme;
  const { rank = start.rank, alpha = start.alpha, targets = start.targets } = settings;
  return { kind: 'lora', rank, alpha, rankStabilized: start.rankStabilized, targets };
}

/**
 * Low-rank changes of some linear layers (Hu et al. 2021), rank-stabilised (Kalajdzievski 2023). With the bundle's own scheme the result is a row of
 * its bank; with another rank or other targets it needs a bundle of its own.
 */
export const lora: TuneMethod = {
  name: 'lora',
  summary: 'low-rank changes of some layers; with the scheme of the bundle a row of its bank',
  impossible(context) {
    try {
      adaptedTargets(loraScheme(context), context.network);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  },
  tune: (context, shots, replay) => trainAdapter(context, loraScheme(context), shots, replay),
};
