/** Largest resident set of this process among the samples taken; worker threads are part of it. */
export class PeakMemory {
  #bytes = 0;

  constructor() {
    this.sample();
  }

  sample(): void {
    this.#bytes = Math.max(this.#bytes, process.memoryUsage.rss());
  }

  get bytes(): number {
    return this.#bytes;
  }
}
