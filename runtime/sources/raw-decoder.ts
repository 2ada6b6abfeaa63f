import { BlockWriter, type OnForeignBlock } from './foreign-block.ts';
import type { ForeignDecoder } from './foreign-decoder.ts';
import type { RawFormat } from './foreign-format.ts';

const BYTES = { int16: 2, int32: 4, float32: 4 } as const;

/**
 * Little-endian numbers, all channels of one instant after those of the last: in messages of whole samples, or as a stream.
 *
 * In a stream, `sync` bytes before each sample let the decoder find its place again when bytes were lost; they may occur by chance inside a sample
 * too, but not in step for long. Without them a lost byte turns all that follows into noise that cannot be told from samples: only for lines that
 * lose nothing, and cut at a sample's begin.
 */
export class RawDecoder implements ForeignDecoder {
  readonly #writer: BlockWriter;
  readonly #format: RawFormat['format'];
  readonly #sync: Uint8Array;
  /** One sample with its sync bytes. */
  readonly #held: Uint8Array;
  readonly #view: DataView;
  readonly #row: Float64Array;
  #length = 0;
  /** Out of step is only an error for who was in step. */
  #inStep = false;
  #usual = 1;

  constructor({ channels, format, sync }: RawFormat, onBlock: OnForeignBlock) {
    this.#writer = new BlockWriter(channels, format === 'int16' ? 'int16' : 'float32', onBlock);
    this.#format = format;
    this.#sync = Uint8Array.from(sync?.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
    this.#held = new Uint8Array(this.#sync.length + channels * BYTES[format]);
    this.#view = new DataView(this.#held.buffer);
    this.#row = new Float64Array(channels);
  }

  get health() {
    return this.#writer.health;
  }

  get pendingBytes() {
    return this.#length;
  }

  push(chunk: Uint8Array): void {
    this.health.bytes += chunk.length;
    this.#take(chunk);
    this.#writer.flush();
  }

  message(payload: Uint8Array): void {
    this.health.bytes += payload.length;
    if (payload.length % this.#held.length !== 0) {
      this.health.skippedBytes += payload.length;
      this.#writer.refuse('malformed', this.#usual);
      return;
    }
    this.#length = 0;
    this.#inStep = true;
    this.#take(payload);
    this.health.skippedBytes += this.#length;
    this.#usual = Math.max(1, payload.length / this.#held.length);
    this.#writer.flush();
  }

  reset(): void {
    this.health.skippedBytes += this.#length;
    this.#length = 0;
    this.#inStep = false;
  }

  #take(bytes: Uint8Array): void {
    const held = this.#held;
    for (let at = 0; at < bytes.length; at++) {
      held[this.#length++] = bytes[at];
      // Checked as they come, so that a wrong byte is passed over at once.
      while (this.#length > 0 && !this.#beginsWithSync()) this.#skipByte();
      if (this.#length === held.length) {
        this.#inStep = true;
        this.#length = 0;
        this.#decode();
      }
    }
  }

  #beginsWithSync(): boolean {
    const count = Math.min(this.#length, this.#sync.length);
    for (let at = 0; at < count; at++) if (this.#held[at] !== this.#sync[at]) return false;
    return true;
  }

  #skipByte(): void {
    if (this.#inStep) this.#writer.refuse('malformed');
    this.#inStep = false;
    this.health.skippedBytes++;
    this.#held.copyWithin(0, 1, this.#length);
    this.#length--;
  }

  #decode(): void {
    const first = this.#sync.length;
    for (let channel = 0; channel < this.#row.length; channel++) {
      this.#row[channel] = this.#number(first + channel * BYTES[this.#format]);
    }
    this.#writer.add(this.#row);
  }

  #number(at: number): number {
    if (this.#format === 'int16') return this.#view.getInt16(at, true);
    if (this.#format === 'int32') return this.#view.getInt32(at, true);
    return this.#view.getFloat32(at, true);
  }
}
