import { describe, expect, it } from 'vitest';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { ColumnScaling } from '../../../trainer/evaluate/column-scaling.ts';
import { gramThroughEngine } from '../../../trainer/evaluate/engine-gram.ts';
import { addGramOfRows, cholesky, solveCholesky, traceOfInverse } from '../../../trainer/evaluate/linear-algebra.ts';
import { largestError, numbers } from '../../support/numbers.ts';

/** X X^T by its definition. x: [rows, width] */
function slowGram(x: ArrayLike<number>, rows: number, width: number): Float64Array {
  return Float64Array.from({ length: rows * rows }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < width; k++) sum += x[Math.floor(at / rows) * width + k] * x[(at % rows) * width + k];
    return sum;
  });
}

const lowerTriangle = (matrix: Float64Array, n: number) => matrix.filter((_, at) => at % n <= Math.floor(at / n));

describe('the Gram matrix of rows', () => {
  it.each([
    [1, 1],
    [3, 7],
    [4, 256],
    [37, 300],
    [70, 513],
  ])('of %d rows of %d numbers is that of its definition, and is added to what is there', (rows, width) => {
    const x = Float64Array.from(numbers(rows * width, rows));
    const gram = new Float64Array(rows * rows).fill(1);
    addGramOfRows(gram, x, rows, width);
    const expected = slowGram(x, rows, width).map((value) => value + 1);
    expect(largestError(lowerTriangle(gram, rows), lowerTriangle(expected, rows))).toBeLessThan(1e-12);
  });

  it('through an engine is the same to six digits', async () => {
    const [rows, width] = [1100, 21];
    const features = numbers(rows * width, 3, -5, 9);
    const scaling = ColumnScaling.of(features, rows);
    const expected = new Float64Array(width * width);
    addGramOfRows(expected, scaling.columns(features, 0, rows), width, rows);
    const shares: number[] = [];
    const gram = await gramThroughEngine(await createOnnxruntimeEngine(), features, scaling, (share) => shares.push(share));
    // A standardised feature has a squared norm of `rows`.
    const relative = (matrix: Float64Array) => lowerTriangle(matrix, width).map((value) => value / rows);
    expect(largestError(relative(gram), relative(expected))).toBeLessThan(1e-6);
    expect(shares).toEqual([512 / 1100, 1024 / 1100, 1]);
  });
});

describe('the Cholesky factor', () => {
  // The worked example of Wikipedia's article on the Cholesky decomposition.
  const a = Float64Array.of(4, 12, -16, 12, 37, -43, -16, -43, 98);

  it('of a worked example is the known one', () => {
    expect([...lowerTriangle(cholesky(a, 3, 0), 3)]).toEqual([2, 6, 1, -8, 5, 3]);
  });

  it('gives the known trace of the inverse', () => {
    expect(traceOfInverse(cholesky(a, 3, 0), 3)).toBeCloseTo(1777 / 36 + 34 / 9 + 1 / 9, 9);
  });

  it('solves with a shift, over more rows than a panel has', () => {
    const [n, m] = [75, 3];
    const matrix = slowGram(numbers(n * 80, 5), n, 80);
    const x = Float64Array.from(numbers(n * m, 6));
    const b = Float64Array.from({ length: n * m }, (_, at) => {
      const [row, column] = [Math.floor(at / m), at % m];
      let sum = 0.5 * x[at];
      for (let k = 0; k < n; k++) sum += matrix[row * n + k] * x[k * m + column];
      return sum;
    });
    expect(largestError(solveCholesky(cholesky(matrix, n, 0.5), b, n, m), x)).toBeLessThan(1e-9);
  });

  it('refuses a matrix that is not positive definite', () => {
    expect(() => cholesky(Float64Array.of(1, 2, 2, 1), 2, 0)).toThrow(/positive definite/);
    expect(() => cholesky(Float64Array.of(1, 2, 2, 1), 2, 1.5)).not.toThrow();
  });
});
