import { CHUNK_BYTES, CHUNK_HEAD_BYTES, decodeChunk } from '../contracts/chunk.ts';
import type { UpdateRequest } from '../contracts/update.ts';
import { ChunkMap } from './chunk-map.ts';
import { UpdateRefusalError } from './refusal.ts';
import type { RoundTrip } from './round-trip.ts';

/**
 * Chunks in flight: at the start and after each break of the connection, which loses them all; at the least after answers did not come; and at the most.
 * More would be faster over a link that is as fast as it is far, and costs more whenever it breaks: 16 instead of 8 cost a tenth of 200 kB over one that
 * breaks twice.
 */
const FIRST_WINDOW = 6;
export const LEAST_WINDOW = 4;
export const MOST_WINDOW = 8;

/** An object of which nothing comes for so many waits is asked for again, though others still come. */
const PATIENCE = 4;

/** So many new bytes, or the rest of the object, must come in so much time on line; a link that gives less is not one. */
const PACE_BYTES = 65_536;
const PACE_MS = 10 * 60_000;

/** What is known of an object before its first byte: its signed length, or for metadata how long it may be at the most. */
export type ObjectSize = { readonly length: number } | { readonly atMost: number };

/** A chunk that was not there yet. */
export interface NewChunk {
  readonly index: number;
  readonly bytes: Uint8Array;
}

/**
 * Fetches one object by chunks: which to ask for, and when to ask again. No I/O and no clock of its own.
 *
 * A chunk counts as lost only when nothing at all, of this object or another, has come for the time of a round trip: while a slow link still delivers,
 * what was asked for is on its way, and asking again would only make it slower. The window grows with each chunk that comes and is halved by silence.
 *
 * Whether the bytes are right shows only in the whole: a chunk has no digest of its own.
 */
export class Transfer {
  readonly object: string;
  readonly #atMost: number;
  /** Whether the length is a signed one. */
  readonly #signed: boolean;
  readonly #roundTrip: RoundTrip;
  #have: ChunkMap | undefined;
  /** Chunks that were asked for and have not come, and when; and those that were asked for more than once, whose answers tell no round trip. */
  readonly #asked = new Map<number, number>();
  readonly #askedBefore = new Set<number>();
  #window = FIRST_WINDOW;
  /** When something of the object last came, or was asked for into silence. */
  #heardMs: number;
  #heard = false;
  #paceMs: number;
  #paceBytes = 0;
  #gained = 0;
  #forged = 0;

  /** @param have chunks that an earlier run has on disk */
  constructor(object: string, size: ObjectSize, roundTrip: RoundTrip, nowMs: number, have?: ChunkMap) {
    this.object = object;
    this.#atMost = 'length' in size ? size.length : size.atMost;
    this.#signed = 'length' in size;
    this.#have = have ?? ('length' in size ? new ChunkMap(size.length) : undefined);
    this.#roundTrip = roundTrip;
    this.#heardMs = nowMs;
    this.#paceMs = nowMs;
  }

  /** What has come; undefined while the length of the object is not known. */
  get have(): ChunkMap | undefined {
    return this.#have;
  }

  get complete(): boolean {
    return this.#have?.complete ?? false;
  }

  /** Chunks that claimed another length than the signed one. */
  get forged(): number {
    return this.#forged;
  }

  get inFlight(): number {
    return this.#asked.size;
  }

  /**
   * Takes what came on the object's topic.
   *
   * @returns undefined where it is of no use: there already, cut short, or of another length than the signed one
   * @throws UpdateRefusalError update/endless-data, update/length where no length is signed
   */
  accept(index: number, payload: Uint8Array, nowMs: number): NewChunk | undefined {
    const chunk = decodeChunk(payload);
    if (!chunk) return undefined;
    const { objectBytes: length, bytes } = chunk;
    // Whoever may publish can forge one: it costs its bytes of the budget, and not the update.
    if (this.#signed && length !== this.#atMost) {
      this.#forged++;
      return undefined;
    }
    if (length > this.#atMost)
      throw new UpdateRefusalError(
        'update/endless-data',
        `${this.object} claims ${length} bytes where the signed metadata allow ${this.#atMost}: endless data attack`,
      );
    this.#have ??= new ChunkMap(length);
    if (length !== this.#have.length)
      throw new UpdateRefusalError(
        'update/length',
        `${this.object} claims ${length} bytes where it has ${this.#have.length}: mix-and-match attack`,
      );
    this.#heardMs = nowMs;
    this.#heard = true;
    // A chunk of an empty object says its length and nothing else.
    if (bytes.length !== this.#have.bytesOf(index)) return undefined;
    const askedMs = this.#asked.get(index);
    this.#asked.delete(index);
    if (askedMs !== undefined && !this.#askedBefore.has(index)) this.#roundTrip.measure(nowMs - askedMs);
    else this.#roundTrip.heard();
    this.#roundTrip.lastMs = nowMs;
    if (index >= this.#have.chunks || this.#have.has(index)) return undefined;
    this.#have.add(index);
    this.#window = Math.min(MOST_WINDOW, this.#window + 1);
    this.#gained += bytes.length;
    if (this.#gained - this.#paceBytes >= PACE_BYTES) {
      this.#paceBytes = this.#gained;
      this.#paceMs = nowMs;
    }
    return { index, bytes };
  }

  /**
   * What to ask for now.
   *
   * @param room chunks that may be asked for
   * @throws UpdateRefusalError update/slow
   */
  due(nowMs: number, room: number): UpdateRequest | undefined {
    if (this.complete) return undefined;
    if (nowMs - this.#paceMs > PACE_MS)
      throw new UpdateRefusalError(
        'update/slow',
        `${this.object}: ${this.#gained - this.#paceBytes} bytes in ${PACE_MS / 60_000} minutes${this.#forged > 0 ? ` and ${this.#forged} chunks of another length than the signed one (mix-and-match attack)` : ''}: slow retrieval or drop-request attack, or no server`,
      );
    if (nowMs >= this.wakeMs) this.#lose();
    const free = Math.min(room, this.#window - this.#asked.size);
    // Few large requests instead of many small ones.
    if (free <= 0 || (this.#asked.size > 0 && free < this.#window / 4)) return undefined;
    // The first chunk tells how many there are.
    const ranges = this.#have
      ? this.#have.missing(free, (index) => this.#asked.has(index))
      : this.#asked.has(0)
        ? []
        : [[0, 1] as [number, number]];
    if (ranges.length === 0) return undefined;
    if (this.#asked.size === 0) {
      this.#heardMs = nowMs;
      this.#heard = false;
    }
    for (const [from, to] of ranges) for (let index = from; index < to; index++) this.#asked.set(index, nowMs);
    return { object: this.object, ranges };
  }

  /** When `due` may have something to ask again; infinity where nothing is in flight. */
  get wakeMs(): number {
    if (this.#asked.size === 0) return Number.POSITIVE_INFINITY;
    const { timeoutMs, lastMs } = this.#roundTrip;
    return Math.min(Math.max(this.#heardMs, lastMs) + timeoutMs, this.#heardMs + PATIENCE * timeoutMs);
  }

  /** The connection is back: what was in flight is lost, and the time without it does not count. */
  resume(nowMs: number): void {
    this.#forgetAsked();
    this.#window = FIRST_WINDOW;
    this.#heardMs = nowMs;
    this.#paceMs = nowMs;
  }

  /** The whole is not what was signed: all of it is to come again. */
  restart(nowMs: number): void {
    this.#have?.clear();
    this.#askedBefore.clear();
    this.resume(nowMs);
  }

  #lose(): void {
    // Some came, of this object or another, and some did not: that is loss. None came: that is a link, or a server, that is away or slow.
    if (!this.#heard && this.#roundTrip.lastMs <= this.#heardMs) {
      this.#window = Math.max(LEAST_WINDOW, this.#window >> 1);
      this.#roundTrip.missed();
    }
    this.#forgetAsked();
  }

  #forgetAsked(): void {
    for (const index of this.#asked.keys()) this.#askedBefore.add(index);
    this.#asked.clear();
  }
}

/** Bytes that a chunk moves besides its topic at the most. */
export const CHUNK_WIRE_BYTES = CHUNK_BYTES + CHUNK_HEAD_BYTES;
