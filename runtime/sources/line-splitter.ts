import type { ForeignHealth } from './foreign-block.ts';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * Cuts bytes into lines that end with LF or CR LF. Memory is fixed: `limit` bytes, and a longer line is skipped up to its end.
 *
 * In a stream the first line is thrown away: its begin may have been sent before anybody listened, and half a number is a number too.
 */
export class LineSplitter {
  readonly #buffer: Uint8Array;
  readonly #health: ForeignHealth;
  readonly #onLine: (line: Uint8Array) => void;
  readonly #onTooLong: () => void;
  #length = 0;
  #overlong = false;
  #joining = true;

  /**
   * @param limit bytes of the longest line, without its end
   * @param onLine gets a line without its end; valid during the call
   * @param onTooLong called once for a line beyond the limit
   */
  constructor(limit: number, health: ForeignHealth, onLine: (line: Uint8Array) => void, onTooLong: () => void) {
    this.#buffer = new Uint8Array(limit);
    this.#health = health;
    this.#onLine = onLine;
    this.#onTooLong = onTooLong;
  }

  get pendingBytes(): number {
    return this.#length;
  }

  /** Takes the next bytes of a stream. */
  push(chunk: Uint8Array): void {
    let from = 0;
    while (from < chunk.length) {
      const found = chunk.indexOf(LINE_FEED, from);
      const to = found < 0 ? chunk.length : found;
      if (found >= 0 && this.#length === 0 && !this.#overlong && to - from <= this.#buffer.length) {
        this.#emit(chunk.subarray(from, to));
      } else {
        this.#append(chunk, from, to);
        if (found >= 0) this.#end();
      }
      from = to + 1;
    }
  }

  /** Takes a message of whole lines; the last one may lack its end. */
  message(payload: Uint8Array): void {
    this.#joining = false;
    this.push(payload);
    if (this.#length > 0 || this.#overlong) this.#end();
  }

  /** Forgets the line in hand: what comes next does not continue it. */
  reset(): void {
    this.#health.skippedBytes += this.#length;
    this.#length = 0;
    this.#overlong = false;
    this.#joining = true;
  }

  #append(chunk: Uint8Array, from: number, to: number): void {
    if (!this.#overlong && this.#length + to - from > this.#buffer.length) {
      this.#overlong = true;
      this.#health.skippedBytes += this.#length;
      this.#length = 0;
      this.#onTooLong();
    }
    if (this.#overlong) {
      this.#health.skippedBytes += to - from;
    } else {
      for (let at = from; at < to; at++) this.#buffer[this.#length++] = chunk[at];
    }
  }

  #end(): void {
    const length = this.#length;
    const overlong = this.#overlong;
    this.#length = 0;
    this.#overlong = false;
    if (overlong) this.#joining = false;
    else this.#emit(this.#buffer.subarray(0, length));
  }

  #emit(line: Uint8Array): void {
    if (this.#joining) {
      this.#joining = false;
      this.#health.skippedBytes += line.length;
      return;
    }
    const end = line.length > 0 && line[line.length - 1] === CARRIAGE_RETURN ? line.length - 1 : line.length;
    if (end > 0) this.#onLine(line.subarray(0, end));
  }
}
