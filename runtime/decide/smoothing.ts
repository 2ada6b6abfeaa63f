/** Added to a probability before its logarithm, as where recordings are decided. */
const EPSILON = 1e-12;

/**
 * Decides the last windows of a stream together, by the sum of their log-probabilities: naive Bayes over windows with equal priors.
 *
 * Is wrong when windows are far from independent: neighbours share half their samples, so the smoothed probabilities are surer than they
 * should be. The order of the classes is not affected.
 */
export class LogProbabilitySum {
  /** Log-probabilities of the last windows, ring [length, classes]. */
  readonly #logs: Float64Array;
  readonly #length: number;
  readonly #classes: number;
  /** Smoothed probabilities [classes], sum 1; overwritten by the next window. */
  readonly probabilities: Float64Array;
  #windows = 0;
  #next = 0;

  constructor(length: number, classes: number) {
    this.#length = length;
    this.#classes = classes;
    this.#logs = new Float64Array(length * classes);
    this.probabilities = new Float64Array(classes);
  }

  /** Windows that were decided together. */
  get windows(): number {
    return this.#windows;
  }

  /** What comes now has nothing to do with what came before. */
  clear(): void {
    this.#windows = 0;
    this.#next = 0;
  }

  /** Takes the next window. own: [classes] */
  push(own: ArrayLike<number>): void {
    const classes = this.#classes;
    for (let column = 0; column < classes; column++) this.#logs[this.#next * classes + column] = Math.log(own[column] + EPSILON);
    this.#next = (this.#next + 1) % this.#length;
    this.#windows = Math.min(this.#windows + 1, this.#length);
    this.#decide();
  }

  #decide(): void {
    const { probabilities } = this;
    const classes = this.#classes;
    let largest = Number.NEGATIVE_INFINITY;
    for (let column = 0; column < classes; column++) {
      // Summed anew each time: a running sum would gather rounding errors for years.
      let sum = 0;
      for (let row = 0; row < this.#windows; row++) sum += this.#logs[row * classes + column];
      probabilities[column] = sum;
      largest = Math.max(largest, sum);
    }
    let total = 0;
    for (let column = 0; column < classes; column++) {
      probabilities[column] = Math.exp(probabilities[column] - largest);
      total += probabilities[column];
    }
    for (let column = 0; column < classes; column++) probabilities[column] /= total;
  }
}
