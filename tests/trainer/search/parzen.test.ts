import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { normalCumulative } from '../../../trainer/search/normal.ts';
import {
  choiceEstimator,
  continuousEstimator,
  fitChoices,
  fitKernels,
  gamma,
  levelEstimator,
  rampWeights,
  squareRootGamma,
} from '../../../trainer/search/parzen.ts';

const close = (actual: readonly number[], expected: readonly number[]) => {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, index) => {
    expect(value).toBeCloseTo(expected[index], 12);
  });
};

describe('the normal distribution', () => {
  // Abramowitz and Stegun, table 26.1 (15 places), and scipy.stats.norm.cdf for the tails.
  it.each([
    [0, 0.5],
    [0.5, 0.691462461274013],
    [1, 0.841344746068543],
    [2, 0.977249868051821],
    [3, 0.99865010196837],
    [-1, 0.158655253931457],
    [-5, 2.866515718791939e-7],
    [9, 1],
    [-9, 0],
    [1.959963984540054, 0.975],
  ])('is at z = %d %d', (z, expected) => {
    expect(Math.abs(normalCumulative(z) - expected)).toBeLessThan(1e-15);
  });
});

describe('the share of good trials (reference/ml.md 3.8)', () => {
  it('is a tenth, rounded up, 25 at most', () => {
    expect([0, 1, 10, 11, 100, 249, 250, 251, 10_000].map(gamma)).toEqual([0, 1, 1, 2, 10, 25, 25, 25, 25]);
  });

  it("is by hyperopt's rule a quarter of the square root, 25 at most", () => {
    expect([1, 16, 17, 100, 10_000, 20_000].map(squareRootGamma)).toEqual([1, 1, 2, 3, 25, 25]);
  });
});

describe('the weights of trials (reference/ml.md 3.8)', () => {
  it('are one for 25 or fewer', () => {
    expect(rampWeights(0)).toEqual([]);
    expect(rampWeights(24)).toEqual(new Array(24).fill(1));
    expect(rampWeights(25)).toEqual(new Array(25).fill(1));
  });

  it('rise in a line from 1/n to 1 before the newest 25', () => {
    close(rampWeights(26), [1 / 26, ...new Array(25).fill(1)]);
    close(rampWeights(27), [1 / 27, 1, ...new Array(25).fill(1)]);
    close(rampWeights(30).slice(0, 6), [1 / 30, 1 / 30 + 29 / 120, 1 / 30 + 58 / 120, 1 / 30 + 87 / 120, 1, 1]);
  });
});

describe('kernels on [-1, 1] (Optuna, test_parzen_estimator.py, by reference/ml.md 3.8)', () => {
  const third = 1 / 3;
  it.each([
    { observations: [], endpoints: true, magicClip: false, weights: [1], deviations: [2] },
    { observations: [0.4], endpoints: true, magicClip: false, weights: [0.5, 0.5], deviations: [1.4, 2] },
    { observations: [-0.3, 0.3], endpoints: true, magicClip: false, weights: [third, third, third], deviations: [0.7, 0.7, 2] },
    { observations: [-0.3, 0.3], endpoints: false, magicClip: false, weights: [third, third, third], deviations: [0.6, 0.6, 2] },
    {
      observations: [-0.4, 0.4, 0.41, 0.42],
      endpoints: true,
      magicClip: false,
      weights: [0.2, 0.2, 0.2, 0.2, 0.2],
      deviations: [0.8, 0.8, 0.01, 0.58, 2],
    },
    {
      observations: [-0.4, 0.4, 0.41, 0.42],
      endpoints: true,
      magicClip: true,
      weights: [0.2, 0.2, 0.2, 0.2, 0.2],
      deviations: [0.8, 0.8, third, 0.58, 2],
    },
  ])('of $observations, endpoints $endpoints, magic clip $magicClip', ({ observations, weights, deviations, ...options }) => {
    const kernels = fitKernels(observations, -1, 1, { priorWeight: 1, ...options });
    close(kernels.weights, weights);
    close(kernels.means, [...observations, 0]);
    close(kernels.deviations, deviations);
  });

  it('keep the order of the observations, whatever their values', () => {
    close(
      fitKernels([0.42, -0.4, 0.41, 0.4], -1, 1, { priorWeight: 1, endpoints: true, magicClip: false }).deviations,
      [0.58, 0.8, 0.01, 0.8, 2],
    );
  });

  it('take a lone observation to the ends, and coincident ones to the clip', () => {
    const options = { priorWeight: 1, endpoints: false, magicClip: false };
    close(fitKernels([0.4], -1, 1, options).deviations, [1.4, 2]);
    close(fitKernels([0.4, 0.4], -1, 1, { ...options, magicClip: true }).deviations, [0.5, 0.5, 2]);
    expect(fitKernels([0.4, 0.4], -1, 1, options).deviations[0]).toBe(1e-12);
  });

  it('weigh the prior as they are told', () => {
    close(fitKernels([0, 0.5], -1, 1, { priorWeight: 2, endpoints: true, magicClip: true }).weights, [0.25, 0.25, 0.5]);
  });
});

describe('choices (Optuna, test_parzen_estimator.py)', () => {
  it('are even without observations', () => {
    close(fitChoices([], 4), [0.25, 0.25, 0.25, 0.25]);
  });

  it('of one observation are the mean of [.2, .6, .2] and the prior', () => {
    close(fitChoices([1], 3), [(0.2 + 1 / 3) / 2, (0.6 + 1 / 3) / 2, (0.2 + 1 / 3) / 2]);
    close(fitChoices([1], 4), [(1 / 6 + 0.25) / 2, (0.5 + 0.25) / 2, (1 / 6 + 0.25) / 2, (1 / 6 + 0.25) / 2]);
  });

  it('forget what is long ago', () => {
    const probabilities = fitChoices([...new Array(50).fill(0), ...new Array(25).fill(1)], 2);
    expect(probabilities[0] + probabilities[1]).toBeCloseTo(1, 12);
    // Weights 25.3 (the ramp's 1/75 to 1 over 50), 25 and the prior's 1.
    const ramp = (50 * (1 / 75 + 1)) / 2;
    const [own, other] = [(1 + 1 / 76) / (1 + 2 / 76), 1 / 76 / (1 + 2 / 76)];
    expect(probabilities[0]).toBeCloseTo((ramp * own + 25 * other + 0.5) / (ramp + 26), 12);
  });
});

const observations = [0.02, 0.9, 0.35, 0.31, 0.99, 0.36];

describe.each([
  { kind: 'continuous', estimator: continuousEstimator(observations), levels: 200 },
  { kind: 'whole numbers', estimator: levelEstimator(observations, 7), levels: 7 },
  { kind: 'choices', estimator: choiceEstimator([1 / 6, 1 / 6, 5 / 6], 3), levels: 3 },
])('an estimator of $kind', ({ kind, estimator, levels }) => {
  /** The probability of every level; of a continuous one, by Simpson's rule. */
  const probabilities = Array.from({ length: levels }, (_, level) => {
    const at = (share: number) => Math.exp(estimator.logLikelihood((level + share) / levels));
    return kind === 'continuous' ? (at(0) + 4 * at(0.5) + at(1)) / 6 / levels : at(0.5);
  });

  it('has a total probability of 1', () => {
    expect(probabilities.reduce((sum, one) => sum + one, 0)).toBeCloseTo(1, 6);
  });

  it('draws what its likelihood says', () => {
    const random = new Random(5);
    const counts = new Array<number>(levels).fill(0);
    const draws = 40_000;
    for (let draw = 0; draw < draws; draw++) counts[Math.min(levels - 1, Math.floor(estimator.draw(random) * levels))]++;
    let [expected, found, distance] = [0, 0, 0];
    probabilities.forEach((one, level) => {
      expected += one;
      found += counts[level] / draws;
      distance = Math.max(distance, Math.abs(expected - found));
    });
    // Kolmogorov-Smirnov at one in a thousand: 1.95 / sqrt(draws).
    expect(distance).toBeLessThan(1.95 / Math.sqrt(draws));
  });
});
