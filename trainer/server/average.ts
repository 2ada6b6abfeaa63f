import { adaptedTargets, adapterLayout } from '../../models/adapters/adapter.ts';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import type { Network } from '../../models/networks/network.ts';
import { symmetricEigen } from '../evaluate/eigen.ts';

/** Of the largest singular value: what is smaller is rounding. */
const RANK_TOLERANCE = 1e-6;

/**
 * The weighted mean of adapters of one scheme. What adapters add to a layer is the product A B, and a mean of products is not the product of means: so
 * products are averaged, and factored again by their best approximation of the scheme's rank (Eckart and Young 1936). Of adapters that lie in one
 * space of that rank nothing is lost. Heads are plain weights: their mean is the mean.
 *
 * @param adapters as trained, [P] each
 * @param weights of each, above zero; their sum counts as one
 * @throws RangeError for prefixes, whose rows have no common meaning
 */
export function averageAdapters(
  scheme: AdapterScheme,
  network: Network,
  adapters: readonly Float32Array[],
  weights: readonly number[],
): Float32Array {
  if (scheme.kind === 'prefix') throw new RangeError('prefixes cannot be averaged');
  const layout = adapterLayout(scheme, network);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const shares = weights.map((weight) => weight / total);
  const mean = new Float32Array(layout.size);
  if (scheme.kind === 'head') {
    for (let at = 0; at < layout.size; at++) mean[at] = adapters.reduce((sum, adapter, index) => sum + shares[index] * adapter[at], 0);
    return mean;
  }
  const { rank } = scheme;
  for (const { name, inputs, outputs } of adaptedTargets(scheme, network)) {
    const inner = rank * adapters.length;
    // Side by side: left [inputs, inner] and right [inner, outputs], whose product is the mean of the products.
    const [left, right] = [new Float64Array(inputs * inner), new Float64Array(inner * outputs)];
    adapters.forEach((adapter, index) => {
      const [a, b] = [layout.view(adapter, `${name}.A`), layout.view(adapter, `${name}.B`)];
      for (let row = 0; row < inputs; row++) for (let k = 0; k < rank; k++) left[row * inner + index * rank + k] = a[row * rank + k];
      for (let at = 0; at < rank * outputs; at++) right[index * rank * outputs + at] = shares[index] * b[at];
    });
    const { a, b } = factored(left, right, { inputs, inner, outputs }, rank);
    layout.view(mean, `${name}.A`).set(a);
    layout.view(mean, `${name}.B`).set(b);
  }
  return mean;
}

interface Sizes {
  readonly inputs: number;
  readonly inner: number;
  readonly outputs: number;
}

/** The best approximation of left * right by a [inputs, rank] and b [rank, outputs], both of equal scale. */
function factored(
  left: Float64Array,
  right: Float64Array,
  { inputs, inner, outputs }: Sizes,
  rank: number,
): { a: Float64Array; b: Float64Array } {
  // left = U S V', by the eigenvectors of left' left.
  const { values, vectors } = symmetricEigen(gram(left, inputs, inner), inner);
  const kept = values.findIndex((value) => !(value > RANK_TOLERANCE ** 2 * values[0]));
  const width = kept < 0 ? inner : kept;
  // core = S V' right: [width, outputs]; left * right = U core.
  const core = new Float64Array(width * outputs);
  for (let k = 0; k < width; k++)
    for (let row = 0; row < inner; row++) {
      const factor = Math.sqrt(values[k]) * vectors[row * inner + k];
      for (let column = 0; column < outputs; column++) core[k * outputs + column] += factor * right[row * outputs + column];
    }
  // core = P Z W', by the eigenvectors of core core'.
  const outer = new Float64Array(width * width);
  for (let i = 0; i < width; i++)
    for (let j = 0; j < width; j++)
      for (let column = 0; column < outputs; column++) outer[i * width + j] += core[i * outputs + column] * core[j * outputs + column];
  const singular = symmetricEigen(outer, width);
  const [a, b] = [new Float64Array(inputs * rank), new Float64Array(rank * outputs)];
  for (let r = 0; r < Math.min(rank, width); r++) {
    const root = Math.max(0, singular.values[r]) ** 0.25;
    if (root ** 2 <= RANK_TOLERANCE * Math.sqrt(Math.max(0, singular.values[0])) || root === 0) continue;
    for (let k = 0; k < width; k++) {
      const p = singular.vectors[k * width + r];
      for (let column = 0; column < outputs; column++) b[r * outputs + column] += (p * core[k * outputs + column]) / root;
      // Column k of U is left V / S.
      const factor = (root * p) / Math.sqrt(values[k]);
      for (let row = 0; row < inputs; row++)
        for (let at = 0; at < inner; at++) a[row * rank + r] += factor * left[row * inner + at] * vectors[at * inner + k];
    }
  }
  return { a, b };
}

/** x' x. x: [rows, width] */
function gram(x: Float64Array, rows: number, width: number): Float64Array {
  const made = new Float64Array(width * width);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < width; i++) {
      const value = x[row * width + i];
      for (let j = 0; j < width; j++) made[i * width + j] += value * x[row * width + j];
    }
  return made;
}
