import { Random } from '../../models/networks/random.ts';

/**
 * How far annotators agree beyond chance. Labels are class indices; `missing` stands for an annotator who has not labelled an item.
 *
 * All three are wrong where one class is nearly all there is: two who agree on 98 of 100 healthy windows may have a kappa near zero. Look at the classes too.
 */
export const missing = undefined;
type Mark = number | undefined;

/** How much two labels differ, 0 for equal ones. */
export type Distance = (a: number, b: number) => number;
export const nominal: Distance = (a, b) => (a === b ? 0 : 1);
/** For classes that are steps of a scale: differences count squared. Cohen's quadratic weights, Krippendorff's interval metric. */
export const interval: Distance = (a, b) => (a - b) ** 2;

/**
 * Cohen's kappa (Cohen 1960; weighted: Cohen 1968): two annotators, every item labelled by both.
 *
 * @returns 1 for agreement, 0 for what chance gives; NaN where both know one class alone
 * @throws RangeError where they have labelled different numbers of items
 */
export function cohenKappa(a: readonly number[], b: readonly number[], distance: Distance = nominal): number {
  if (a.length !== b.length) throw new RangeError(`${a.length} labels beside ${b.length}: both must label every item`);
  let [observed, expected] = [0, 0];
  a.forEach((label, item) => {
    observed += distance(label, b[item]) / a.length;
  });
  for (const one of a) for (const other of b) expected += distance(one, other) / (a.length * b.length);
  return 1 - observed / expected;
}

/**
 * Fleiss' kappa (Fleiss 1971): the same number of annotators for every item, not necessarily the same ones.
 *
 * @param counts how many annotators gave each item each class, [items][classes]
 * @throws RangeError where the numbers of annotators differ, or are below two
 */
export function fleissKappa(counts: readonly (readonly number[])[]): number {
  const annotators = sum(counts[0] ?? []);
  if (annotators < 2 || counts.some((item) => sum(item) !== annotators))
    throw new RangeError('every item needs the same number of annotators, two at least; Krippendorff’s alpha takes gaps');
  const share = (item: readonly number[]) => (sum(item.map((count) => count * count)) - annotators) / (annotators * (annotators - 1));
  const observed = sum(counts.map(share)) / counts.length;
  const classes = counts[0].map((_, label) => sum(counts.map((item) => item[label])) / (counts.length * annotators));
  const expected = sum(classes.map((p) => p * p));
  return (observed - expected) / (1 - expected);
}

/**
 * Krippendorff's alpha (Krippendorff 2004, chapter 11): any number of annotators, gaps allowed. Items with fewer than two labels say nothing.
 *
 * @param items labels of each item, by annotator
 * @returns NaN where there is one class alone, or nothing was labelled twice
 */
export function krippendorffAlpha(items: readonly (readonly Mark[])[], distance: Distance = nominal): number {
  const pairable = items.map((item) => item.filter((mark) => mark !== missing)).filter((item) => item.length > 1);
  const total = sum(pairable.map((item) => item.length));
  const totals = new Map<number, number>();
  let observed = 0;
  for (const item of pairable) {
    for (const [place, a] of item.entries()) {
      totals.set(a, (totals.get(a) ?? 0) + 1);
      for (const b of item.slice(place + 1)) observed += (2 * distance(a, b)) / (item.length - 1);
    }
  }
  let expected = 0;
  for (const [a, many] of totals) for (const [b, more] of totals) expected += (many * more * distance(a, b)) / (total - 1);
  return 1 - observed / expected;
}

export interface AgreementInterval {
  readonly value: number;
  /** Quantiles of alpha over items drawn anew. */
  readonly low: number;
  readonly high: number;
  /** Draws in which alpha could be computed. */
  readonly draws: number;
}

/** Krippendorff's alpha with its percentile interval: whole items are drawn with replacement, for labels of one item belong together (Efron 1979). */
export function alphaInterval(
  items: readonly (readonly Mark[])[],
  { distance = nominal, level = 0.95, draws = 1000, seed = 1 } = {},
): AgreementInterval {
  const random = new Random(seed);
  const drawn = Array.from({ length: draws }, () =>
    krippendorffAlpha(
      items.map(() => items[random.below(items.length)]),
      distance,
    ),
  )
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  const quantile = (share: number) => drawn[Math.min(drawn.length - 1, Math.max(0, Math.round(share * (drawn.length - 1))))] ?? Number.NaN;
  return {
    value: krippendorffAlpha(items, distance),
    low: quantile((1 - level) / 2),
    high: quantile((1 + level) / 2),
    draws: drawn.length,
  };
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
