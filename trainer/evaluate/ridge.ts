/**
 * Ridge classifier: least squares on targets of +1 for a window's class and -1 elsewhere, with an L2 penalty on standardised features.
 * The baseline that every network has to beat.
 */
export class RidgeClassifier {
  readonly #mean: Float64Array;
  readonly #inverseDeviation: Float64Array;
  /** [features + 1, classes], the bias last. */
  readonly #weights: Float64Array;
  readonly #classes: number;

  /**
   * @param features row-major [rows, width]
   * @param labels class index a row
   * @param alpha penalty on the squared weights, of features with unit deviation
   */
  constructor(features: Float32Array, labels: Int32Array, classes: number, alpha: number) {
    const rows = labels.length;
    const width = features.length / rows;
    this.#classes = classes;
    this.#mean = new Float64Array(width);
    const square = new Float64Array(width);
    for (let at = 0; at < features.length; at++) {
      this.#mean[at % width] += features[at] / rows;
      square[at % width] += features[at] ** 2 / rows;
    }
    this.#inverseDeviation = square.map((value, column) => 1 / Math.sqrt(Math.max(value - this.#mean[column] ** 2, 1e-12)));
    const x = this.#standardize(features, width);
    // The targets are centred by the bias, which is not penalised.
    const gram = new Float64Array(width * width);
    const right = new Float64Array(width * classes);
    const share = new Float64Array(classes);
    for (const label of labels) share[label] += 1 / rows;
    for (let row = 0; row < rows; row++) {
      const line = x.subarray(row * width, (row + 1) * width);
      for (let i = 0; i < width; i++) {
        const value = line[i];
        const target = i * width;
        for (let j = 0; j <= i; j++) gram[target + j] += value * line[j];
        for (let column = 0; column < classes; column++)
          right[i * classes + column] += value * 2 * ((labels[row] === column ? 1 : 0) - share[column]);
      }
    }
    for (let i = 0; i < width; i++) gram[i * width + i] += alpha;
    this.#weights = new Float64Array((width + 1) * classes);
    this.#weights.set(solveSymmetric(gram, right, width, classes));
    for (let column = 0; column < classes; column++) this.#weights[width * classes + column] = 2 * share[column] - 1;
  }

  #standardize(features: Float32Array, width: number): Float64Array {
    const x = new Float64Array(features.length);
    for (let at = 0; at < x.length; at++) x[at] = (features[at] - this.#mean[at % width]) * this.#inverseDeviation[at % width];
    return x;
  }

  /** features: [rows, width] -> class index a row */
  decide(features: Float32Array): Int32Array {
    const width = this.#mean.length;
    const x = this.#standardize(features, width);
    return Int32Array.from({ length: x.length / width }, (_, row) => {
      let [best, largest] = [0, Number.NEGATIVE_INFINITY];
      for (let column = 0; column < this.#classes; column++) {
        let score = this.#weights[width * this.#classes + column];
        for (let i = 0; i < width; i++) score += x[row * width + i] * this.#weights[i * this.#classes + column];
        if (score > largest) [best, largest] = [column, score];
      }
      return best;
    });
  }
}

/** Solves A X = B for symmetric positive definite A (lower triangle given) by Cholesky. A: [n, n], B: [n, m] */
function solveSymmetric(a: Float64Array, b: Float64Array, n: number, m: number): Float64Array {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j];
      for (let k = 0; k < j; k++) sum -= a[i * n + k] * a[j * n + k];
      if (i === j) a[i * n + i] = Math.sqrt(sum);
      else a[i * n + j] = sum / a[j * n + j];
    }
  }
  const x = b.slice();
  for (let column = 0; column < m; column++) {
    for (let i = 0; i < n; i++) {
      let sum = x[i * m + column];
      for (let k = 0; k < i; k++) sum -= a[i * n + k] * x[k * m + column];
      x[i * m + column] = sum / a[i * n + i];
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = x[i * m + column];
      for (let k = i + 1; k < n; k++) sum -= a[k * n + i] * x[k * m + column];
      x[i * m + column] = sum / a[i * n + i];
    }
  }
  return x;
}
