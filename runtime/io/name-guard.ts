import type { Status } from '../contracts/messages.ts';

/** A gateway that silent is taken for gone; a living one says its status every second. */
const GONE_MS = 10_000;

/** `keep`: the name is ours. `yield`: another gateway has it. `return`: that one is gone. */
export type NameVerdict = 'keep' | 'yield' | 'return';

/**
 * Two gateways of one name would throw each other off the broker for ever, and their diagnoses would mix on the same topics. Each sees the other's status
 * on its own status topic, or at least its last will, since the broker never lets both in at once; the one that was started later yields, and waits
 * until the other is gone. Both know both times, so both judge alike. No I/O and no clock of its own.
 *
 * A last will alone proves little: it may be that of an earlier life of this gateway, which a power cut ended and the broker notices only now. So it
 * counts only for who was thrown off in this life.
 */
export class NameGuard {
  /** Times that the name was found taken or shared. */
  rivals = 0;
  readonly #instance: string;
  readonly #startedAt: string;
  #published = false;
  #lost = false;
  #rival: { readonly instance: string; seenMs: number } | undefined;

  /** @param instance unique to this run @param startedAt ISO 8601 in UTC */
  constructor(instance: string, startedAt: string) {
    this.#instance = instance;
    this.#startedAt = startedAt;
  }

  /** Whether the name was yielded. */
  get waiting(): boolean {
    return this.#rival !== undefined;
  }

  /** Our own status has gone out: from now on, what the broker retains of another was said after it. */
  published(): void {
    this.#published = true;
  }

  /** A status has come on our own topic. `retained`: the broker had kept it. */
  observe({ state, instance, startedAt, bundle }: Status, retained: boolean, nowMs: number): NameVerdict {
    if (instance === undefined || startedAt === undefined || instance === this.#instance) return 'keep';
    // A farewell is a whole status, a last will says no more than who it was.
    const isWill = state === 'offline' && bundle === undefined;
    const isFarewell = state === 'offline' && !isWill;
    if (this.#rival) {
      // A will may be that of the moment when we threw it off; silence will tell.
      if (instance === this.#rival.instance && isFarewell) return this.#return();
      if (state === 'online' && !retained) this.#rival = { instance, seenMs: nowMs };
      return 'keep';
    }
    // What was kept from before our own status: an earlier life of this gateway, which no last will ended.
    if (isFarewell || (isWill && !this.#lost) || (retained && !this.#published)) return 'keep';
    this.rivals++;
    const isOlder = startedAt < this.#startedAt || (startedAt === this.#startedAt && instance < this.#instance);
    if (!isOlder) return 'keep';
    this.#rival = { instance, seenMs: nowMs };
    return 'yield';
  }

  /** To be called about every second while the broker is connected. */
  check(nowMs: number): NameVerdict {
    return this.#rival && nowMs - this.#rival.seenMs > GONE_MS ? this.#return() : 'keep';
  }

  /** The connection was lost: what was not heard tells nothing of the other. */
  interrupted(nowMs: number): void {
    this.#lost = true;
    if (this.#rival) this.#rival.seenMs = nowMs;
  }

  #return(): NameVerdict {
    this.#rival = undefined;
    this.#published = false;
    this.#lost = false;
    return 'return';
  }
}
