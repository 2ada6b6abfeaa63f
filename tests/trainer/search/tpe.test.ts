import { describe, expect, it } from 'vitest';
import { categorical, integer, logUniform, type Space, settingsAt, uniform } from '../../../trainer/search/space.ts';
import { type Observation, randomOf, suggest, TPE_DEFAULTS } from '../../../trainer/search/tpe.ts';
import { bestUnvisited, keyOf } from '../../../trainer/search/unvisited.ts';

const plane = { x: uniform(0, 1), y: uniform(0, 1) };
const scored = (units: readonly number[], loss: number | undefined, rung = 0): Observation => ({ units, loss, rung });

/** Trials one after the other, each answered at once. */
function optimise(space: Space, loss: (units: readonly number[]) => number, trials: number, seed: number): Observation[] {
  const done: Observation[] = [];
  for (let trial = 0; trial < trials; trial++) {
    const units = suggest(space, done, randomOf(seed, trial));
    if (!units) break;
    done.push(scored(units, loss(units)));
  }
  return done;
}

describe('the sampler', () => {
  it('draws ten trials evenly, without a look at the scores, then follows them', () => {
    const towards = (x: number) => optimise(plane, ([at]) => Math.abs(at - x), 40, 3).map(({ units }) => units[0]);
    const [left, right] = [towards(0.1), towards(0.9)];
    expect(left.slice(0, 10)).toEqual(right.slice(0, 10));
    // Chance gives 5 or 6 of the 20.
    const near = (values: number[], x: number) => values.slice(20).filter((value) => Math.abs(value - x) < 0.15).length;
    expect(near(left, 0.1)).toBeGreaterThan(10);
    expect(near(right, 0.9)).toBeGreaterThan(10);
  });

  it('is the same for the same seed and another for another', () => {
    const run = (seed: number) => optimise(plane, ([x, y]) => x + y, 20, seed);
    expect(run(1)).toEqual(run(1));
    expect(run(1)[0]).not.toEqual(run(2)[0]);
  });

  it('ranks more training before a better score of less', () => {
    // The best scores are low on the left; those that were trained longer lie on the right.
    const trials = Array.from({ length: 30 }, (_, index) =>
      index % 10 === 0 ? scored([0.9, 0.5], 0.5 + index / 100, 1) : scored([(0.5 * index) / 30, 0.5], index / 1000),
    );
    const xs = Array.from({ length: 20 }, (_, trial) => suggest(plane, trials, randomOf(1, trial))![0]);
    expect(xs.filter((x) => x > 0.6).length).toBeGreaterThan(15);
  });

  it('stays even while every trial has failed, and keeps away from failures later', () => {
    const failed = Array.from({ length: 12 }, (_, index) => scored([index / 12, 0.5], Number.POSITIVE_INFINITY, -1));
    const xs = Array.from({ length: 200 }, (_, trial) => suggest(plane, failed, randomOf(1, trial))![0]);
    expect(xs.reduce((sum, x) => sum + x, 0) / 200).toBeCloseTo(0.5, 1);
    const mixed = Array.from({ length: 30 }, (_, index) =>
      scored([(index + 0.5) / 30, 0.5], index < 15 ? Number.POSITIVE_INFINITY : 0.5 + Math.abs(index - 20) / 100, index < 15 ? -1 : 0),
    );
    const later = Array.from({ length: 20 }, (_, trial) => suggest(plane, mixed, randomOf(1, trial))![0]);
    expect(later.filter((x) => x > 0.5).length).toBeGreaterThan(16);
  });

  it('searches orders of magnitude in their logarithm', () => {
    const space = { rate: logUniform(1e-6, 1) };
    const done = optimise(space, (units) => Math.abs(Math.log10(settingsAt(space, units).rate) + 4), 40, 2);
    const best = done.reduce((a, b) => (a.loss! < b.loss! ? a : b));
    expect(Math.log10(settingsAt(space, best.units).rate)).toBeCloseTo(-4, 0);
  });
});

describe('the constant lie', () => {
  /** Ten suggestions at a time, none of them answered. */
  function ask(finished: readonly Observation[], lie: boolean, seed: number): number[] {
    const trials = [...finished];
    return Array.from({ length: 10 }, (_, worker) => {
      const units = suggest(plane, trials, randomOf(seed, 100 + worker))!;
      if (lie) trials.push(scored(units, undefined, -1));
      return units[0];
    });
  }
  const spread = (values: readonly number[]) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  };

  it('spreads the suggestions of workers in parallel', () => {
    const seeds = [1, 2, 3, 4, 5, 6, 7, 8];
    const of = (lie: boolean) =>
      seeds.reduce(
        (sum, seed) =>
          sum +
          spread(
            ask(
              optimise(plane, ([x]) => (x - 0.4) ** 2, 25, seed),
              lie,
              seed,
            ),
          ),
        0,
      ) / seeds.length;
    expect(of(true)).toBeGreaterThan(1.3 * of(false));
  });
});

describe('a discrete space', () => {
  const space = { width: integer(16, 64, 16), head: categorical('linear', 'cosine', 'none'), bias: categorical(true, false) };
  const loss = ([width, head]: readonly number[]) => Math.abs(width - 0.625) + Math.abs(head - 0.5);

  it.each([1, 2, 3, 4, 5])('is searched without a point twice until none is left (seed %d)', (seed) => {
    const done = optimise(space, loss, 100, seed);
    expect(done).toHaveLength(24);
    expect(new Set(done.map(({ units }) => units.join())).size).toBe(24);
  });

  it('is searched without a point twice while no worker has answered', () => {
    const running: Observation[] = [];
    for (let trial = 0; trial < 24; trial++) running.push(scored(suggest(space, running, randomOf(1, trial))!, undefined, -1));
    expect(new Set(running.map(({ units }) => units.join())).size).toBe(24);
    expect(suggest(space, running, randomOf(1, 24))).toBeUndefined();
  });

  it('finds the best of 8 x 8 x 8 choices in fewer trials than chance', () => {
    const choices = categorical(0, 1, 2, 3, 4, 5, 6, 7);
    const cube = { a: choices, b: choices, c: choices };
    const loss = (units: readonly number[]) => units.reduce((sum, unit, axis) => sum + ((Math.floor(unit * 8) * 3 + axis) % 8), 0);
    // Chance finds the one best point within 100 trials for one seed in five.
    const found = [1, 2, 3, 4, 5, 6, 7].filter((seed) => optimise(cube, loss, 100, seed).some((one) => one.loss === 0));
    expect(found).toHaveLength(7);
  });

  it('is not enumerated where it has too many levels, nor where one parameter is continuous', () => {
    const wide = { seed: integer(0, 2 ** 40) };
    expect(optimise(wide, ([x]) => x, 15, 1)).toHaveLength(15);
    const mixed = { one: categorical('only'), x: uniform(0, 1) };
    expect(new Set(optimise(mixed, ([, x]) => x, 60, 1).map(({ units }) => units[1])).size).toBe(60);
  });
});

describe('the best unvisited combination', () => {
  it('is what sorting all of them gives', () => {
    const random = randomOf(9, 0);
    const scores = [3, 4, 2, 5].map((levels) => Array.from({ length: levels }, () => random.normal()));
    const all = scores[0].flatMap((_, a) =>
      scores[1].flatMap((_, b) => scores[2].flatMap((_, c) => scores[3].map((_, d) => [a, b, c, d]))),
    );
    const sum = (levels: readonly number[]) => levels.reduce((total, level, axis) => total + scores[axis][level], 0);
    all.sort((a, b) => sum(b) - sum(a));
    const visited = new Set<string>();
    const found = all.map(() => {
      const levels = bestUnvisited(scores, visited)!;
      visited.add(keyOf(levels));
      return levels;
    });
    expect(found).toEqual(all);
    expect(bestUnvisited(scores, visited)).toBeUndefined();
  });
});

it('has the settings of the paper and of Optuna: 10 startup trials, 24 candidates, a prior weight of 1', () => {
  expect(TPE_DEFAULTS).toMatchObject({ startup: 10, candidates: 24, priorWeight: 1 });
});
