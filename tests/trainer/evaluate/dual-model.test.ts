import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { manifestSchema } from '../../../models/bundle/schema/manifest.ts';
import { dualSettings } from '../../../runtime/decide/dual-state.ts';
import { dualFigures } from '../../../trainer/evaluate/dual-model.ts';
import { numbers } from '../../support/numbers.ts';

const SETTINGS = dualSettings(256);
const CLASSES = 3;

/** Probabilities that put most on one class of each window. */
function sureOf(classes: readonly number[], most = 0.8): Float32Array {
  const rest = (1 - most) / (CLASSES - 1);
  return Float32Array.from(classes.flatMap((own) => Array.from({ length: CLASSES }, (_, column) => (column === own ? most : rest))));
}

const figures = (primary: readonly number[], backup: readonly number[], labels: readonly number[]) =>
  dualFigures(sureOf(primary), sureOf(backup), Int32Array.from(labels), SETTINGS);

describe('dualFigures', () => {
  it('gives the figures of a case worked by hand', () => {
    // Errors of the primary: windows 1, 2 and 3. The back-up repeats the first, errs otherwise at the second, and is right at the third.
    const made = figures([0, 1, 1, 2], [0, 1, 2, 0], [0, 0, 0, 0]);
    expect(made.repeatedErrors).toBeCloseTo(1 / 3, 9);
    expect(made.sharedErrors).toBeCloseTo(2 / 3, 9);
    // p - one-hot: right (-.2, .1, .1); wrong by class 1 (-.9, .8, .1), by class 2 (-.9, .1, .8).
    const [right, wrong] = [Math.sqrt(0.06), Math.sqrt(1.46)];
    const cosines = [1, 1, (0.81 + 0.08 + 0.08) / wrong ** 2, (0.18 + 0.01 + 0.08) / (wrong * right)];
    expect(made.difference).toBeCloseTo(1 - cosines.reduce((a, b) => a + b) / 4, 6);
    expect(made).toMatchObject({ windows: 4, falseSwitchRate: 0, backupShare: 1 / 16 });
  });

  it('finds no difference between a model and itself, and no errors in one that makes none', () => {
    const labels = Array.from({ length: 50 }, (_, index) => index % CLASSES);
    const guesses = labels.map((label, index) => (index % 4 === 0 ? (label + 1) % CLASSES : label));
    const twin = figures(guesses, guesses, labels);
    expect(twin.difference).toBeLessThan(1e-6);
    expect(twin).toMatchObject({ repeatedErrors: 1, sharedErrors: 1, falseSwitchRate: 0 });
    expect(figures(labels, guesses, labels)).toMatchObject({ repeatedErrors: 0, sharedErrors: 0 });
  });

  it('leaves out windows that a model answers without any error', () => {
    const labels = Int32Array.of(0, 0);
    const primary = Float32Array.from([1, 0, 0, 0.5, 0.5, 0]);
    const backup = Float32Array.from([0.5, 0, 0.5, 0.5, 0.5, 0]);
    expect(dualFigures(primary, backup, labels, SETTINGS).difference).toBeCloseTo(0, 6);
    expect(dualFigures(primary.slice(0, 3), backup.slice(0, 3), labels.slice(1), SETTINGS).difference).toBe(0);
  });

  it('stays within what a manifest can say, whatever the models', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 1e6 }), (windows, seed) => {
        const random = (offset: number) => {
          const values = numbers(windows * CLASSES, seed + offset, 0, 1);
          for (let at = 0; at < values.length; at += CLASSES) {
            const sum = values[at] + values[at + 1] + values[at + 2] || 1;
            for (let column = at; column < at + CLASSES; column++) values[column] /= sum;
          }
          return values;
        };
        const labels = Int32Array.from(numbers(windows, seed + 2, 0, CLASSES), Math.floor);
        const made = dualFigures(random(0), random(1), labels, SETTINGS);
        expect(manifestSchema.shape.dual.parse(made)).toEqual(made);
        expect(made.repeatedErrors).toBeLessThanOrEqual(made.sharedErrors);
        // Both error vectors point away from the same true class.
        expect(made.difference).toBeLessThanOrEqual(0.5 + 1e-6);
      }),
    );
  });

  it('is none in two classes, where there is one wrong class to err into', () => {
    const labels = Int32Array.of(0, 1, 0, 1);
    const [primary, backup] = [Float32Array.of(0.9, 0.1, 0.3, 0.7, 0.2, 0.8, 1, 0), Float32Array.of(0.1, 0.9, 0.5, 0.5, 1, 0, 0.6, 0.4)];
    expect(dualFigures(primary, backup, labels, SETTINGS).difference).toBeCloseTo(0, 6);
  });

  it('counts no switch for models that differ now and then, and some for models that never agree', () => {
    const labels = new Array<number>(4000).fill(0);
    const seldom = labels.map((_, index) => (index % 10 === 0 ? 1 : 0));
    expect(figures(labels, seldom, labels).falseSwitchRate).toBe(0);
    const never = labels.map(() => 2);
    expect(figures(labels, never, labels).falseSwitchRate).toBe(1 / 4000);
  });

  it('refuses figures of no windows, or of other windows', () => {
    expect(() => figures([], [], [])).toThrow(RangeError);
    expect(() => figures([0, 1], [0], [0, 1])).toThrow(RangeError);
  });
});
