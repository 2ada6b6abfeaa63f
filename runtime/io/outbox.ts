import { type OutboxFiles, segmentIndex, segmentName } from './outbox-files.ts';
import { encodeRecord, type OutboxRecord, readRecord } from './outbox-record.ts';

export interface OutboxMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly retain: boolean;
}

/** A message as it lies on disk. */
export type StoredMessage = OutboxMessage & { readonly number: number };

export interface OutboxHealth {
  /** Messages on disk that are not acknowledged, and the bytes of all segments. */
  waiting: number;
  bytes: number;
  /** Since the start: messages taken, acknowledged, and dropped because the cap was reached (the oldest) or the disk took none (the newest). */
  accepted: number;
  acknowledged: number;
  dropped: number;
  /** Bytes that were no whole record when the outbox was opened or read: a torn write, or a disk that lies. */
  damagedBytes: number;
  /** Writes that the disk refused. */
  failures: number;
  lastError?: string;
}

export interface OutboxOptions {
  readonly files: OutboxFiles;
  /** Bytes of all segments at the most; the oldest segment goes when a new one would not fit. */
  readonly largestBytes: number;
  /** A segment is closed when it has so many bytes; an eighth of `largestBytes`, at most 1 MiB. */
  readonly segmentBytes?: number;
  /** Wait before the disk is tried again after it has failed, milliseconds. */
  readonly retryMs?: number;
}

interface Segment {
  readonly name: string;
  bytes: number;
  /** Numbers of its messages: first and last; none where last < first. */
  first: number;
  last: number;
}

/** Messages that wait in memory while the disk is slow or fails: every stream of a large gateway at once. */
const LARGEST_UNWRITTEN = 4096;
const RETRY_MS = 1000;

/**
 * Messages that must arrive, on disk until they are acknowledged: order kept, resumed after a crash, delivered at least once.
 *
 * Append-only segments of records with CRC-32C. A message counts as accepted when its record was written and fdatasync has returned, so it outlives
 * a kill and a power cut; messages that come together share one fdatasync. Acknowledgements are records too, written with the next message or within a
 * second and without waiting for the disk: after a crash the last ones are sent again, and `number` tells the receiver which. A segment goes when
 * all its messages are acknowledged. Two processes must not share a folder.
 */
export class Outbox {
  readonly health: OutboxHealth = { waiting: 0, bytes: 0, accepted: 0, acknowledged: 0, dropped: 0, damagedBytes: 0, failures: 0 };
  readonly #files: OutboxFiles;
  readonly #largestBytes: number;
  readonly #segmentBytes: number;
  readonly #retryMs: number;
  readonly #segments: Segment[] = [];
  /** Not written yet. Their numbers are given when they are. */
  #unwritten: { readonly message: OutboxMessage; readonly done: (accepted: boolean) => void }[] = [];
  #writing: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #acknowledgeTimer: NodeJS.Timeout | undefined;
  #nextNumber = 1;
  /** All messages up to this one are acknowledged; and so they stand on disk. */
  #acknowledged = 0;
  #acknowledgedOnDisk = 0;
  #closed = false;
  /** The segment that was read last: a backlog is read a few messages at a time. */
  #parsed: { readonly name: string; readonly bytes: number; readonly messages: readonly StoredMessage[] } | undefined;

  private constructor({ files, largestBytes, segmentBytes, retryMs = RETRY_MS }: OutboxOptions) {
    this.#files = files;
    this.#largestBytes = largestBytes;
    this.#segmentBytes = segmentBytes ?? Math.min(1 << 20, Math.floor(largestBytes / 8));
    this.#retryMs = retryMs;
  }

  /** Opens what is on disk. A torn or damaged record is passed over and counted. */
  static async open(options: OutboxOptions): Promise<Outbox> {
    const outbox = new Outbox(options);
    const segments = await options.files.list();
    let newest = 0;
    for (const name of segments) {
      const segment: Segment = { name, bytes: 0, first: Number.POSITIVE_INFINITY, last: 0 };
      const bytes = await options.files.read(name);
      segment.bytes = bytes.length;
      for (const { record } of outbox.#records(bytes, true)) {
        if (record.kind === 'acknowledged') outbox.#acknowledged = Math.max(outbox.#acknowledged, record.number);
        else {
          segment.first = Math.min(segment.first, record.number);
          segment.last = record.number;
        }
        newest = Math.max(newest, record.number);
      }
      outbox.#segments.push(segment);
      outbox.health.bytes += segment.bytes;
    }
    outbox.#nextNumber = newest + 1;
    outbox.#acknowledgedOnDisk = outbox.#acknowledged;
    for (const segment of outbox.#segments) outbox.health.waiting += outbox.#unacknowledged(segment);
    // What was torn is not written behind: a new segment begins.
    outbox.#segments.push(newSegment(outbox.#segments.at(-1)));
    return outbox;
  }

  /**
   * Takes a message.
   *
   * @returns true when it is on disk; false where it was dropped because the disk has been failing for too many messages
   */
  append(message: OutboxMessage): Promise<boolean> {
    return new Promise((resolve) => {
      this.#unwritten.push({ message, done: resolve });
      this.#dropUnwritten();
      this.#flush();
    });
  }

  /** The messages behind `number` in order, at most so many: those that are on disk and not acknowledged. */
  async read(number: number, count: number): Promise<StoredMessage[]> {
    const from = Math.max(number, this.#acknowledged);
    const found: StoredMessage[] = [];
    for (const segment of [...this.#segments]) {
      if (segment.last <= from || found.length >= count) continue;
      for (const message of await this.#messagesOf(segment)) {
        if (message.number <= from) continue;
        found.push(message);
        if (found.length === count) break;
      }
    }
    return found;
  }

  /** All messages up to `number` have arrived. */
  acknowledge(number: number): void {
    if (number <= this.#acknowledged) return;
    for (const segment of this.#segments) {
      const before = this.#unacknowledged(segment);
      const after = Math.max(0, segment.last - Math.max(number, segment.first - 1));
      this.health.acknowledged += before - after;
      this.health.waiting -= before - after;
    }
    this.#acknowledged = number;
    if (this.#closed) return;
    this.#acknowledgeTimer ??= setTimeout(() => {
      this.#acknowledgeTimer = undefined;
      this.#flush();
    }, this.#retryMs);
  }

  /** Writes what waits, as far as the disk takes it. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#acknowledgeTimer);
    clearTimeout(this.#retry);
    this.#retry = undefined;
    while (this.#writing) await this.#writing;
    this.#flush();
    while (this.#writing) await this.#writing;
    for (const { done } of this.#unwritten.splice(0)) {
      this.health.dropped++;
      done(false);
    }
  }

  /** The oldest goes: what is newest says how things stand now. */
  #dropUnwritten(): void {
    while (this.#unwritten.length > LARGEST_UNWRITTEN) {
      this.health.dropped++;
      this.#unwritten.shift()?.done(false);
    }
  }

  async #messagesOf({ name, bytes: size }: Segment): Promise<readonly StoredMessage[]> {
    if (this.#parsed?.name === name && this.#parsed.bytes === size) return this.#parsed.messages;
    const bytes = await this.#files.read(name).catch((error: NodeJS.ErrnoException) => {
      // Dropped while we looked.
      if (error.code === 'ENOENT') return Buffer.alloc(0);
      throw error;
    });
    const messages: StoredMessage[] = [];
    // What is being written behind the segment's end does not count yet.
    for (const { record } of this.#records(bytes.subarray(0, size), false)) {
      if (record.kind === 'message' && record.number > (messages.at(-1)?.number ?? 0)) messages.push(record);
    }
    this.#parsed = { name, bytes: size, messages };
    return messages;
  }

  #unacknowledged({ first, last }: Segment): number {
    return Math.max(0, last - Math.max(this.#acknowledged, first - 1));
  }

  *#records(bytes: Buffer, count: boolean) {
    let at = 0;
    for (let found = readRecord(bytes, at); found; found = readRecord(bytes, at)) {
      if (count) this.health.damagedBytes += found.start - at;
      at = found.end;
      yield found;
    }
    if (count) this.health.damagedBytes += bytes.length - at;
  }

  #flush(): void {
    if (this.#writing || this.#retry) return;
    if (this.#unwritten.length === 0 && this.#acknowledged === this.#acknowledgedOnDisk) return;
    this.#writing = this.#writeBatch().then((written) => {
      this.#writing = undefined;
      if (written) this.#flush();
      else if (!this.#closed) {
        this.#retry = setTimeout(() => {
          this.#retry = undefined;
          this.#flush();
        }, this.#retryMs);
      }
    });
  }

  /** Writes all that waits with one fdatasync. @returns whether the disk took it */
  async #writeBatch(): Promise<boolean> {
    const batch = this.#unwritten;
    this.#unwritten = [];
    const acknowledged = this.#acknowledged;
    const records: OutboxRecord[] = batch.map(({ message }, index) => ({ kind: 'message', number: this.#nextNumber + index, ...message }));
    if (acknowledged > this.#acknowledgedOnDisk) records.unshift({ kind: 'acknowledged', number: acknowledged });
    try {
      const bytes = Buffer.concat(records.map(encodeRecord));
      await this.#makeRoom(bytes.length);
      const segment = this.#segments.at(-1)!;
      await this.#files.write(segment.name, segment.bytes, bytes);
      segment.bytes += bytes.length;
      this.health.bytes += bytes.length;
      if (batch.length > 0) {
        segment.first = Math.min(segment.first, this.#nextNumber);
        segment.last = this.#nextNumber + batch.length - 1;
        this.#nextNumber += batch.length;
      }
      this.#acknowledgedOnDisk = acknowledged;
      this.health.accepted += batch.length;
      this.health.waiting += batch.length;
    } catch (error) {
      this.health.failures++;
      this.health.lastError = (error as Error).message;
      this.#unwritten = [...batch, ...this.#unwritten];
      this.#dropUnwritten();
      return false;
    }
    for (const { done } of batch) done(true);
    return true;
  }

  /** Begins a new segment where the last is full, and drops the oldest where the cap would be passed. */
  async #makeRoom(bytes: number): Promise<void> {
    await this.#removeAcknowledged();
    const last = this.#segments.at(-1)!;
    if (last.bytes > 0 && last.bytes + bytes > this.#segmentBytes) this.#segments.push(newSegment(last));
    while (this.#segments.length > 1 && this.health.bytes + bytes > this.#largestBytes) {
      const lost = this.#unacknowledged(this.#segments[0]);
      await this.#removeOldest();
      this.health.dropped += lost;
      this.health.waiting -= lost;
    }
  }

  /** Removes segments from the front whose messages are all acknowledged. The last that was written stays: it knows the next number. */
  async #removeAcknowledged(): Promise<void> {
    const written = () => this.#segments.filter(({ bytes }) => bytes > 0).length;
    while (written() > 1 && this.#segments[0].last <= this.#acknowledged) await this.#removeOldest();
  }

  async #removeOldest(): Promise<void> {
    const [oldest] = this.#segments;
    await this.#files.remove(oldest.name);
    this.#segments.shift();
    this.health.bytes -= oldest.bytes;
  }
}

function newSegment(after: Segment | undefined): Segment {
  return { name: segmentName(after ? segmentIndex(after.name) + 1 : 1), bytes: 0, first: Number.POSITIVE_INFINITY, last: 0 };
}
