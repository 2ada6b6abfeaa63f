import type { FeaturePart } from '../../models/networks/front-end.ts';

const widthOf = (parts: readonly FeaturePart[]) => parts.reduce((sum, { width }) => sum + width, 0);

/** Calls back with where each feature of a row [F] stands in a reference row [R], whose tokens are averaged. */
function eachFeature(parts: readonly FeaturePart[], visit: (at: number, column: number, tokens: number) => void): void {
  let [at, offset] = [0, 0];
  for (const { tokens, width } of parts) {
    for (let index = 0; index < tokens * width; index++) visit(at++, offset + (index % width), tokens);
    offset += width;
  }
}

/** Features with the tokens of a part averaged, as the deciding graph's output `features` has them. [count, F] -> [count, R] */
export function tokenMeans(features: Float32Array, parts: readonly FeaturePart[], count: number): Float32Array {
  const [row, size] = [features.length / count, widthOf(parts)];
  const means = new Float32Array(count * size);
  eachFeature(parts, (at, column, tokens) => {
    for (let index = 0; index < count; index++) means[index * size + column] += features[index * row + at] / tokens;
  });
  return means;
}

/**
 * The reference bank: row 0 is zero, row m the mean over the reference windows of machine m.
 *
 * @param means of the reference windows, [machines.length, R]
 * @param machines row of the bank of each window, from 1 on
 * @returns [K, R]
 */
export function bankOfMeans(means: Float32Array, machines: Int32Array): Float32Array {
  const size = means.length / machines.length;
  const rows = machines.reduce((largest, machine) => Math.max(largest, machine), 0) + 1;
  const counts = new Int32Array(rows);
  for (const machine of machines) counts[machine]++;
  const bank = new Float32Array(rows * size);
  machines.forEach((machine, row) => {
    for (let column = 0; column < size; column++) bank[machine * size + column] += means[row * size + column] / counts[machine];
  });
  return bank;
}

/** What the deciding graph does with its reference inputs. features: [count, F] -> the same, each less its machine's row of the bank */
export function subtractReferences(
  features: Float32Array,
  parts: readonly FeaturePart[],
  machines: Int32Array,
  bank: Float32Array,
): Float32Array {
  const [row, size] = [features.length / machines.length, widthOf(parts)];
  const relative = features.slice();
  eachFeature(parts, (at, column) => {
    for (let index = 0; index < machines.length; index++) relative[index * row + at] -= bank[machines[index] * size + column];
  });
  return relative;
}
