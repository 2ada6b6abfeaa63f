import { describe, expect, it } from 'vitest';
import { ALPHAS, RidgeClassifier, RidgeSystem } from '../../../trainer/evaluate/ridge.ts';
import { largestError, numbers } from '../../support/numbers.ts';

/** Inverse by Gauss and Jordan: slow, plain, and nothing of ours. */
function inverse(matrix: number[][]): number[][] {
  const n = matrix.length;
  const work = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let column = 0; column < n; column++) {
    let pivot = column;
    for (let row = column; row < n; row++) if (Math.abs(work[row][column]) > Math.abs(work[pivot][column])) pivot = row;
    [work[column], work[pivot]] = [work[pivot], work[column]];
    const head = work[column][column];
    work[column] = work[column].map((value) => value / head);
    for (let row = 0; row < n; row++) {
      const factor = work[row][column];
      if (row !== column) work[row] = work[row].map((value, at) => value - factor * work[column][at]);
    }
  }
  return work.map((row) => row.slice(n));
}

const times = (a: number[][], b: number[][]) => a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
const transposed = (a: number[][]) => a[0].map((_, j) => a.map((row) => row[j]));

/** Ridge by its definition: the hat matrix of centred, scaled features, and from it scores and generalised cross-validation. */
function slowRidge(features: Float32Array, labels: Int32Array, classes: number, alpha: number) {
  const rows = labels.length;
  const width = features.length / rows;
  const mean = Array.from({ length: width }, (_, j) =>
    Array.from(labels, (_, i) => features[i * width + j] / rows).reduce((a, b) => a + b),
  );
  const deviation = mean.map((m, j) =>
    Math.sqrt(Array.from(labels, (_, i) => (features[i * width + j] - m) ** 2 / rows).reduce((a, b) => a + b)),
  );
  const x = Array.from(labels, (_, i) => mean.map((m, j) => (features[i * width + j] - m) / deviation[j]));
  const y = Array.from(labels, (label) => Array.from({ length: classes }, (_, c) => (c === label ? 1 : -1)));
  const average = y[0].map((_, c) => y.reduce((sum, row) => sum + row[c] / rows, 0));
  const centred = y.map((row) => row.map((value, c) => value - average[c]));
  const gram = times(transposed(x), x).map((row, i) => row.map((value, j) => value + (i === j ? alpha : 0)));
  const hat = times(times(x, inverse(gram)), transposed(x));
  const fitted = times(hat, centred);
  const residual = centred.flatMap((row, i) => row.map((value, c) => (value - fitted[i][c]) ** 2)).reduce((a, b) => a + b);
  const free = rows - 1 - hat.reduce((sum, row, i) => sum + row[i], 0);
  return { scores: fitted.flatMap((row) => row.map((value, c) => value + average[c])), error: residual / rows / (free / rows) ** 2 };
}

const CLASSES = 3;
const problem = (rows: number, width: number) => {
  const features = numbers(rows * width, rows, -3, 5);
  const labels = Int32Array.from({ length: rows }, (_, row) => (features[row * width] > 1 ? 0 : features[row * width + 1] > 1 ? 1 : 2));
  return { features, labels };
};

describe('ridge regression', () => {
  it.each([
    ['more rows than features', 40, 7],
    ['more features than rows', 12, 30],
  ])('with %s is what its definition says', (_, rows, width) => {
    const { features, labels } = problem(rows, width);
    for (const alpha of [0.3, 20]) {
      const { scores, error } = slowRidge(features, labels, CLASSES, alpha);
      expect(largestError(new RidgeClassifier(features, labels, CLASSES, alpha).scores(features), scores)).toBeLessThan(1e-6);
      expect(new RidgeSystem(features, labels, CLASSES).solve(alpha, true).error / error).toBeCloseTo(1, 9);
    }
  });

  it('chooses the penalty with the least error by generalised cross-validation', () => {
    const features = numbers(60 * 20, 8);
    const best = (labels: Int32Array) => {
      const errors = ALPHAS.map((alpha) => slowRidge(features, labels, 2, alpha).error);
      return ALPHAS[errors.indexOf(Math.min(...errors))];
    };
    const noise = Int32Array.from(numbers(60, 9), (value) => (value > 0 ? 1 : 0));
    const plane = Int32Array.from({ length: 60 }, (_, row) => (features[20 * row] + features[20 * row + 1] > 0 ? 1 : 0));
    expect(best(noise)).toBeGreaterThan(best(plane));
    for (const labels of [noise, plane]) expect(RidgeClassifier.choosingAlpha(features, labels, 2).alpha).toBe(best(labels));
  });

  it('gives no weight to a feature that never changed', () => {
    const { features, labels } = problem(30, 4);
    for (let row = 0; row < 30; row++) features[4 * row + 3] = 7.1;
    const ridge = new RidgeClassifier(features, labels, CLASSES, 1);
    const before = ridge.decide(features);
    for (let row = 0; row < 30; row++) features[4 * row + 3] = 7.2;
    expect(ridge.decide(features)).toEqual(before);
  });
});
