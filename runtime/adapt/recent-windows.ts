import type { LabelSubject } from '../contracts/label.ts';
import type { PlacedWindow, WindowPlace } from './raw-windows.ts';

/** Windows of one label at the most: those of one span are much alike. */
const LARGEST_FOUND = 8;
/** Drift signals whose evidence is kept, and windows of each. */
const LARGEST_SIGNALS = 64;

/** A share of the memory, in which the newest window takes the place of the oldest. */
class Ring {
  /** [capacity, window, channels]; memory that is not written is not resident. */
  readonly codes: Int16Array;
  /** Whose window a row holds. */
  readonly owners: (string | undefined)[];
  next = 0;

  constructor(capacity: number, size: number) {
    this.codes = new Int16Array(capacity * size);
    this.owners = new Array(capacity);
  }
}

interface Kept extends WindowPlace {
  readonly ring: Ring;
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
 * The last windows of all streams, so that a label that comes minutes later finds its window. Two rings of the same size for all: one for windows that
 * somebody may be asked about, for which a hundred healthy machines would leave no room, and one for the rest. Few streams reach far back, many share.
 * At 1 kHz, three channels, windows of 512 and a stride of 256, 8 MiB hold 1,365 windows of each: those of a machine in alarm for six minutes, those of
 * ten healthy ones for 35 s.
 */
export class RecentWindows {
  readonly #size: number;
  readonly #rings: { readonly remarkable: Ring; readonly usual: Ring };
  /** Oldest first. */
  readonly #streams = new Map<string, Kept[]>();
  readonly #evidence = new Map<string, { readonly stream: string; readonly windows: readonly PlacedWindow[] }>();

  constructor({ budgetBytes, window, channels }: RecentOptions) {
    this.#size = window * channels;
    const capacity = Math.max(1, Math.floor(budgetBytes / (2 * 2 * this.#size)));
    this.#rings = { remarkable: new Ring(capacity, this.#size), usual: new Ring(capacity, this.#size) };
  }

  /**
   * @param remarkable whether somebody may be asked about it
   * @param copy writes the window's codes there, or returns false where they are gone already
   * @returns whether the window is kept
   */
  add(
    stream: string,
    { epoch, endSequence }: WindowPlace,
    scales: Float32Array,
    remarkable: boolean,
    copy: (into: Int16Array, at: number) => boolean,
  ): boolean {
    const ring = remarkable ? this.#rings.remarkable : this.#rings.usual;
    const row = ring.next;
    const owner = ring.owners[row];
    if (owner !== undefined) this.#dropOldest(owner, ring);
    ring.owners[row] = undefined;
    if (!copy(ring.codes, row * this.#size)) return false;
    ring.next = (row + 1) % ring.owners.length;
    ring.owners[row] = stream;
    const own = this.#streams.get(stream) ?? [];
    if (own.length === 0) this.#streams.set(stream, own);
    own.push({ epoch, endSequence, ring, row, scales });
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
    return spread((this.#streams.get(stream) ?? []).filter(isMeant), largest).map(({ epoch, endSequence, ring, row, scales }) => ({
      epoch,
      endSequence,
      codes: ring.codes.slice(row * this.#size, (row + 1) * this.#size),
      scales: scales.slice(),
    }));
  }

  /** The ring's oldest window is the oldest of its stream in that ring too. */
  #dropOldest(stream: string, ring: Ring): void {
    const own = this.#streams.get(stream)!;
    own.splice(
      own.findIndex((kept) => kept.ring === ring),
      1,
    );
    if (own.length === 0) this.#streams.delete(stream);
  }
}

const isAt = (a: WindowPlace, b: WindowPlace): boolean => a.epoch === b.epoch && a.endSequence === b.endSequence;

function spread<T>(all: readonly T[], largest: number): T[] {
  if (all.length <= largest) return [...all];
  return Array.from({ length: largest }, (_, index) => all[Math.floor(((index + 0.5) * all.length) / largest)]);
}
