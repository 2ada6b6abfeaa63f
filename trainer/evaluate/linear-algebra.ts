/**
 * The few dense products that the baselines need, in plain loops over Float64Array. Everything is a product of matrix rows, so that one
 * register-blocked kernel of 4 x 4 row products (about 1.6 G multiply-adds a second on one core) serves Gram matrices and Cholesky alike.
 */

/** Numbers of each row that one pass looks at: eight rows of them stay in the first-level cache. */
const DEPTH = 256;
/** Rows that one column of tiles goes down before the next four rows are fetched. */
const TALL = 32;
/** Columns that Cholesky's plain inner part factors at once. */
const PANEL = 32;

/**
 * 16 row products of two groups of four rows, added to `sums`.
 *
 * @param a matrix whose rows begin at offsets a0..a3, of b at b0..b3; columns from..to of both
 */
function rowProducts4x4(
  a: Float64Array,
  aRows: Int32Array,
  b: Float64Array,
  bRows: Int32Array,
  from: number,
  to: number,
  sums: Float64Array,
): void {
  const a0 = aRows[0];
  const a1 = aRows[1];
  const a2 = aRows[2];
  const a3 = aRows[3];
  const b0 = bRows[0];
  const b1 = bRows[1];
  const b2 = bRows[2];
  const b3 = bRows[3];
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s10 = 0;
  let s11 = 0;
  let s12 = 0;
  let s13 = 0;
  let s20 = 0;
  let s21 = 0;
  let s22 = 0;
  let s23 = 0;
  let s30 = 0;
  let s31 = 0;
  let s32 = 0;
  let s33 = 0;
  for (let k = from; k < to; k++) {
    const x0 = a[a0 + k];
    const x1 = a[a1 + k];
    const x2 = a[a2 + k];
    const x3 = a[a3 + k];
    const y0 = b[b0 + k];
    const y1 = b[b1 + k];
    const y2 = b[b2 + k];
    const y3 = b[b3 + k];
    s00 += x0 * y0;
    s01 += x0 * y1;
    s02 += x0 * y2;
    s03 += x0 * y3;
    s10 += x1 * y0;
    s11 += x1 * y1;
    s12 += x1 * y2;
    s13 += x1 * y3;
    s20 += x2 * y0;
    s21 += x2 * y1;
    s22 += x2 * y2;
    s23 += x2 * y3;
    s30 += x3 * y0;
    s31 += x3 * y1;
    s32 += x3 * y2;
    s33 += x3 * y3;
  }
  sums[0] += s00;
  sums[1] += s01;
  sums[2] += s02;
  sums[3] += s03;
  sums[4] += s10;
  sums[5] += s11;
  sums[6] += s12;
  sums[7] += s13;
  sums[8] += s20;
  sums[9] += s21;
  sums[10] += s22;
  sums[11] += s23;
  sums[12] += s30;
  sums[13] += s31;
  sums[14] += s32;
  sums[15] += s33;
}

/** Offsets of four rows from `row` on; past the last row the last one again, whose products nobody takes. */
function rowOffsets(row: number, rows: number, stride: number, into: Int32Array): Int32Array {
  for (let index = 0; index < 4; index++) into[index] = Math.min(row + index, rows - 1) * stride;
  return into;
}

/**
 * Adds `factor` times the products of rows to the lower triangle of a square matrix: target[i, j] += factor * sum_k x[i, k] x[j, k] for
 * k in `columns`, i in `rows` and j <= i in `against`. Tiles on the diagonal fill a little of the upper triangle too.
 */
function addRowProducts(
  target: Float64Array,
  size: number,
  x: Float64Array,
  stride: number,
  columns: readonly [from: number, to: number],
  rows: readonly [from: number, to: number],
  against: readonly [from: number, to: number],
  factor: number,
): void {
  const sums = new Float64Array(16);
  const [left, right] = [new Int32Array(4), new Int32Array(4)];
  for (let k = columns[0]; k < columns[1]; k += DEPTH) {
    const end = Math.min(k + DEPTH, columns[1]);
    for (let block = rows[0]; block < rows[1]; block += TALL) {
      const bottom = Math.min(block + TALL, rows[1]);
      for (let j = against[0]; j < Math.min(against[1], bottom); j += 4) {
        rowOffsets(j, against[1], stride, right);
        for (let i = block; i < bottom; i += 4) {
          if (i + 3 < j) continue;
          rowProducts4x4(x, rowOffsets(i, rows[1], stride, left), x, right, k, end, sums.fill(0));
          const [high, wide] = [Math.min(4, rows[1] - i), Math.min(4, against[1] - j)];
          for (let di = 0; di < high; di++)
            for (let dj = 0; dj < wide; dj++) target[(i + di) * size + j + dj] += factor * sums[4 * di + dj];
        }
      }
    }
  }
}

/** Adds X X^T to a matrix, of which only the lower triangle is meant. gram: [rows, rows]; x: [rows, width] */
export function addGramOfRows(gram: Float64Array, x: Float64Array, rows: number, width: number): void {
  addRowProducts(gram, rows, x, width, [0, width], [0, rows], [0, rows], 1);
}

/**
 * Cholesky factor of A + shift I: L with L L^T = A + shift I, lower triangle; the strict upper triangle is left undefined.
 *
 * @param a symmetric [n, n], lower triangle read
 * @throws RangeError where the shifted matrix is not positive definite
 */
export function cholesky(a: Float64Array, n: number, shift: number): Float64Array {
  const l = a.slice();
  for (let i = 0; i < n; i++) l[i * n + i] += shift;
  for (let panel = 0; panel < n; panel += PANEL) {
    const end = Math.min(panel + PANEL, n);
    addRowProducts(l, n, l, n, [0, panel], [panel, n], [panel, end], -1);
    for (let j = panel; j < end; j++) {
      for (let i = j; i < n; i++) {
        let sum = l[i * n + j];
        for (let k = panel; k < j; k++) sum -= l[i * n + k] * l[j * n + k];
        if (i > j) l[i * n + j] = sum / l[j * n + j];
        else if (sum > 0) l[j * n + j] = Math.sqrt(sum);
        else throw new RangeError(`the matrix is not positive definite at row ${i}; use a larger penalty`);
      }
    }
  }
  return l;
}

/** Solves L L^T X = B. l: [n, n] of {@link cholesky}; b: [n, m] -> [n, m] */
export function solveCholesky(l: Float64Array, b: Float64Array, n: number, m: number): Float64Array {
  const x = b.slice();
  const subtract = (from: number, to: number, factor: number) => {
    for (let column = 0; column < m; column++) x[to * m + column] -= factor * x[from * m + column];
  };
  const divide = (row: number) => {
    for (let column = 0; column < m; column++) x[row * m + column] /= l[row * n + row];
  };
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) subtract(k, i, l[i * n + k]);
    divide(i);
  }
  // Backwards by rows of L as well: once x[i] is known, it leaves all equations above it.
  for (let i = n - 1; i >= 0; i--) {
    divide(i);
    for (let k = 0; k < i; k++) subtract(i, k, l[i * n + k]);
  }
  return x;
}

/** Trace of (L L^T)^-1: the squared norm of L^-1, made row by row. l: [n, n] of {@link cholesky} */
export function traceOfInverse(l: Float64Array, n: number): number {
  const inverse = new Float64Array(n * n);
  let trace = 0;
  for (let i = 0; i < n; i++) {
    const row = inverse.subarray(i * n, i * n + i + 1);
    for (let k = 0; k < i; k++) {
      const factor = l[i * n + k];
      const above = k * n;
      for (let j = 0; j <= k; j++) row[j] -= factor * inverse[above + j];
    }
    row[i] = 1;
    for (let j = 0; j <= i; j++) {
      row[j] /= l[i * n + i];
      trace += row[j] * row[j];
    }
  }
  return trace;
}
