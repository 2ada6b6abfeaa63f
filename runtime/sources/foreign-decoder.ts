import { CsvDecoder } from './csv-decoder.ts';
import type { ForeignHealth, OnForeignBlock } from './foreign-block.ts';
import type { ForeignFormat } from './foreign-format.ts';
import { JsonDecoder } from './json-decoder.ts';
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
  switch (format.format) {
    case 'json':
      return new JsonDecoder(format, onBlock);
    case 'csv':
      return new CsvDecoder(format, onBlock);
    default:
      return new RawDecoder(format, onBlock);
  }
}
