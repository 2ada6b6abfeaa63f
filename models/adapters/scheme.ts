import type { ParameterLayout } from '../networks/parameters.ts';

/**
 * How the adapters of a bundle change its base. All adapters of one bundle share one scheme, so that they are rows of one bank.
 *
 * - `lora`: y += (x A) B * scale on the linear layers named by `targets` (Hu et al. 2021)
 * - `prefix`: learned keys and values before those of every attention layer (Li and Liang 2021)
 * - `head`: a change of the head's own weight and bias
 */
export type AdapterScheme =
  | {
      readonly kind: 'lora';
      readonly rank: number;
      readonly alpha: number;
      /** scale = alpha / sqrt(rank) instead of alpha / rank (Kalajdzievski 2023). */
      readonly rankStabilized: boolean;
      /** Names of linear layers; `*` stands for anything. */
      readonly targets: readonly string[];
    }
  | { readonly kind: 'prefix'; readonly length: number }
  | { readonly kind: 'head' };

/**
 * LoRA of rank 4 on the feed-forward layers and the head. Queries and values beside them made adaptation from one label a class worse, not better,
 * and cost a quarter of the bank's speed.
 */
export const DEFAULT_SCHEME: AdapterScheme = {
  kind: 'lora',
  rank: 4,
  alpha: 8,
  rankStabilized: true,
  targets: ['layer*.ffn.*', 'head'],
};

/** For networks that have a head alone. */
export const HEAD_SCHEME: AdapterScheme = { ...DEFAULT_SCHEME, targets: ['head'] };

/** alpha / rank, or alpha / sqrt(rank) where rank-stabilised. */
export function loraScale({ alpha, rank, rankStabilized }: { alpha: number; rank: number; rankStabilized: boolean }): number {
  return alpha / (rankStabilized ? Math.sqrt(rank) : rank);
}

/**
 * An adapter as a row of the bank: LoRA's scale is multiplied into B once here instead of in every window.
 *
 * @param flat an adapter as trained, [P]
 */
export function bankRow(scheme: AdapterScheme, layout: ParameterLayout, flat: Float32Array): Float32Array {
  const row = flat.slice();
  if (scheme.kind !== 'lora') return row;
  const scale = loraScale(scheme);
  for (const { name, offset, size } of layout.parameters) {
    if (name.endsWith('.B')) for (let index = offset; index < offset + size; index++) row[index] *= scale;
  }
  return row;
}
