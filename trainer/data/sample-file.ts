import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { Refusal } from '../refusal.ts';
import type { RecordingEntry } from './recording-set.ts';

/** Files that are kept open at a time; far below the 1024 that a process usually may. */
const MOST_OPEN = 64;
/** Bytes read at a time; a multiple of every row width (at most 16 channels of 4 bytes) times whatever fits. */
const PIECE_BYTES = 1 << 20;

/** Files in the order in which they were last read. */
const open = new Set<SampleFile>();
let piece = new Uint8Array(0);

/** A channel of a file. */
export interface Column {
  readonly name: string;
  /** Its place among the file's channels. */
  readonly index: number;
}

/** The raw file of a recording, read at any place. It is opened when it is first read, and again where others pushed it out meanwhile. */
export class SampleFile {
  readonly #path: string;
  readonly #entry: RecordingEntry;
  readonly #chosen: readonly Column[];
  readonly #mayLackNumbers: boolean;
  #descriptor: number | undefined;

  /**
   * @param chosen columns that are read, in that order
   * @param mayLackNumbers reads what is no finite number as it is: finding it is what cleaning is for
   */
  constructor(path: string, entry: RecordingEntry, chosen: readonly Column[], mayLackNumbers: boolean) {
    this.#path = path;
    this.#entry = entry;
    this.#chosen = chosen;
    this.#mayLackNumbers = mayLackNumbers;
  }

  /**
   * Samples in physical units, row-major [length, channels].
   *
   * @throws Refusal data/file, data/not-finite
   */
  read(start: number, length: number): Float32Array {
    const rowBytes = bytesPerRow(this.#entry);
    const rowsAtOnce = Math.floor(PIECE_BYTES / rowBytes);
    const samples = new Float32Array(length * this.#chosen.length);
    for (let done = 0; done === 0 || done < length; done += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, length - done);
      this.#decode(this.readRaw(start + done, rows), start + done, samples.subarray(done * this.#chosen.length));
    }
    return samples;
  }

  /** Bytes as they are in the file; valid until the next read of any file. @throws Refusal data/file */
  readRaw(start: number, length: number): Uint8Array {
    const rowBytes = bytesPerRow(this.#entry);
    const wanted = length * rowBytes;
    if (piece.length < wanted) piece = new Uint8Array(wanted);
    try {
      const bytesRead = readSync(this.#open(), piece, 0, wanted, start * rowBytes);
      if (bytesRead !== wanted) throw this.#wrongSize(start * rowBytes + bytesRead);
    } catch (cause) {
      if (cause instanceof Refusal) throw cause;
      throw new Refusal('data/file', `${this.#path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? cause})`, { cause });
    }
    return piece.subarray(0, wanted);
  }

  /** bytes: rows of all channels from sample `start` on -> into: [rows, chosen channels] */
  #decode(bytes: Uint8Array, start: number, into: Float32Array): void {
    const { n_channels: width, dtype, scale } = this.#entry;
    const numbers = bytes.length / (dtype === 'int16' ? 2 : 4);
    const stored = dtype === 'int16' ? new Int16Array(bytes.buffer, 0, numbers) : new Float32Array(bytes.buffer, 0, numbers);
    const rows = numbers / width;
    this.#chosen.forEach(({ name, index }, column) => {
      const factor = scale?.[index] ?? 1;
      for (let row = 0; row < rows; row++) {
        const value = stored[row * width + index] * factor;
        if (!Number.isFinite(value) && !this.#mayLackNumbers) {
          throw new Refusal(
            'data/not-finite',
            `${this.#path} holds ${value} at sample ${start + row}, channel ${name}; leave it out with --where, or mend the set with tremolo data clean`,
          );
        }
        into[row * this.#chosen.length + column] = value;
      }
    });
  }

  #open(): number {
    open.delete(this);
    open.add(this);
    if (this.#descriptor !== undefined) return this.#descriptor;
    const descriptor = openSync(this.#path, 'r');
    this.#descriptor = descriptor;
    const [oldest] = open;
    if (open.size > MOST_OPEN) oldest.close();
    const { size } = fstatSync(descriptor);
    if (size === this.#entry.n_samples * bytesPerRow(this.#entry) && size > 0) return descriptor;
    this.close();
    throw this.#wrongSize(size);
  }

  close(): void {
    open.delete(this);
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #wrongSize(bytes: number): Refusal {
    const expected = this.#entry.n_samples * bytesPerRow(this.#entry);
    return new Refusal('data/file', `${this.#path} has ${bytes} bytes where dataset.json promises ${expected}; import the recording again`);
  }
}

/** Bytes of one moment of a recording: all its channels. */
function bytesPerRow({ n_channels: channels, dtype }: RecordingEntry): number {
  return channels * (dtype === 'int16' ? 2 : 4);
}
