import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { NORMAL } from './evaluate.ts';
import { auroc } from './novelty.ts';

/** What the novelty score of a bundle is worth, shares from 0 to 1; `null` where there is no window to tell. */
export interface NoveltyEvaluation {
  readonly threshold: number;
  /** Share of known windows that was allowed above the threshold when the bundle was made. */
  readonly share: number;
  readonly knownWindows: number;
  readonly novelWindows: number;
  /** Share of the known windows above the threshold. */
  readonly falseAlarms: number | null;
  /** Share of the novel windows above it. */
  readonly found: number | null;
  /** Probability that a novel window scores higher than a known one. */
  readonly auroc: number | null;
}

export function evaluateNovelty(
  { threshold, share }: NonNullable<Manifest['novelty']>,
  known: Float32Array,
  novel: Float32Array,
): NoveltyEvaluation {
  const above = (scores: Float32Array) => (scores.length === 0 ? null : scores.filter((score) => score > threshold).length / scores.length);
  return {
    threshold,
    share,
    knownWindows: known.length,
    novelWindows: novel.length,
    falseAlarms: above(known),
    found: above(novel),
    auroc: known.length === 0 || novel.length === 0 ? null : auroc(known, novel),
  };
}

/** Whether a bundle decides between `normal` and `novel`. */
export function isNoveltyBundle({ novelty }: Pick<Manifest, 'novelty'>): boolean {
  return novelty?.known !== undefined;
}

/** The class of a bundle that a label stands for: to a novelty bundle, whatever is neither what it was trained on nor `normal` is novel. */
export function classOfLabel(label: string, { novelty }: Pick<Manifest, 'novelty'>): string {
  if (novelty?.known === undefined) return label;
  return label === novelty.known || label === NORMAL ? NORMAL : 'novel';
}
