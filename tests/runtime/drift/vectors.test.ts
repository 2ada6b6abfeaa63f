import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Adwin } from '../../../runtime/drift/detectors/adwin.ts';
import { estimatedAccuracy } from '../../../runtime/drift/detectors/cbpe.ts';
import { Cusum } from '../../../runtime/drift/detectors/cusum.ts';
import { Ddm } from '../../../runtime/drift/detectors/ddm.ts';
import type { Detector } from '../../../runtime/drift/detectors/detector.ts';
import { Eddm } from '../../../runtime/drift/detectors/eddm.ts';
import { Ewma } from '../../../runtime/drift/detectors/ewma.ts';
import { HddmA } from '../../../runtime/drift/detectors/hddm-a.ts';
import { HddmW } from '../../../runtime/drift/detectors/hddm-w.ts';
import { Kswin } from '../../../runtime/drift/detectors/kswin.ts';
import { ConformalMartingale } from '../../../runtime/drift/detectors/martingale.ts';
import { PageHinkley } from '../../../runtime/drift/detectors/page-hinkley.ts';
import { equalWidthEdges, histogram, stabilityIndex } from '../../../runtime/drift/detectors/psi.ts';
import { radial, squaredDistance } from '../../../runtime/drift/kernels.ts';
import { kolmogorovSmirnov, twoSampleTail } from '../../../runtime/drift/kolmogorov-smirnov.ts';
import { mmdSquared } from '../../../runtime/drift/two-sample.ts';
import { NumpyRandom, PythonRandom } from '../../support/mersenne.ts';

// Frozen numbers of other implementations on streams of known seeds (reference values of the project, sections 3.1 to 3.3 and 3.9).

const seeded = new NumpyRandom(12345);
const digits = [...Array.from({ length: 1000 }, () => seeded.below(2)), ...Array.from({ length: 1000 }, () => seeded.below(8))];
const coins = new NumpyRandom(12345);
const errors = [0.2, 0.8].flatMap((p) => Array.from({ length: 1000 }, () => coins.coin(p)));
const noise = new NumpyRandom(12345);
const blocks = [0, 0.25, 0, 0.25].flatMap((mean) => noise.normals(mean, 0.1, 500).map((value) => Number(value > 0)));
const steps = new NumpyRandom(31);
const stairs = [...steps.normals(0, 0.5, 100), ...steps.normals(4, 0.2, 100), ...steps.normals(6, 0.5, 100)];
const gauss = (seed: number, count: number) => {
  const random = new PythonRandom(seed);
  return [0, 3].flatMap((mean) => Array.from({ length: count }, () => random.gauss(mean, 1)));
};
const chosen = () => {
  const random = new PythonRandom(42);
  return [0, 1, 0, 1].flatMap((high) => random.choices(high ? [4, 5, 6, 7] : [0, 1], 1000));
};

function alarms(detector: Detector, values: readonly number[]): number[] {
  return values.flatMap((value, at) => {
    detector.update(value);
    return detector.drifted ? [at] : [];
  });
}

it('makes the very streams that the frozen numbers belong to', () => {
  expect(digits.slice(0, 20).join('')).toBe('01110100101101101110');
  expect(digits.reduce((a, b) => a + b)).toBe(3985);
  const digest = createHash('sha256')
    .update(Buffer.from(Int32Array.from(digits).buffer))
    .digest('hex');
  expect(digest.slice(0, 16)).toBe('25fcc7aa23124840');
  expect(errors.reduce((a, b) => a + b)).toBe(1000);
});

describe('detectors alarm where others were seen to', () => {
  const rows: [string, () => Detector, readonly number[], number[]][] = [
    ['Page-Hinkley', () => new PageHinkley(), digits, [1020, 1991]],
    ['ADWIN', () => new Adwin(), digits, [1023]],
    ['ADWIN, four blocks', () => new Adwin(), chosen(), [1023, 2015, 3007]],
    ['KSWIN', () => new Kswin({ significance: 1e-4, window: 200, recent: 100 }), digits, [1042]],
    ['DDM', () => new Ddm(), errors, [1049]],
    ['EDDM', () => new Eddm(), errors, [681, 848, 983, 1042, 1089]],
    ['HDDM-A', () => new HddmA(), errors, [1047]],
    ['HDDM-W', () => new HddmW(), errors, [1018]],
    ['HDDM-A, two-sided', () => new HddmA({ twoSided: true }), blocks, [531, 1015, 1545]],
    ['HDDM-W, two-sided', () => new HddmW({ twoSided: true }), blocks, [507, 1508]],
    ['EWMA', () => new Ewma({ newest: 0.1, limit: 4, warmUp: 50 }), gauss(12345, 1000), [1010]],
    ['Page-Hinkley without fading, which is a CUSUM about the running mean', () => new PageHinkley({ keep: 1 }), stairs, [113, 226]],
  ];
  it.each(rows)('%s', (_, make, values, expected) => {
    expect(alarms(make(), values)).toEqual(expected);
  });

  it('CUSUM, whose first two of many alarms are known', () => {
    expect(alarms(new Cusum({ warmUp: 50 }), gauss(12345, 200)).slice(0, 2)).toEqual([201, 251]);
  });
});

describe('two samples', () => {
  const pair = (one: [number, number], other: [number, number]) => {
    const random = new NumpyRandom(31);
    const draw = ([mean, count]: [number, number]) => ({ values: random.normals(mean, 1, count), width: 1 });
    return [draw(one), draw(other)] as const;
  };
  it.each([
    [[0, 100], [0, 100], 0.00052755],
    [[0, 100], [0, 10], -0.03200193],
    [[0, 10], [0, 100], 0.07154671],
    [[2, 100], [0, 100], 0.43377622],
    [[2, 100], [0, 10], 0.23051378],
    [[2, 10], [0, 100], 0.62530767],
  ] as [[number, number], [number, number], number][])('MMD of %j against %j', (one, other, expected) => {
    const [x, y] = pair(one, other);
    expect(mmdSquared(x, y, 0.5)).toBeCloseTo(expected, 7);
  });

  it('radial basis function', () => {
    const [x, y] = [
      [1, 2, 3],
      [4, 5, 6],
    ].map((values) => ({ values, width: 3 }));
    expect(radial(squaredDistance(x, 0, y, 0), 1)).toBeCloseTo(1.37095909e-6, 14);
    expect(radial(squaredDistance(x, 0, y, 0), 2)).toBeCloseTo(0.03421812, 8);
  });

  it('population stability index', () => {
    const random = new NumpyRandom(31);
    const [x, y] = [random.normals(0, 1, 500), random.normals(0, 1, 500)];
    const edges = equalWidthEdges(x, y, 10);
    expect(stabilityIndex(histogram(x, edges), histogram(y, edges))).toBeCloseTo(0.01840072, 7);
  });

  it('Kolmogorov and Smirnov, exact', () => {
    const random = new NumpyRandom(31);
    const distance = kolmogorovSmirnov(random.normals(0, 1, 100), random.normals(0.5, 1, 80));
    expect(distance).toBeCloseTo(0.3275, 12);
    expect(twoSampleTail(distance, 100, 80)).toBeCloseTo(1.0277703e-4, 10);
  });
});

describe('run lengths', () => {
  /** Mean over runs of normal values. */
  const runLength = (make: () => Detector, shift: number, runs: number) => {
    const random = new NumpyRandom(7);
    let sum = 0;
    for (let run = 0; run < runs; run++) {
      const detector = make();
      for (;;) {
        sum++;
        detector.update(random.normal(shift));
        if (detector.drifted) break;
      }
    }
    return sum / runs;
  };
  // Markov-chain values of Brook and Evans; within four standard errors of the mean of so many runs.
  it.each([
    [4, 0, 167.68],
    [5, 0, 465.44],
    [5, 0.5, 38.0],
    [5, 1, 10.38],
    [5, 3, 2.57],
  ])('CUSUM with h = %d at a shift of %d', (threshold, shift, expected) => {
    const measured = runLength(() => new Cusum({ threshold }), shift, 2000);
    expect(Math.abs(measured / expected - 1)).toBeLessThan(4 / Math.sqrt(2000));
  });
  it.each([
    [0.1, 2.814, 0, 500],
    [0.1, 2.814, 1, 10.33],
    [0.25, 2.998, 1, 11.14],
  ])('EWMA with lambda = %d, L = %d at a shift of %d', (newest, limit, shift, expected) => {
    const measured = runLength(() => new Ewma({ newest, limit, control: { mean: 0, deviation: 1 }, warmUp: 0 }), shift, 2000);
    expect(Math.abs(measured / expected - 1)).toBeLessThan(4 / Math.sqrt(2000));
  });

  it('the martingale reaches 20 on exchangeable values no oftener than once in 20 (Ville)', () => {
    const random = new NumpyRandom(9);
    const runs = 400;
    let reached = 0;
    for (let run = 0; run < runs; run++) {
      const martingale = new ConformalMartingale({ capital: 20 });
      for (let at = 0; at < 500 && !martingale.drifted; at++) martingale.update(random.uniform());
      if (martingale.drifted) reached++;
    }
    expect(reached / runs).toBeLessThanOrEqual(0.05 + 3 * Math.sqrt((0.05 * 0.95) / runs));
  });
});

it('CBPE is the accuracy that calibrated decisions have', () => {
  const random = new NumpyRandom(3);
  const probabilities: number[] = [];
  let right = 0;
  const count = 20_000;
  for (let at = 0; at < count; at++) {
    const p = random.uniform();
    probabilities.push(p, 1 - p);
    const first = random.uniform() < p;
    if (first === p > 0.5) right++;
  }
  expect(estimatedAccuracy(probabilities, 2)).toBeCloseTo(
    probabilities.filter((_, at) => at % 2 === 0).reduce((sum, p) => sum + Math.max(p, 1 - p), 0) / count,
    9,
  );
  expect(Math.abs(estimatedAccuracy(probabilities, 2) - right / count)).toBeLessThan(4 * Math.sqrt(0.19 / count));
});
