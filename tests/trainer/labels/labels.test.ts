import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { alphaInterval, cohenKappa, fleissKappa, interval, krippendorffAlpha } from '../../../trainer/labels/agreement.ts';
import { entropy, labelQueue, type QueueItem } from '../../../trainer/labels/queue.ts';
import { simulateTiers } from '../../../trainer/labels/simulate.ts';
import { accuracyOfAgreement, expectedTruth, type TierMark, tierState } from '../../../trainer/labels/tiers.ts';

const digits = (text: string) => [...text].map((one) => (one === '.' ? undefined : Number(one)));

/** Krippendorff's own example: four observers, twelve units, gaps. */
const OBSERVERS = ['1233214 12...', '1233224 125.3', '.333234 2251.', '1233244 1251.'].map((row) => digits(row.replace(' ', '')));
const UNITS = OBSERVERS[0].map((_, unit) => OBSERVERS.map((row) => row[unit]));

/** Fleiss 1971, as it is worked out in Wikipedia: 14 annotators, ten items, five classes. */
const FLEISS = [
  [0, 0, 0, 0, 14],
  [0, 2, 6, 4, 2],
  [0, 0, 3, 5, 6],
  [0, 3, 9, 2, 0],
  [2, 2, 8, 1, 1],
  [7, 7, 0, 0, 0],
  [3, 2, 6, 3, 0],
  [2, 5, 3, 2, 2],
  [6, 5, 2, 1, 0],
  [0, 2, 2, 3, 7],
];

describe('agreement of annotators', () => {
  const [a, b] = ['000111222233', '001111222330'].map((row) => [...row].map(Number));

  it('is Cohen’s kappa, plain and with quadratic weights', () => {
    expect(cohenKappa(a, b)).toBeCloseTo(0.6635514, 7);
    expect(cohenKappa(a, b, interval)).toBeCloseTo(0.5714286, 7);
    expect(() => cohenKappa(a, b.slice(1))).toThrow(RangeError);
  });

  it('is Fleiss’ kappa', () => {
    expect(fleissKappa(FLEISS)).toBeCloseTo(0.2099307, 7);
    expect(() =>
      fleissKappa([
        [1, 1],
        [2, 1],
      ]),
    ).toThrow(RangeError);
    expect(() => fleissKappa([[1, 0]])).toThrow(RangeError);
  });

  it('is Krippendorff’s alpha, with gaps, nominal and interval', () => {
    expect(krippendorffAlpha(UNITS)).toBeCloseTo(0.743421, 6);
    expect(krippendorffAlpha(UNITS, interval)).toBeCloseTo(0.849107, 6);
    expect(krippendorffAlpha([[1], [undefined, 2]])).toBeNaN();
  });

  it('is 1 where all say the same of different items, and does not depend on who is called which', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 3, maxLength: 3 }), { minLength: 2, maxLength: 20 }),
        (items) => {
          expect(krippendorffAlpha([...items.map(([label]) => [label, label]), [0, 0], [1, 1]])).toBeCloseTo(1, 9);
          const turned = items.map(([x, y, z]) => [z, x, y]);
          const [one, other] = [krippendorffAlpha(items), krippendorffAlpha(turned)];
          if (Number.isFinite(one)) expect(other).toBeCloseTo(one, 9);
        },
      ),
    );
  });

  it('has an interval that holds its value and is narrower for more items', () => {
    const few = alphaInterval(UNITS, { draws: 400 });
    const many = alphaInterval([...UNITS, ...UNITS, ...UNITS, ...UNITS], { draws: 400 });
    for (const { low, value, high } of [few, many]) expect(low <= value && value <= high).toBe(true);
    expect(many.high - many.low).toBeLessThan(few.high - few.low);
    expect(alphaInterval(UNITS, { draws: 400 })).toEqual(few);
  });
});

describe('three tiers', () => {
  const mark = (tier: TierMark['tier'], annotator: string, label: number | undefined): TierMark => ({ tier, annotator, label });

  it('ask a first, then another, then an expert where the two differ or cannot tell', () => {
    expect(tierState([])).toEqual({ next: 'first', not: [] });
    const first = mark('first', 'a', 1);
    expect(tierState([first])).toEqual({ next: 'crossCheck', not: ['a'] });
    expect(tierState([first, mark('crossCheck', 'a', 1)])).toMatchObject({ next: 'crossCheck' });
    expect(tierState([first, mark('crossCheck', 'b', 1)])).toEqual({ label: 1, by: 'crossCheck' });
    const differ = [first, mark('crossCheck', 'b', 2)];
    expect(tierState(differ)).toEqual({ next: 'expert', not: ['a', 'b'] });
    expect(tierState([mark('first', 'a', undefined), mark('crossCheck', 'b', undefined)])).toMatchObject({ next: 'expert' });
    expect(tierState([...differ, mark('expert', 'c', undefined)])).toEqual({ next: 'expert', not: ['a', 'b', 'c'] });
    expect(tierState([...differ, mark('expert', 'c', 0)])).toEqual({ label: 0, by: 'expert' });
  });

  it('of annotators who agree at 82 % come to 97 % truth and more, as the formula says', () => {
    const accuracy = accuracyOfAgreement(0.82, 12);
    expect(accuracy ** 2 + (1 - accuracy) ** 2 / 11).toBeCloseTo(0.82, 12);
    // An expert who is no better than they are, and one who errs in one of twenty.
    for (const expert of [accuracy, 0.95]) {
      const seen = simulateTiers({ items: 5000, classes: 12, agreement: 0.82, expert, seed: 3 });
      expect(Math.abs(seen.agreement - 0.82)).toBeLessThan(0.02);
      expect(seen.final).toBeGreaterThanOrEqual(0.97);
      expect(Math.abs(seen.final - expectedTruth(accuracy, expert, 12))).toBeLessThan(0.008);
      expect(seen.final).toBeGreaterThan(seen.first + 0.05);
      // Classes come evenly, so chance agrees on one item of twelve.
      expect(seen.alpha).toBeCloseTo((seen.agreement - 1 / 12) / (11 / 12), 2);
    }
  });
});

describe('the queue', () => {
  const item = (id: string, sure: number, more: Partial<QueueItem> = {}): QueueItem => ({
    id,
    probabilities: [sure, 1 - sure],
    marks: [],
    ...more,
  });
  const ids = (items: QueueItem[], isExpert = false, annotator = 'me') => labelQueue(items, { annotator, isExpert }).map(({ id }) => id);
  const mark = (tier: TierMark['tier'], annotator: string, label: number): TierMark => ({ tier, annotator, label });

  it('begins with what tells most, and does not ask the same thing twice', () => {
    expect(entropy([0.5, 0.5])).toBeCloseTo(Math.log(2), 12);
    expect(ids([item('sure', 0.99), item('doubtful', 0.55), item('some', 0.8)])).toEqual(['doubtful', 'some', 'sure']);
    const alike = [
      item('a', 0.5, { embedding: [0, 0] }),
      item('b', 0.51, { embedding: [0.01, 0] }),
      item('far', 0.7, { embedding: [5, 5] }),
    ];
    expect(ids(alike)).toEqual(['a', 'far', 'b']);
  });

  it('gives experts what needs one, others the rest, cross-checks first, and nobody an item again', () => {
    const items = [
      item('new', 0.5),
      item('half', 0.9, { marks: [mark('first', 'you', 0)] }),
      item('mine', 0.5, { marks: [mark('first', 'me', 0)] }),
      item('split', 0.5, { marks: [mark('first', 'you', 0), mark('crossCheck', 'he', 1)] }),
      item('done', 0.5, { marks: [mark('first', 'you', 0), mark('crossCheck', 'he', 0)] }),
    ];
    expect(ids(items)).toEqual(['half', 'new']);
    expect(ids(items, true)).toEqual(['split']);
    expect(ids(items, true, 'he')).toEqual([]);
  });
});
