import type { Tier } from '../../runtime/contracts/label.ts';

/** One annotator's word on an item. */
export interface TierMark {
  readonly tier: Tier;
  readonly annotator: string;
  /** Class index; undefined for `unsure`. */
  readonly label: number | undefined;
}

/** What an item needs next, or what it is. */
export type TierState = { readonly next: Tier; readonly not: readonly string[] } | { readonly label: number; readonly by: Tier };

/**
 * Three tiers: somebody labels, somebody else labels without seeing that, and where the two differ, or one cannot tell, an expert decides. An expert who
 * cannot tell either leaves the item open for another expert.
 *
 * Two who err alike are believed: the share of items that are agreed on and wrong is what the cross-check cannot find (see `expectedTruth`).
 */
export function tierState(marks: readonly TierMark[]): TierState {
  const expert = marks.find(({ tier, label }) => tier === 'expert' && label !== undefined);
  if (expert) return { label: expert.label!, by: 'expert' };
  const not = marks.map(({ annotator }) => annotator);
  const first = marks.find(({ tier }) => tier === 'first');
  if (!first) return { next: 'first', not };
  // The same person twice is no cross-check.
  const second = marks.find(({ tier, annotator }) => tier === 'crossCheck' && annotator !== first.annotator);
  if (!second) return { next: 'crossCheck', not };
  if (first.label !== undefined && first.label === second.label) return { label: first.label, by: 'crossCheck' };
  return { next: 'expert', not };
}

/**
 * Share of items whose final label is true, where annotators err independently and evenly over the other classes.
 *
 * @param accuracy of an annotator @param expert of an expert
 */
export function expectedTruth(accuracy: number, expert: number, classes: number): number {
  const agreedRight = accuracy ** 2;
  const agreedWrong = (1 - accuracy) ** 2 / (classes - 1);
  return agreedRight + (1 - agreedRight - agreedWrong) * expert;
}

/** Accuracy of two alike annotators who agree on so many items: agreement = a^2 + (1 - a)^2 / (classes - 1), the root above chance. */
export function accuracyOfAgreement(agreement: number, classes: number): number {
  const others = classes - 1;
  return (1 + Math.sqrt(Math.max(0, 1 - (1 + others) * (1 - agreement * others)))) / (1 + others);
}
