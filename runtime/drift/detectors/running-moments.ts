/** Mean and variance of what has come so far, without keeping it (Welford 1962). */
export class RunningMoments {
  count = 0;
  mean = 0;
  #squares = 0;

  add(x: number): void {
    this.count++;
    const before = x - this.mean;
    this.mean += before / this.count;
    this.#squares += before * (x - this.mean);
  }

  /** Divided by the count, not by one less; 0 before the first value. */
  get variance(): number {
    return this.count === 0 ? 0 : this.#squares / this.count;
  }

  clear(): void {
    this.count = 0;
    this.mean = 0;
    this.#squares = 0;
  }
}
