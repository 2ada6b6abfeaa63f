import { describe, expect, it } from 'vitest';
import { Adwin } from '../../../runtime/drift/detectors/adwin.ts';
import { Cbpe } from '../../../runtime/drift/detectors/cbpe.ts';
import { Cusum } from '../../../runtime/drift/detectors/cusum.ts';
import { Ddm } from '../../../runtime/drift/detectors/ddm.ts';
import type { Detector } from '../../../runtime/drift/detectors/detector.ts';
import { Eddm } from '../../../runtime/drift/detectors/eddm.ts';
import { Ewma } from '../../../runtime/drift/detectors/ewma.ts';
import { HddmA } from '../../../runtime/drift/detectors/hddm-a.ts';
import { HddmW } from '../../../runtime/drift/detectors/hddm-w.ts';
import { Kswin } from '../../../runtime/drift/detectors/kswin.ts';
import { LsddWindow } from '../../../runtime/drift/detectors/lsdd.ts';
import { ConformalMartingale } from '../../../runtime/drift/detectors/martingale.ts';
import { MmdWindow } from '../../../runtime/drift/detectors/mmd.ts';
import { OnlineDistance } from '../../../runtime/drift/detectors/online-distance.ts';
import { PageHinkley } from '../../../runtime/drift/detectors/page-hinkley.ts';
import { Psi } from '../../../runtime/drift/detectors/psi.ts';
import { medianDistance } from '../../../runtime/drift/kernels.ts';
import { lsdd, mmdSquared, permutationPValue } from '../../../runtime/drift/two-sample.ts';
import { NumpyRandom } from '../../support/mersenne.ts';

/** A detector, and what it is fed at rest and after the change. */
interface Row {
  readonly name: string;
  make(): Detector<never>;
  value(random: NumpyRandom, changed: boolean): number | number[];
}

const shifted = (random: NumpyRandom, changed: boolean) => random.normal(changed ? 3 : 0);
const wrong = (random: NumpyRandom, changed: boolean) => random.coin(changed ? 0.7 : 0.1);
const wide = (random: NumpyRandom, changed: boolean) => random.normals(changed ? 1.5 : 0, 1, 4);
const sample = (count: number, seed = 1) => ({ values: new NumpyRandom(seed).normals(0, 1, 4 * count), width: 4 });
const row = <Value>(name: string, value: (random: NumpyRandom, changed: boolean) => Value, make: () => Detector<Value>) =>
  ({ name, value, make }) as unknown as Row;

const ROWS = [
  row('Page-Hinkley', shifted, () => new PageHinkley({ tolerance: 0.5 })),
  row('ADWIN', shifted, () => new Adwin()),
  row('KSWIN', shifted, () => new Kswin({ significance: 1e-6, window: 100, recent: 50 })),
  row('CUSUM', shifted, () => new Cusum({ threshold: 12 })),
  row('EWMA', shifted, () => new Ewma({ limit: 5, control: { mean: 0, deviation: 1 } })),
  row('PSI', shifted, () => new Psi({ reference: new NumpyRandom(2).normals(0, 1, 1000), window: 200, threshold: 0.6 })),
  row('DDM', wrong, () => new Ddm({ level: 5 })),
  row('EDDM', wrong, () => new Eddm({ share: 0.5 })),
  row('HDDM-A', wrong, () => new HddmA({ significance: 1e-5 })),
  row('HDDM-W', wrong, () => new HddmW({ significance: 1e-5 })),
  row(
    'CBPE',
    (random, changed) => 1 - random.uniform() * (changed ? 0.5 : 0.1),
    () => new Cbpe({ expected: 0.95 }),
  ),
  row(
    'conformal martingale',
    (random, changed) => random.uniform() * (changed ? 0.2 : 1),
    () => new ConformalMartingale({ capital: 1e4 }),
  ),
  row(
    'MMD',
    wide,
    () => new OnlineDistance({ distance: new MmdWindow(sample(80), { window: 20, sigma: 2 }), window: 20, threshold: 0.15 }),
  ),
  row('LSDD', wide, () => {
    const distance = new LsddWindow(sample(200), { centres: sample(12, 3), sigma: 2, ridge: 0.01, window: 20 });
    return new OnlineDistance({ distance, window: 20, threshold: 0.5 });
  }),
];

describe.each(ROWS)('$name', ({ make, value }) => {
  const run = (from: number, to: number, changed: boolean, detector: Detector<never>, random: NumpyRandom) => {
    const found: number[] = [];
    for (let at = from; at < to; at++) {
      detector.update(value(random, changed) as never);
      if (detector.drifted) found.push(at);
    }
    return found;
  };

  it('has not drifted before the first value, nor while nothing changes', () => {
    const detector = make();
    expect(detector.drifted).toBe(false);
    expect(run(0, 600, false, detector, new NumpyRandom(5))).toEqual([]);
  });

  it('drifts soon after a change', () => {
    const [detector, random] = [make(), new NumpyRandom(5)];
    run(0, 300, false, detector, random);
    const [first] = run(0, 300, true, detector, random);
    expect(first).toBeLessThan(250);
  });

  it('speaks of the latest value alone, and begins anew with the next', () => {
    const [detector, random] = [make(), new NumpyRandom(5)];
    run(0, 300, false, detector, random);
    for (let at = 0; at < 300 && !detector.drifted; at++) detector.update(value(random, true) as never);
    expect(detector.drifted).toBe(true);
    detector.update(value(random, false) as never);
    expect(detector.drifted).toBe(false);
  });

  it('answers alike on the same values', () => {
    const found = () => {
      const [detector, random] = [make(), new NumpyRandom(8)];
      return [run(0, 200, false, detector, random), run(200, 500, true, detector, random)];
    };
    expect(found()).toEqual(found());
  });
});

describe('two-sample tests', () => {
  const below = (random: NumpyRandom) => (bound: number) => random.below(bound);
  const moved = { values: new NumpyRandom(4).normals(0.8, 1, 4 * 30), width: 4 };
  const distances = {
    MMD: (one: typeof moved, other: typeof moved) => mmdSquared(one, other, medianDistance(sample(40))),
    LSDD: (one: typeof moved, other: typeof moved) => lsdd(one, other, { centres: sample(10, 6), sigma: 2 }),
  };
  it.each(Object.entries(distances))('%s tells a shift from none by permutation, and its p-value is never 0', (_, distance) => {
    const options = { permutations: 99, below: below(new NumpyRandom(2)) };
    expect(permutationPValue(sample(30), moved, distance as never, options)).toBe(0.01);
    expect(permutationPValue(sample(30), sample(30, 12), distance as never, options)).toBeGreaterThan(0.05);
  });

  it('online MMD equals that of the same rows at once', () => {
    const window = new MmdWindow(sample(30), { window: 8, sigma: 1.5 });
    const rows = new NumpyRandom(6).normals(0.5, 1, 4 * 20);
    for (let at = 0; at < 20; at++) window.push(rows.slice(4 * at, 4 * at + 4));
    expect(window.value()).toBeCloseTo(mmdSquared(sample(30), { values: rows.slice(48), width: 4 }, 1.5), 12);
  });
});
