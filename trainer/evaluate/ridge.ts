import { ColumnScaling } from './column-scaling.ts';
import { addGramOfRows, cholesky, solveCholesky, traceOfInverse } from './linear-algebra.ts';
import { argmaxRows } from './metrics.ts';

/** Penalties to choose from: five powers of ten around the reference's. */
export const ALPHAS: readonly number[] = [0.1, 1, 10, 100, 1000];

/** Rows that are standardised at once: nothing else is ever held twice. */
const BLOCK = 512;

/**
 * The equations of ridge regression (Hoerl and Kennard 1970) on features with zero mean and unit deviation and targets of +1 for a
 * window's class and -1 elsewhere, in whichever form is smaller: `width` unknowns (primal) or, with fewer rows than features, `rows`
 * (dual). Made once; solved for any penalty.
 */
export class RidgeSystem {
  readonly #rows: number;
  readonly #width: number;
  readonly #classes: number;
  readonly #features: Float32Array;
  readonly #scaling: ColumnScaling;
  /** Share of rows that each class has; the targets' mean is 2 share - 1. */
  readonly #share: Float64Array;
  readonly #dual: boolean;
  /** Lower triangle of X^T X [width, width], or of X X^T [rows, rows] in dual form. */
  readonly #gram: Float64Array;
  /** Primal: X^T Y [width, classes]; dual: centred targets Y [rows, classes]. */
  readonly #right: Float64Array;
  /** Squared norm of the centred targets. */
  readonly #energy: number;

  /**
   * @param features row-major [rows, width]
   * @param labels class index a row
   * @param gram X^T X of features that `scaling` has standardised, where somebody has made it faster; needs rows >= width
   */
  constructor(
    features: Float32Array,
    labels: Int32Array,
    classes: number,
    scaling: ColumnScaling = ColumnScaling.of(features, labels.length),
    gram?: Float64Array,
  ) {
    const rows = labels.length;
    const width = features.length / rows;
    [this.#rows, this.#width, this.#classes, this.#dual] = [rows, width, classes, rows < width];
    [this.#features, this.#scaling] = [features, scaling];
    this.#share = new Float64Array(classes);
    for (const label of labels) this.#share[label] += 1 / rows;
    const targets = new Float64Array(rows * classes);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < classes; column++) {
        targets[row * classes + column] = 2 * ((labels[row] === column ? 1 : 0) - this.#share[column]);
      }
    }
    this.#energy = squaredNorm(targets);
    if (this.#dual) {
      this.#gram = new Float64Array(rows * rows);
      addGramOfRows(this.#gram, scaling.rows(features, 0, rows), rows, width);
      this.#right = targets;
      return;
    }
    this.#gram = gram ?? new Float64Array(width * width);
    for (let row = 0; !gram && row < rows; row += BLOCK) {
      const count = Math.min(BLOCK, rows - row);
      addGramOfRows(this.#gram, scaling.columns(features, row, count), width, count);
    }
    this.#right = this.#timesTransposed(targets);
  }

  /** X^T B. b: [rows, classes] -> [width, classes] */
  #timesTransposed(b: Float64Array): Float64Array {
    const [width, classes] = [this.#width, this.#classes];
    const product = new Float64Array(width * classes);
    for (let first = 0; first < this.#rows; first += BLOCK) {
      const count = Math.min(BLOCK, this.#rows - first);
      const x = this.#scaling.rows(this.#features, first, count);
      for (let row = 0, at = 0; row < count; row++) {
        const line = (first + row) * classes;
        for (let column = 0; column < width; column++) {
          const value = x[at++];
          for (let label = 0; label < classes; label++) product[column * classes + label] += value * b[line + label];
        }
      }
    }
    return product;
  }

  /**
   * The solution for one penalty, and its generalised cross-validation error (Golub, Heath and Wahba 1979): the mean squared residual
   * over the squared share of free degrees, to which leave-one-out comes down when no row has more leverage than another.
   *
   * Wrong where rows are not independent: windows of one recording predict each other, so the error is that of the *same*
   * recordings, and the chosen penalty may be too small for a machine never seen.
   */
  solve(alpha: number, withError = false): { weights: Float64Array; error: number } {
    const size = this.#dual ? this.#rows : this.#width;
    const factor = cholesky(this.#gram, size, alpha);
    const solution = solveCholesky(factor, this.#right, size, this.#classes);
    const weights = this.#dual ? this.#timesTransposed(solution) : solution;
    if (!withError) return { weights, error: Number.NaN };
    const residual = this.#dual
      ? alpha ** 2 * squaredNorm(solution)
      : this.#energy - innerProduct(solution, this.#right) - alpha * squaredNorm(solution);
    // The bias takes one degree of freedom; the features are centred, so it takes it from nobody.
    const free = this.#rows - size + alpha * traceOfInverse(factor, size) - 1;
    return { weights, error: (this.#rows * Math.max(residual, 0)) / free ** 2 };
  }

  /** Weights of standardised features as weights [width, classes] and bias [classes] of the features as they come. */
  onRawFeatures(weights: Float64Array): { weights: Float64Array; bias: Float64Array } {
    const { mean, inverseDeviation } = this.#scaling;
    const raw = new Float64Array(weights.length);
    const bias = this.#share.map((share) => 2 * share - 1);
    for (let column = 0, at = 0; column < this.#width; column++) {
      for (let label = 0; label < this.#classes; label++, at++) {
        raw[at] = weights[at] * inverseDeviation[column];
        bias[label] -= raw[at] * mean[column];
      }
    }
    return { weights: raw, bias };
  }
}

/**
 * Ridge classifier: least squares on targets of +1 for a window's class and -1 elsewhere, with an L2 penalty on standardised features.
 * The baseline that every network has to beat.
 */
export class RidgeClassifier {
  readonly alpha: number;
  readonly classes: number;
  /** Of features as they come: [width, classes]. */
  readonly weights: Float64Array;
  /** [classes] */
  readonly bias: Float64Array;

  /**
   * @param features row-major [rows, width]
   * @param labels class index a row
   * @param alpha penalty on the squared weights, of features with unit deviation
   */
  constructor(
    features: Float32Array,
    labels: Int32Array,
    classes: number,
    alpha: number,
    system: RidgeSystem = new RidgeSystem(features, labels, classes),
  ) {
    this.alpha = alpha;
    this.classes = classes;
    ({ weights: this.weights, bias: this.bias } = system.onRawFeatures(system.solve(alpha).weights));
  }

  /** With the penalty out of `alphas` that has the least generalised cross-validation error; see {@link RidgeSystem.solve} for its limits. */
  static choosingAlpha(features: Float32Array, labels: Int32Array, classes: number, alphas: readonly number[] = ALPHAS): RidgeClassifier {
    const system = new RidgeSystem(features, labels, classes);
    const errors = alphas.map((alpha) => system.solve(alpha, true).error);
    return new RidgeClassifier(features, labels, classes, alphas[errors.indexOf(Math.min(...errors))], system);
  }

  /** features: [rows, width] -> scores [rows, classes], about 1 for the decided class and -1 elsewhere */
  scores(features: Float32Array): Float32Array {
    const { classes, weights, bias } = this;
    const width = weights.length / classes;
    const scores = new Float32Array((features.length / width) * classes);
    const sums = new Float64Array(classes);
    for (let row = 0; row < features.length / width; row++) {
      sums.set(bias);
      for (let column = 0, at = 0; column < width; column++) {
        const value = features[row * width + column];
        for (let label = 0; label < classes; label++) sums[label] += value * weights[at++];
      }
      scores.set(sums, row * classes);
    }
    return scores;
  }

  /** features: [rows, width] -> class index a row */
  decide(features: Float32Array): Int32Array {
    return argmaxRows(this.scores(features), this.classes);
  }
}

function innerProduct(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += a[index] * b[index];
  return sum;
}

const squaredNorm = (values: Float64Array) => innerProduct(values, values);
