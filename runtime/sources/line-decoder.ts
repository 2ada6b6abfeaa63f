import { type BlockWriter, LARGEST_MESSAGE_BYTES } from './foreign-block.ts';
import type { ForeignDecoder } from './foreign-decoder.ts';
import { LineSplitter } from './line-splitter.ts';

/** What a text format makes of one line, or of one document. */
export interface LineReader {
  /** Bytes of the longest line. */
  readonly longestLineBytes: number;
  /** Whether a message is a document of its own, whatever lines it has. */
  readonly messageIsDocument: boolean;
  /** Samples that what cannot be read is taken to have had. */
  readonly usualSamples: number;
  /** Hands the samples of a line or document to its writer. `bytes` are valid during the call. */
  read(bytes: Uint8Array): void;
}

/** Text formats: lines of a stream, lines or a document of a message. */
export class LineDecoder implements ForeignDecoder {
  readonly #writer: BlockWriter;
  readonly #reader: LineReader;
  readonly #lines: LineSplitter;

  constructor(writer: BlockWriter, reader: LineReader) {
    this.#writer = writer;
    this.#reader = reader;
    this.#lines = new LineSplitter(
      reader.longestLineBytes,
      writer.health,
      (line) => reader.read(line),
      () => this.#refuseLong(),
    );
  }

  get health() {
    return this.#writer.health;
  }

  get pendingBytes() {
    return this.#lines.pendingBytes;
  }

  push(chunk: Uint8Array): void {
    this.health.bytes += chunk.length;
    this.#lines.push(chunk);
    this.#writer.flush();
  }

  message(payload: Uint8Array): void {
    this.health.bytes += payload.length;
    if (payload.length > LARGEST_MESSAGE_BYTES) {
      this.health.skippedBytes += payload.length;
      this.#refuseLong();
      return;
    }
    if (this.#reader.messageIsDocument) this.#reader.read(payload);
    else this.#lines.message(payload);
    this.#writer.flush();
  }

  reset(): void {
    this.#lines.reset();
  }

  #refuseLong(): void {
    this.#writer.refuse('tooLong', this.#reader.usualSamples);
  }
}
