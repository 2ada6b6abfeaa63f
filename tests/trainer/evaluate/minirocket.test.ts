import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KernelCounter } from '../../../trainer/evaluate/kernel-counter.ts';
import { fitDilations, MiniRocket } from '../../../trainer/evaluate/minirocket.ts';
import { zScoreChannels } from '../../../trainer/evaluate/z-score.ts';
import { largestError, numbers } from '../../support/numbers.ts';

/** The 84 kernels of the paper, written out: weights -1, and 2 at three of nine places. */
const KERNELS: number[][] = [];
for (let a = 0; a < 7; a++)
  for (let b = a + 1; b < 8; b++)
    for (let c = b + 1; c < 9; c++) KERNELS.push(Array.from({ length: 9 }, (_, place) => ([a, b, c].includes(place) ? 2 : -1)));

/** Convolution of the sum of some channels, with zeros outside the window. */
function slowConvolution(samples: Float32Array, channels: number, subset: readonly number[], kernel: number, dilation: number): number[] {
  const window = samples.length / channels;
  return Array.from({ length: window }, (_, t) => {
    let sum = 0;
    for (let place = 0; place < 9; place++) {
      const at = t + (place - 4) * dilation;
      if (at < 0 || at >= window) continue;
      for (const channel of subset) sum += KERNELS[kernel][place] * samples[at * channels + channel];
    }
    return sum;
  });
}

/** Features by the paper's definition from given parameters. */
function slowTransform(rocket: MiniRocket, samples: Float32Array): number[] {
  const { channels, dilations, biasesAt, subsets, biases, window } = rocket.parameters;
  const features: number[] = [];
  dilations.forEach((dilation, place) => {
    KERNELS.forEach((_, kernel) => {
      let response = slowConvolution(samples, channels, subsets[place * 84 + kernel], kernel, dilation);
      if ((place + kernel) % 2 === 1) response = response.slice(4 * dilation, window - 4 * dilation);
      for (let index = 0; index < biasesAt[place]; index++) {
        const bias = biases[features.length];
        features.push(response.filter((value) => value > bias).length / response.length);
      }
    });
  });
  return features;
}

describe('the dilations of MiniRocket', () => {
  it.each([
    // aeon, test_minirocket.py
    [32, 168, 6, [1, 3], [1, 1]],
    [32, 1680, 6, [1, 2, 3], [11, 6, 3]],
  ])('for %d samples and %d features are the known ones', (window, features, most, dilations, biasesAt) => {
    expect(fitDilations(window, Math.floor(features / 84), most)).toEqual({ dilations, biasesAt });
  });

  it('go up to where a kernel is as long as the window, and give every feature away', () => {
    for (const window of [9, 100, 512, 4096]) {
      const { dilations, biasesAt } = fitDilations(window, 40, 32);
      expect(dilations[0]).toBe(1);
      expect(8 * dilations.at(-1)!).toBeLessThan(window);
      expect(biasesAt.reduce((a, b) => a + b)).toBe(40);
    }
  });
});

describe('the features of MiniRocket', () => {
  // Data and features of aeon's test_all_rockets.py; which instance gave a bias depends on its generator, so any may have.
  const univariate = [
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4],
    [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5],
    [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
  ].map((row) => Float32Array.from(row));
  const multivariate = [
    [
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
      [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ],
    [
      [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
      [1, 1, 1, 1, 1, 7, 7, 7, 7, 7, 7],
    ],
    [
      [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5],
      [5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5],
    ],
    [
      [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
      [4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 8],
    ],
  ].map(([a, b]) => Float32Array.from({ length: 22 }, (_, at) => (at % 2 === 0 ? a : b)[at >> 1]));

  it.each([
    ['one channel', univariate, 1, [0.4, 1, 1]],
    ['two channels', multivariate, 2, [0.27272728, 0.33333334, 0.8181818]],
  ] as const)('of %s are the published ones for one of the instances', async (_, rows, channels, published) => {
    const window = rows[0].length / channels;
    const seen = [new Set<number>(), new Set<number>(), new Set<number>()];
    for (const instance of rows) {
      for (let seed = 0; seed < 8; seed++) {
        const rocket = MiniRocket.fit(instance, [window, channels], { seed, features: 100 });
        expect(rocket.features).toBe(84);
        const made = await rocket.transform(Float32Array.from([...rows[0], ...rows[1], ...rows[3]]));
        [made[0], made[84 + 5], made[2 * 84 + 80]].forEach((value, at) => {
          seen[at].add(value);
        });
      }
    }
    published.forEach((value, at) => {
      expect([...seen[at]]).toContain(Math.fround(value));
    });
  });

  it.each([
    [1, 61],
    [3, 40],
    [2, 9],
  ])('of %d channels and %d samples are those of the definition with the same biases', async (channels, window) => {
    const samples = zScoreChannels(numbers(6 * window * channels, window), [window, channels]);
    const rocket = MiniRocket.fit(samples, [window, channels], { seed: 3, features: 84 * 7 });
    expect(new Set(rocket.parameters.subsets.flat()).size).toBe(channels);
    const size = window * channels;
    const slow = Array.from({ length: 6 }, (_, row) => slowTransform(rocket, samples.subarray(row * size, (row + 1) * size))).flat();
    const fast = await rocket.transform(samples);
    // Rounding decides where a response and its bias are the same number, as for the window whose quantile the bias is.
    const different = fast.filter((value, at) => Math.abs(value - slow[at]) > 1e-6);
    expect(different.length).toBeLessThan(0.01 * fast.length);
    expect(largestError(fast, slow)).toBeLessThan(1.5 / Math.max(1, window - 8 * Math.max(...rocket.parameters.dilations)));
  });

  it('have biases that are quantiles: each value of 0 to 1 is as likely as another', async () => {
    const samples = numbers(40 * 200, 7);
    const rocket = MiniRocket.fit(samples, [200, 1], { seed: 1, features: 84 * 12 });
    const features = await rocket.transform(samples);
    for (const share of [0.25, 0.5, 0.75]) expect(features.filter((value) => value < share).length / features.length).toBeCloseTo(share, 1);
  });

  it('are the same for the same seed and others for another', async () => {
    const samples = numbers(5 * 64 * 2, 7);
    const run = async (seed: number) => MiniRocket.fit(samples, [64, 2], { seed, features: 168 }).transform(samples);
    expect(await run(1)).toEqual(await run(1));
    expect(await run(1)).not.toEqual(await run(2));
  });

  it('need 9 samples and 84 features', () => {
    expect(() => MiniRocket.fit(numbers(80), [8, 1], { seed: 1 })).toThrow(/9 samples/);
    expect(() => MiniRocket.fit(numbers(80), [10, 1], { seed: 1, features: 83 })).toThrow(/84 features/);
  });
});

describe('the counter', () => {
  it('counts what a plain loop counts, at any length, shift and bias', () => {
    const number = fc.integer({ min: -(2 ** 26), max: 2 ** 26 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.array(number, { minLength: 100, maxLength: 100 }),
        fc.tuple(fc.integer({ min: -10, max: 10 }), fc.integer({ min: -10, max: 10 }), fc.integer({ min: -10, max: 10 })),
        number,
        fc.nat(20),
        (window, values, shifts, bias, cut) => {
          const counter = new KernelCounter(window, 10);
          counter.base.set(values.slice(0, window));
          counter.tripled.set(values.slice(40, 40 + window), 10);
          const [from, to] = [Math.min(cut, window), Math.max(Math.min(cut, window), window - cut)];
          let count = 0;
          for (let t = from; t < to; t++) if (counter.response(shifts, t) > bias) count++;
          expect(counter.countAbove(bias, shifts, from, to)).toBe(count);
        },
      ),
    );
  });
});
