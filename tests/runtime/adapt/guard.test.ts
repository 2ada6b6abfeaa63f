import { describe, expect, it } from 'vitest';
import { compareShadow, type GuardScores, guardRefusal, type Score, scoreOf, shadowRefusal } from '../../../runtime/adapt/guard.ts';

const score = (accuracy: number, crossEntropy = 0.1, windows = 24): Score => ({ windows, accuracy, crossEntropy });
const good: GuardScores = {
  known: { base: score(1), before: score(1), after: score(1) },
  local: { before: score(0.5), after: score(1) },
  learned: { before: score(0.5, 2), after: score(1, 0.1) },
  answers: { windows: 3, kept: 3 },
};

describe('the guard', () => {
  it('lets a candidate pass that is better here and as good elsewhere', () => expect(guardRefusal(good)).toBeUndefined());

  it.each([
    ['known answers', { answers: { windows: 3, kept: 2 } }, /1 of 3 known answers/],
    ['known windows', { known: { ...good.known, after: score(23 / 24) } }, /known windows: accuracy 1.000 -> 0.958/],
    ['the loss on known windows', { known: { ...good.known, after: score(1, 0.16) } }, /cross-entropy 0.100 -> 0.160/],
    ['held-out labels', { local: { before: score(0.9), after: score(0.8) } }, /held-out labels/],
    ['the labels themselves', { learned: { before: score(0.9), after: score(0.8) } }, /labels that it learned from/],
    ['nothing', { learned: { before: score(1, 0.1), after: score(1, 0.1) } }, /nothing was gained/],
    ['what is no number', { known: { ...good.known, after: score(1, Number.NaN) } }, /NaN/],
  ])('refuses one that costs %s', (_, change, reason) => expect(guardRefusal({ ...good, ...change })).toMatch(reason));

  it('holds a candidate against the base, not against a predecessor that was worse', () => {
    const known = { base: score(1), before: score(0.9), after: score(0.95) };
    expect(guardRefusal({ ...good, known })).toMatch(/known windows/);
  });

  it('scores probabilities', () => {
    const { accuracy, crossEntropy } = scoreOf(Float32Array.of(0.5, 0.5, 0.25, 0.75), [0, 0]);
    expect(accuracy).toBe(0.5);
    expect(crossEntropy).toBeCloseTo((Math.log(2) + Math.log(4)) / 2, 6);
  });
});

describe('the shadow', () => {
  const rows = (sure: number, windows: number, kind = 0) =>
    Float32Array.from({ length: 2 * windows }, (_, at) => (at % 2 === kind ? sure : 1 - sure));
  const free = [false, false];

  it('refuses a candidate that turns sure decisions over, unless a label spoke against their class', () => {
    const [before, after] = [rows(0.95, 20), rows(0.95, 20, 1)];
    expect(shadowRefusal(compareShadow(before, after, free))).toMatch(/20 of 20 sure decisions/);
    expect(shadowRefusal(compareShadow(before, after, [true, false]))).toBeUndefined();
  });

  it('refuses one that is less sure on the whole, and what is no number', () => {
    expect(shadowRefusal(compareShadow(rows(0.8, 20), rows(0.7, 20), free))).toMatch(/confidence 0.800 -> 0.700/);
    expect(shadowRefusal(compareShadow(rows(0.8, 20), rows(Number.NaN, 20), free))).toMatch(/NaN/);
    const figures = compareShadow(rows(0.8, 20), rows(0.85, 20, 1), free);
    expect(figures).toMatchObject({ windows: 20, agreement: 0, sure: 0 });
    expect(shadowRefusal(figures)).toBeUndefined();
  });
});
