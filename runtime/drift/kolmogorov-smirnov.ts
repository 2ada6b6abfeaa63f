/** Largest distance of two empirical distribution functions. */
export function kolmogorovSmirnov(one: ArrayLike<number>, other: ArrayLike<number>): number {
  const a = Float64Array.from(one).sort();
  const b = Float64Array.from(other).sort();
  let [i, j, largest] = [0, 0, 0];
  while (i < a.length && j < b.length) {
    const value = Math.min(a[i], b[j]);
    while (i < a.length && a[i] <= value) i++;
    while (j < b.length && b[j] <= value) j++;
    largest = Math.max(largest, Math.abs(i / a.length - j / b.length));
  }
  return largest;
}

/**
 * P(D >= distance) of two samples of n and m independent values of one continuous distribution, exact: the share of lattice paths that leave the
 * band (Hodges 1958).
 */
export function twoSampleTail(distance: number, n: number, m: number): number {
  // inside[j]: probability that a path to (i, j) has stayed inside; the tolerance lets k/n equal itself.
  const outside = (i: number, j: number) => Math.abs(i / n - j / m) >= distance - 1e-10;
  const inside = new Float64Array(m + 1);
  for (let i = 0; i <= n; i++) {
    for (let j = 0; j <= m; j++) {
      if (outside(i, j)) inside[j] = 0;
      else if (i === 0 && j === 0) inside[j] = 1;
      else inside[j] = (i * inside[j] + j * (j === 0 ? 0 : inside[j - 1])) / (i + j);
    }
  }
  return 1 - inside[m];
}
