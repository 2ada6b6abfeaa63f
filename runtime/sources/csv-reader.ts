import { parseDecimal } from './decimal.ts';
import type { BlockWriter } from './foreign-block.ts';
import type { CsvFormat } from './foreign-format.ts';
import type { LineReader } from './line-decoder.ts';

/** How programs write a value that is missing or not finite: nothing, nan, inf, infinity, null. */
const NOT_FINITE = /^\s*(?:[+-]?(?:nan|inf|infinity)|null|)\s*$/i;

/** One sample a line, numbers between delimiters. Blank lines are passed over; a header line counts as malformed, once. No quotes. */
export class CsvReader implements LineReader {
  /** 128 numbers with all their digits. */
  readonly longestLineBytes = 4096;
  readonly messageIsDocument = false;
  readonly usualSamples = 1;
  readonly #writer: BlockWriter;
  readonly #delimiter: number;
  readonly #decimalPoint: number;
  /** The channel of each column, -1 for those that are not wanted. */
  readonly #channelOf: Int32Array;
  readonly #exactColumns: boolean;
  readonly #row: Float64Array;

  constructor({ channels, delimiter, decimal, columns }: CsvFormat, writer: BlockWriter) {
    this.#writer = writer;
    this.#delimiter = delimiter.charCodeAt(0);
    this.#decimalPoint = decimal.charCodeAt(0);
    const wanted = columns ?? Array.from({ length: channels }, (_, column) => column);
    this.#exactColumns = columns === undefined;
    this.#channelOf = new Int32Array(Math.max(...wanted) + 1).fill(-1);
    wanted.forEach((column, channel) => {
      this.#channelOf[column] = channel;
    });
    this.#row = new Float64Array(channels);
  }

  read(line: Uint8Array): void {
    const known = this.#channelOf.length;
    let column = 0;
    let refusal: 'malformed' | 'notFinite' | undefined;
    for (let from = 0; from <= line.length; column++) {
      let to = from;
      while (to < line.length && line[to] !== this.#delimiter) to++;
      const channel = column < known ? this.#channelOf[column] : -1;
      if (channel >= 0) {
        const value = parseDecimal(line, from, to, this.#decimalPoint);
        this.#row[channel] = value;
        if (Number.isNaN(value) && refusal !== 'malformed') refusal = isNotFinite(line, from, to) ? 'notFinite' : 'malformed';
      }
      from = to + 1;
    }
    if (this.#exactColumns ? column !== known : column < known) this.#writer.refuse('wrongChannels');
    else if (refusal) this.#writer.refuse(refusal);
    else this.#writer.add(this.#row);
  }
}

function isNotFinite(line: Uint8Array, from: number, to: number): boolean {
  return to - from < 16 && NOT_FINITE.test(String.fromCharCode(...line.subarray(from, to)));
}
