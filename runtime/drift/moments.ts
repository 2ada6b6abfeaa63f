/** Count, mean and covariance of vectors. */
export class Moments {
  /** Distances from here are summed: from a vector amid the others, so that sums of squares stay exact. */
  readonly origin: Float64Array;
  count = 0;
  readonly #sum: Float64Array;
  /** Lower triangle, row-major [width, width]. */
  readonly #products: Float64Array;
  readonly #away: Float64Array;

  constructor(origin: Float64Array) {
    const width = origin.length;
    this.origin = origin;
    this.#sum = new Float64Array(width);
    this.#products = new Float64Array(width * width);
    this.#away = new Float64Array(width);
  }

  /** vector: [width] from `from` on */
  add(vector: ArrayLike<number>, from = 0): void {
    const away = this.#away;
    const width = away.length;
    this.count++;
    for (let i = 0; i < width; i++) {
      away[i] = vector[from + i] - this.origin[i];
      this.#sum[i] += away[i];
      for (let j = 0; j <= i; j++) this.#products[i * width + j] += away[i] * away[j];
    }
  }

  clear(): void {
    this.count = 0;
    this.#sum.fill(0);
    this.#products.fill(0);
  }

  get mean(): Float64Array {
    return this.#sum.map((sum, i) => this.origin[i] + sum / this.count);
  }

  /** Of components i and j <= i. */
  covariance(i: number, j: number): number {
    return (this.#products[i * this.#sum.length + j] - (this.#sum[i] * this.#sum[j]) / this.count) / (this.count - 1);
  }

  /** Empty ones of the same origin. */
  beside(): Moments {
    return new Moments(this.origin);
  }

  /** All vectors of another of the same origin, and of these what leaves `most`, each with a smaller weight. */
  with(other: Moments, most: number): Moments {
    const both = this.beside();
    const keep = Math.min(1, Math.max(0, most - other.count) / this.count);
    both.count = keep * this.count + other.count;
    for (let at = 0; at < both.#sum.length; at++) both.#sum[at] = keep * this.#sum[at] + other.#sum[at];
    for (let at = 0; at < both.#products.length; at++) both.#products[at] = keep * this.#products[at] + other.#products[at];
    return both;
  }

  kept(): number[] {
    return [this.count, ...this.origin, ...this.#sum, ...this.#products];
  }

  /** How many numbers `kept` gives. */
  static size(width: number): number {
    return 1 + 2 * width + width * width;
  }

  static restored(numbers: readonly number[], width: number): Moments {
    const moments = new Moments(Float64Array.from(numbers.slice(1, 1 + width)));
    moments.count = numbers[0];
    moments.#sum.set(numbers.slice(1 + width, 1 + 2 * width));
    moments.#products.set(numbers.slice(1 + 2 * width));
    return moments;
  }
}
