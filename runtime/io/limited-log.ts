import type { Logger } from 'pino';

const MINUTE_MS = 60_000;

/** Troubles that are remembered at once: a name from outside must not fill the memory. */
const LARGEST_KINDS = 1024;

interface Kind {
  spokenMs: number;
  silenced: number;
}

/**
 * Says each kind of trouble at most once a minute, with the number of times that it was not said: a sensor that is broken a thousand times a
 * second must not fill the disk. The counters in the status have them all.
 */
export class LimitedLog {
  readonly #log: Pick<Logger, 'warn'>;
  readonly #intervalMs: number;
  readonly #now: () => number;
  readonly #kinds = new Map<string, Kind>();

  constructor(log: Pick<Logger, 'warn'>, intervalMs = MINUTE_MS, now: () => number = () => performance.now()) {
    this.#log = log;
    this.#intervalMs = intervalMs;
    this.#now = now;
  }

  warn(kind: string, fields: Record<string, unknown>, message: string): void {
    const now = this.#now();
    const known = this.#kinds.get(kind);
    if (known && now - known.spokenMs < this.#intervalMs) {
      known.silenced++;
      return;
    }
    if (!known && this.#kinds.size >= LARGEST_KINDS) this.#forgetOldest();
    const { silenced } = known ?? { silenced: 0 };
    // Anew, so that the map is in the order in which the kinds last spoke.
    this.#kinds.delete(kind);
    this.#kinds.set(kind, { spokenMs: now, silenced: 0 });
    this.#log.warn({ ...fields, ...(silenced > 0 && { alsoSilenced: silenced }) }, message);
  }

  #forgetOldest(): void {
    const [oldest] = this.#kinds.keys();
    this.#kinds.delete(oldest);
  }
}
