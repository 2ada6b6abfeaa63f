import type { ShadowReport } from '../contracts/update.ts';
import type { WarmUpReport } from './thresholds.ts';

/** Decided classes of one window, by name: two bundles may have their classes in another order. undefined: no answer that is a number. */
export interface ComparedWindow {
  readonly active: string;
  readonly candidate: string | undefined;
}

/** Compares what a candidate decides on live windows with what the active model decided. A window that it has no answer for is one on which it differs. */
export class ShadowComparison {
  readonly #normal: { readonly active: string; readonly candidate: string };
  #windows = 0;
  #agreed = 0;
  #activeFaults = 0;
  #candidateFaults = 0;

  /** @param normal names of the healthy class in either bundle */
  constructor(normal: { readonly active: string; readonly candidate: string }) {
    this.#normal = normal;
  }

  get windows(): number {
    return this.#windows;
  }

  add({ active, candidate }: ComparedWindow): void {
    this.#windows++;
    if (active === candidate) this.#agreed++;
    if (active !== this.#normal.active) this.#activeFaults++;
    if (candidate !== this.#normal.candidate) this.#candidateFaults++;
  }

  /** Where no window came, nothing speaks against the candidate. */
  report({ latencyMs, memoryBytes }: WarmUpReport): ShadowReport {
    const of = (count: number) => (this.#windows === 0 ? 0 : count / this.#windows);
    return {
      windows: this.#windows,
      agreement: this.#windows === 0 ? 1 : of(this.#agreed),
      alarmShareChange: Math.abs(of(this.#candidateFaults) - of(this.#activeFaults)),
      latencyMs,
      memoryBytes,
    };
  }
}

/** The 99th percentile by the nearest-rank method; 0 of nothing. */
export function p99(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.ceil(0.99 * sorted.length) - 1] ?? 0;
}
