import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { uniform } from '../../../trainer/search/space.ts';
import { Study } from '../../../trainer/search/study.ts';
import { branin, hartmann6 } from './functions.ts';

interface Problem {
  readonly name: string;
  readonly ranges: readonly (readonly [number, number])[];
  readonly value: (x: readonly number[]) => number;
}

const BRANIN: Problem = {
  name: 'Branin',
  ranges: [
    [-5, 10],
    [0, 15],
  ],
  value: ([x, y]) => branin(x, y),
};
const HARTMANN: Problem = { name: 'Hartmann6', ranges: new Array(6).fill([0, 1]), value: hartmann6 };

const SEEDS = Array.from({ length: 20 }, (_, index) => index + 1);

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

/** The values on a grid of equal steps from end to end of every range. */
function gridOf({ ranges, value }: Problem, resolution: number): number[] {
  return Array.from({ length: resolution ** ranges.length }, (_, point) =>
    value(
      ranges.map(([low, high], axis) => low + ((high - low) * (Math.floor(point / resolution ** axis) % resolution)) / (resolution - 1)),
    ),
  );
}

/** Trials that the search needs to reach a value at most `target`. */
function searchTrials({ ranges, value }: Problem, target: number, seed: number): number {
  const space = Object.fromEntries(ranges.map(([low, high], axis) => [`x${axis}`, uniform(low, high)]));
  const study = new Study(space, { trials: 2000, seed, goal: 'minimize' });
  for (let job = study.ask(); job; job = study.ask()) {
    const reached = value(Object.values(job.settings));
    study.tell(job, reached);
    if (reached <= target) return job.trial + 1;
  }
  return Number.POSITIVE_INFINITY;
}

/** Trials that the grid in a random order needs. */
function shuffledTrials(grid: readonly number[], target: number, seed: number): number {
  return new Random(seed).shuffle([...grid]).findIndex((value) => value <= target) + 1;
}

/** Trials that even draws from the whole ranges need: what a grid gives away by its steps. */
function evenTrials({ ranges, value }: Problem, target: number, seed: number): number {
  const random = new Random(seed);
  for (let trial = 1; trial <= 20_000; trial++) {
    if (value(ranges.map(([low, high]) => low + (high - low) * random.uniform())) <= target) return trial;
  }
  return Number.POSITIVE_INFINITY;
}

function measure(problem: Problem, resolution: number, wanted: number) {
  const grid = gridOf(problem, resolution);
  const target = Math.max(wanted, Math.min(...grid));
  const search = median(SEEDS.map((seed) => searchTrials(problem, target, seed)));
  const shuffled = median(SEEDS.map((seed) => shuffledTrials(grid, target, seed)));
  const even = median(SEEDS.map((seed) => evenTrials(problem, target, seed)));
  return { target, trials: search, exhausted: grid.length / search, shuffled: shuffled / search, even: even / search };
}

describe('the functions', () => {
  it('have the minima of reference/ml.md 3.8', () => {
    for (const [x, y] of [
      [-Math.PI, 12.275],
      [Math.PI, 2.275],
      [9.42478, 2.475],
    ])
      expect(branin(x, y)).toBeCloseTo(0.39788736, 8);
    expect(hartmann6([0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573])).toBeCloseTo(-3.32236801, 7);
  });
});

const BEST = Number.NEGATIVE_INFINITY;

/** Targets: the best that the grid has at all, and one that several of its points meet. Bars: well under what was measured. */
const ROWS = [
  { problem: BRANIN, resolution: 10, wanted: BEST, bars: { exhausted: 2, shuffled: 1, even: 1.5 } },
  { problem: BRANIN, resolution: 20, wanted: BEST, bars: { exhausted: 5, shuffled: 2, even: 1.5 } },
  { problem: BRANIN, resolution: 30, wanted: BEST, bars: { exhausted: 5, shuffled: 2, even: 4 } },
  { problem: BRANIN, resolution: 20, wanted: 1, bars: { exhausted: 8, shuffled: 1.5, even: 1.5 } },
  { problem: HARTMANN, resolution: 3, wanted: BEST, bars: { exhausted: 10, shuffled: 4, even: 2 } },
  { problem: HARTMANN, resolution: 4, wanted: BEST, bars: { exhausted: 30, shuffled: 15, even: 4 } },
  { problem: HARTMANN, resolution: 4, wanted: -2, bars: { exhausted: 60, shuffled: 3, even: 1.5 } },
];

const times = (ratio: number) => `${ratio.toFixed(1)}x`;

describe('the search against a grid, median of 20 seeds', () => {
  for (const { problem, resolution, wanted, bars } of ROWS) {
    const { target, trials, exhausted, shuffled, even } = measure(problem, resolution, wanted);
    const points = resolution ** problem.ranges.length;
    const needs = `${problem.name} at most ${target.toFixed(3)} takes ${trials} trials`;
    it(`${needs}: the exhausted grid of ${points} ${times(exhausted)}, in random order ${times(shuffled)}, even draws ${times(even)}`, () => {
      expect(exhausted).toBeGreaterThan(bars.exhausted);
      expect(shuffled).toBeGreaterThan(bars.shuffled);
      expect(even).toBeGreaterThan(bars.even);
    });
  }
});
