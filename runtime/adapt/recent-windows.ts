import type { LabelSubject } from '../contracts/label.ts';
import type { PlacedWindow, WindowPlace } from './raw-windows.ts';

/** Windows of one label at the most: those of one span are much alike. */
const LARGEST_FOUND = 8;
/** Drift signals whose evidence is kept, and windows of each. */
const LARGEST_SIGNALS = 64;

interface Kept extends WindowPlace {
  /** Row of the ring. */
  readonly row: number;
  readonly scales: Float32Array;
}

export interface RecentOptions {
  /** Memory for windows of all streams together. */
  readonly budgetBytes: number;
  /** Samples of a window, and channels. */
  readonly window: number;
  readonly channels: number;
}

/**
 * The last windows of all streams, so that a label that comes minutes later finds its window. One ring for all: few streams reach far back, many share.
 * At 1 kHz, one channel, windows of 512 and a stride of 256, 64 MiB hold 65,536 windows: 4.6 hours of one stream, 65 s of 256.
 */
export class RecentWindows {
  readonly capacity: number;
  readonly #size: number;
  /** [capacity, window, channels]; memory that is not written is not resident. */
  readonly #codes: Int16Array;
  /** Whose window a row holds. */
  readonly #owners: (string | undefined)[];
  /** Oldest first. */
  readonly #streams = new Map<string, Kept[]>();
  readonly #evidence = new Map<string, { readonly stream: string; readonly windows: readonly PlacedWindow[] }>();
  #next = 0;

  constructor({ budgetBytes, window, channels }: RecentOptions) {
    this.#size = window * channels;
    this.capacity = Math.max(1, Math.floor(budgetBytes / (2 * this.#size)));
    this.#codes = new Int16Array(this.capacity * this.#size);
    this.#owners = new Array(this.capacity);
  }

  /** @param copy writes the window's codes there, or returns false where they are gone already @returns whether the window is kept */
  add(stream: string, { epoch, endSequence }: WindowPlace, scales: Float32Array, copy: (into: Int16Array, at: number) => boolean): boolean {
    const row = this.#next;
    const owner = this.#owners[row];
    // The ring's oldest window is the oldest of its stream too.
    if (owner !== undefined) this.#dropOldest(owner);
    this.#owners[row] = undefined;
    if (!copy(this.#codes, row * this.#size)) return false;
    this.#next = (row + 1) % this.capacity;
    this.#owners[row] = stream;
    const own = this.#streams.get(stream) ?? [];
    if (own.length === 0) this.#streams.set(stream, own);
    own.push({ epoch, endSequence, row, scales });
    return true;
  }

  /** Keeps the windows of a drift signal for as long as 64 newer ones have not come. */
  keepEvidence(stream: string, signal: string, places: readonly WindowPlace[]): void {
    const windows = spread(places, LARGEST_FOUND).flatMap((place) => this.#matching(stream, (kept) => isAt(kept, place)));
    this.#evidence.set(signal, { stream, windows });
    for (const oldest of this.#evidence.keys()) {
      if (this.#evidence.size <= LARGEST_SIGNALS) break;
      this.#evidence.delete(oldest);
    }
  }

  /** Copies of the windows that a label is about, at most 8, evenly spread; none where they are gone. */
  find(stream: string, subject: LabelSubject): readonly PlacedWindow[] {
    if (subject.kind === 'signal') {
      const evidence = this.#evidence.get(subject.signal);
      return evidence?.stream === stream ? evidence.windows : [];
    }
    const { epoch } = subject;
    const [from, to] = subject.kind === 'window' ? [subject.endSequence, subject.endSequence] : [subject.fromSequence, subject.toSequence];
    return this.#matching(stream, (kept) => kept.epoch === epoch && kept.endSequence >= from && kept.endSequence <= to);
  }

  /** Copies of so many windows of a stream, spread over all that are kept. */
  sample(stream: string, count: number): readonly PlacedWindow[] {
    return this.#matching(stream, () => true, count);
  }

  #matching(stream: string, isMeant: (kept: Kept) => boolean, largest = LARGEST_FOUND): PlacedWindow[] {
    return spread((this.#streams.get(stream) ?? []).filter(isMeant), largest).map(({ epoch, endSequence, row, scales }) => ({
      epoch,
      endSequence,
      codes: this.#codes.slice(row * this.#size, (row + 1) * this.#size),
      scales: scales.slice(),
    }));
  }

  #dropOldest(stream: string): void {
    const own = this.#streams.get(stream)!;
    own.shift();
    if (own.length === 0) this.#streams.delete(stream);
  }
}

const isAt = (a: WindowPlace, b: WindowPlace): boolean => a.epoch === b.epoch && a.endSequence === b.endSequence;

function spread<T>(all: readonly T[], largest: number): T[] {
  if (all.length <= largest) return [...all];
  return Array.from({ length: largest }, (_, index) => all[Math.floor(((index + 0.5) * all.length) / largest)]);
}
