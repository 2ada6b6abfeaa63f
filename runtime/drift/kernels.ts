/** Rows of numbers, one after the other: row-major [rows, width]. */
export interface Rows {
  readonly values: ArrayLike<number>;
  readonly width: number;
}

export const rowCount = ({ values, width }: Rows): number => values.length / width;

/** Squared distance of row i of one and row j of another. */
export function squaredDistance(one: Rows, i: number, other: Rows, j: number): number {
  const { width } = one;
  let sum = 0;
  for (let at = 0; at < width; at++) {
    const apart = one.values[i * width + at] - other.values[j * width + at];
    sum += apart * apart;
  }
  return sum;
}

/** Radial basis function exp(-d^2 / (2 sigma^2)). */
export const radial = (squared: number, sigma: number): number => Math.exp(-squared / (2 * sigma * sigma));

/** Median distance of pairs of rows, a customary sigma; 1 where all rows are alike. */
export function medianDistance(rows: Rows): number {
  const count = rowCount(rows);
  const distances: number[] = [];
  for (let i = 0; i < count; i++) for (let j = 0; j < i; j++) distances.push(squaredDistance(rows, i, rows, j));
  distances.sort((a, b) => a - b);
  return Math.sqrt(distances[distances.length >> 1] ?? 0) || 1;
}

/** Solves A x = b for a symmetric positive definite A, row-major [n, n], by Cholesky's factors. A is overwritten. */
export function solvePositive(matrix: Float64Array, right: Float64Array): Float64Array {
  const n = right.length;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * n + j];
      for (let k = 0; k < j; k++) sum -= matrix[i * n + k] * matrix[j * n + k];
      if (i !== j) matrix[i * n + j] = sum / matrix[j * n + j];
      else if (sum > 0) matrix[i * n + i] = Math.sqrt(sum);
      else throw new RangeError('the matrix is not positive definite: add more to its diagonal');
    }
  }
  const x = right.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] -= matrix[i * n + k] * x[k];
    x[i] /= matrix[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= matrix[k * n + i] * x[k];
    x[i] /= matrix[i * n + i];
  }
  return x;
}
