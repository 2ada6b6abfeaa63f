/** Before anything was measured, and the limits of what is believed, milliseconds. */
const FIRST_MS = 2000;
const LEAST_MS = 200;
const MOST_MS = 30_000;

/**
 * How long to wait for an answer before asking again: the smoothed round trip and four times its deviation, twice as long after each wait in vain.
 *
 * A caller measures answers to questions that were asked once only (Karn's algorithm). Source: RFC 6298.
 */
export class RoundTrip {
  #meanMs: number | undefined;
  #deviationMs = 0;
  #backOff = 1;

  get timeoutMs(): number {
    const measured = this.#meanMs === undefined ? FIRST_MS : this.#meanMs + Math.max(4 * this.#deviationMs, LEAST_MS / 2);
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

  /** An answer did not come in time. */
  missed(): void {
    this.#backOff = Math.min(64, 2 * this.#backOff);
  }
}
