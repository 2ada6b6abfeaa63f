/**
 * Says when a window of a stream is complete: nothing before sample `window`, then one window every `stride` samples (LF Edge eKuiper's
 * COUNTWINDOW(window, stride)). After a gap the count begins anew, so that no gap lies inside a window.
 */
export class WindowScheduler {
  readonly #window: number;
  readonly #stride: number;
  /** Samples in a row since the start or the last gap. */
  #run = 0;
  expected = 0;

  constructor(window: number, stride: number) {
    this.#window = window;
    this.#stride = stride;
  }

  /** A gap, a restart or another scale: what came before does not join what comes now. */
  restart(): void {
    this.#run = 0;
  }

  /**
   * Takes `count` further samples.
   *
   * @param onWindow called for each window that they complete, with the number of the new samples that belong to it
   */
  advance(count: number, onWindow: (samplesTaken: number) => void): void {
    let taken = 0;
    while (taken < count) {
      const next =
        this.#run < this.#window ? this.#window : this.#window + this.#stride * (Math.floor((this.#run - this.#window) / this.#stride) + 1);
      const step = Math.min(count - taken, next - this.#run);
      this.#run += step;
      taken += step;
      if (this.#run === next) {
        this.expected++;
        onWindow(taken);
      }
    }
  }
}
