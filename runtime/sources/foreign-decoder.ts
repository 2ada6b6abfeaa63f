import { CsvReader } from './csv-reader.ts';
import { BlockWriter, type ForeignHealth, type OnForeignBlock } from './foreign-block.ts';
import type { ForeignFormat } from './foreign-format.ts';
import { JsonReader } from './json-reader.ts';
import { LineDecoder } from './line-decoder.ts';
import { RawDecoder } from './raw-decoder.ts';

/**
 * Bytes of a sensor that does not speak Tremolo frames become blocks of samples. Without I/O and without a clock; nothing that arrives throws,
 * every refusal is counted, and memory is bounded whatever comes.
 *
 * One decoder reads one source: a stream by `push`, or messages by `message`.
 */
export interface ForeignDecoder {
  readonly health: ForeignHealth;
  /** Bytes held that are not a whole line or sample yet. */
  readonly pendingBytes: number;
  /** Takes the next bytes of a stream, cut anywhere. */
  push(chunk: Uint8Array): void;
  /** Takes a whole message. */
  message(payload: Uint8Array): void;
  /** To be called when a port was opened again: what comes next does not continue what came last. */
  reset(): void;
}

/** The decoder of a format; `onBlock` gets the samples, at the latest when the call that brought them returns. */
export function createForeignDecoder(format: ForeignFormat, onBlock: OnForeignBlock): ForeignDecoder {
  if (format.format !== 'json' && format.format !== 'csv') return new RawDecoder(format, onBlock);
  const writer = new BlockWriter(format.channels, 'float32', onBlock);
  return new LineDecoder(writer, format.format === 'json' ? new JsonReader(format, writer) : new CsvReader(format, writer));
}
