import { type Rows, radial, rowCount, solvePositive, squaredDistance } from './kernels.ts';

/**
 * Squared maximum mean discrepancy of two samples, unbiased: 0 on average where both come from one distribution, and then negative half of the
 * time. Kernel exp(-d^2 / (2 sigma^2)).
 *
 * Gretton et al. (2012), A kernel two-sample test, equation 3.
 */
export function mmdSquared(one: Rows, other: Rows, sigma: number): number {
  const [n, m] = [rowCount(one), rowCount(other)];
  let [within, beyond, across] = [0, 0, 0];
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) within += 2 * radial(squaredDistance(one, i, one, j), sigma);
  for (let i = 0; i < m; i++) for (let j = 0; j < i; j++) beyond += 2 * radial(squaredDistance(other, i, other, j), sigma);
  for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) across += radial(squaredDistance(one, i, other, j), sigma);
  return within / (n * (n - 1)) + beyond / (m * (m - 1)) - (2 * across) / (n * m);
}

/** Kernel centres with the factorised system of {@link lsdd}. */
export interface LsddBasis {
  readonly centres: Rows;
  readonly sigma: number;
  /** Added to the diagonal, as a share of it. Default 0.001. */
  readonly ridge?: number;
}

/**
 * Squared L2 distance of the two densities, by least squares in a basis of Gaussians about centres; 0 for one and the same sample.
 *
 * With H_ab = (pi sigma^2)^(d/2) exp(-|c_a - c_b|^2 / (4 sigma^2)) and h_a the difference of the mean kernels: theta = (H + lambda I)^-1 h, distance
 * 2 h.theta - theta'H theta. The factor (pi sigma^2)^(d/2) is left out: it scales every distance alike, and in 48 dimensions it is no number.
 *
 * Sugiyama et al. (2013), Density-difference estimation; Bu et al. (2018), A pdf-free change detection test.
 */
export function lsdd(one: Rows, other: Rows, basis: LsddBasis): number {
  return lsddOf(meanKernels(one, basis), meanKernels(other, basis), lsddSystem(basis));
}

/** Mean of exp(-d^2 / (2 sigma^2)) of a sample about every centre, [centres]. */
export function meanKernels(rows: Rows, { centres, sigma }: LsddBasis): Float64Array {
  const means = new Float64Array(rowCount(centres));
  for (let row = 0; row < rowCount(rows); row++) {
    for (let centre = 0; centre < means.length; centre++) {
      means[centre] += radial(squaredDistance(rows, row, centres, centre), sigma) / rowCount(rows);
    }
  }
  return means;
}

/** H of {@link lsdd}, row-major [centres, centres], and what its diagonal is raised by. */
export interface LsddSystem {
  readonly matrix: Float64Array;
  readonly ridge: number;
}

export function lsddSystem({ centres, sigma, ridge = 1e-3 }: LsddBasis): LsddSystem {
  const count = rowCount(centres);
  const matrix = Float64Array.from({ length: count * count }, (_, at) =>
    Math.exp(-squaredDistance(centres, Math.floor(at / count), centres, at % count) / (4 * sigma * sigma)),
  );
  return { matrix, ridge };
}

export function lsddOf(one: Float64Array, other: Float64Array, { matrix, ridge }: LsddSystem): number {
  const count = one.length;
  const h = one.map((value, at) => value - other[at]);
  const raised = matrix.slice();
  for (let at = 0; at < count; at++) raised[at * count + at] += ridge;
  const theta = solvePositive(raised, h);
  let distance = 0;
  for (let a = 0; a < count; a++) {
    let row = 0;
    for (let b = 0; b < count; b++) row += matrix[a * count + b] * theta[b];
    distance += theta[a] * (2 * h[a] - row);
  }
  return distance;
}

/**
 * p-value of a distance by permutation: (1 + those at least as large) / (1 + permutations), never 0.
 *
 * Is wrong for windows that follow each other: their order is not arbitrary. Permute blocks of them, or use the calibrated chain.
 *
 * @param below a whole number in [0, bound)
 */
export function permutationPValue(
  one: Rows,
  other: Rows,
  distance: (one: Rows, other: Rows) => number,
  { permutations = 199, below }: { readonly permutations?: number; readonly below: (bound: number) => number },
): number {
  const { width } = one;
  const [n, m] = [rowCount(one), rowCount(other)];
  const all = Float64Array.from([...Array.from(one.values), ...Array.from(other.values)]);
  const observed = distance(one, other);
  const order = Array.from({ length: n + m }, (_, at) => at);
  let atLeast = 0;
  for (let round = 0; round < permutations; round++) {
    for (let last = order.length - 1; last > 0; last--) {
      const pick = below(last + 1);
      [order[last], order[pick]] = [order[pick], order[last]];
    }
    const rows = (picked: readonly number[]): Rows => ({
      values: Float64Array.from(picked.flatMap((row) => Array.from(all.subarray(row * width, (row + 1) * width)))),
      width,
    });
    if (distance(rows(order.slice(0, n)), rows(order.slice(n))) >= observed) atLeast++;
  }
  return (1 + atLeast) / (1 + permutations);
}
