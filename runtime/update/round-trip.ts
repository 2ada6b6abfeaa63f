/** Before anything was measured, and the limits of what is believed, milliseconds. */
const FIRST_MS = 2000;
const LEAST_MS = 200;
const MOST_MS = 30_000;

/**
 * How long to wait for an answer before asking again: the smoothed round trip and four times its deviation, or half of it again, which a stall of either
 * side takes easily; twice as long after each wait in vain.
 *
 * A caller measures answers to questions that were asked once only (Karn's algorithm). Where those never come, for much is lost, other answers take the
 * doubling back step by step. Source: RFC 6298.
 */
export class RoundTrip {
  #meanMs: number | undefined;
  #deviationMs = 0;
  #backOff = 1;
  /** When anything last came over the link, in the caller's milliseconds. */
  lastMs = Number.NEGATIVE_INFINITY;

  get timeoutMs(): number {
    const measured = this.#meanMs === undefined ? FIRST_MS : this.#meanMs + Math.max(4 * this.#deviationMs, this.#meanMs / 2, LEAST_MS / 2);
    return Math.min(MOST_MS, Math.max(LEAST_MS, measured) * this.#backOff);
  }

  measure(ms: number): void {
    this.#backOff = 1;
    if (this.#meanMs === undefined) {
      this.#meanMs = ms;
      this.#deviationMs = ms / 2;
      return;
    }
    this.#deviationMs += (Math.abs(ms - this.#meanMs) - this.#deviationMs) / 4;
    this.#meanMs += (ms - this.#meanMs) / 8;
  }

  /** Something came, but it does not say which question it answers: the link is there. */
  heard(): void {
    this.#backOff = Math.max(1, this.#backOff / 2);
  }

  /** An answer did not come in time. */
  missed(): void {
    this.#backOff = Math.min(64, 2 * this.#backOff);
  }
}
