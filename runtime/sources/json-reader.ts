import type { BlockWriter, ForeignRefusal } from './foreign-block.ts';
import type { JsonFormat } from './foreign-format.ts';
import { type PathStep, parseJsonPath, selectByPath } from './json-path.ts';
import type { LineReader } from './line-decoder.ts';

/** Every runtime has it, but pure rooms compile without a runtime's types. */
declare const TextDecoder: new (encoding: 'utf-8', options: { fatal: boolean }) => { decode(bytes: Uint8Array): string };

/**
 * Samples from JSON: a document a message, or a document a line on a serial line.
 *
 * With one path, what it selects is samples (arrays of one number a channel) or their numbers one after the other: `$.data.values[*]` fits
 * `{"data":{"values":[[1,2],[3,4]]}}` and `{"data":{"values":[1,2,3,4]}}` alike. With a path a channel, each selects that channel's numbers:
 * `$.x` and `$.y`, `$.samples[*].x` and `$.samples[*].y`, or `$.x[*]` and `$.y[*]`. `null` is a value that is not finite.
 */
export class JsonReader implements LineReader {
  /** On a serial line: 64 samples of 16 channels with room to spare. */
  readonly longestLineBytes = 64 * 1024;
  readonly messageIsDocument = true;
  /** As many as the last document that was read had. */
  usualSamples = 1;
  readonly #writer: BlockWriter;
  readonly #paths: readonly PathStep[][];
  readonly #byChannel: boolean;
  readonly #text = new TextDecoder('utf-8', { fatal: true });
  readonly #row: Float64Array;

  constructor({ channels, path }: JsonFormat, writer: BlockWriter) {
    this.#writer = writer;
    this.#byChannel = typeof path !== 'string';
    this.#paths = (typeof path === 'string' ? [path] : path).map(parseJsonPath);
    this.#row = new Float64Array(channels);
  }

  read(bytes: Uint8Array): void {
    let document: unknown;
    try {
      document = JSON.parse(this.#text.decode(bytes));
    } catch {
      this.#writer.refuse('malformed', this.usualSamples);
      return;
    }
    const found = this.#paths.map((path) => selectByPath(document, path));
    const refusal = this.#byChannel ? this.#readColumns(found) : this.#readRows(found[0]);
    if (refusal) this.#writer.refuse(refusal, this.usualSamples);
  }

  #readRows(found: readonly unknown[]): ForeignRefusal | undefined {
    const { channels } = this.#writer;
    if (isNothing(found)) return 'malformed';
    if (found.some(Array.isArray)) {
      for (const sample of found) {
        if (!Array.isArray(sample)) this.#writer.refuse('malformed');
        else if (sample.length !== channels) this.#writer.refuse('wrongChannels');
        else this.#add((channel) => sample[channel]);
      }
      this.usualSamples = Math.max(1, found.length);
      return undefined;
    }
    if (found.length % channels !== 0) return 'wrongChannels';
    for (let at = 0; at < found.length; at += channels) this.#add((channel) => found[at + channel]);
    this.usualSamples = Math.max(1, found.length / channels);
    return undefined;
  }

  #readColumns(columns: readonly unknown[][]): ForeignRefusal | undefined {
    if (columns.every(isNothing)) return 'malformed';
    const count = columns[0].length;
    if (columns.some((column) => isNothing(column) || column.length !== count)) return 'wrongChannels';
    for (let at = 0; at < count; at++) this.#add((channel) => columns[channel][at]);
    this.usualSamples = Math.max(1, count);
    return undefined;
  }

  #add(pick: (channel: number) => unknown): void {
    let finite = true;
    for (let channel = 0; channel < this.#row.length; channel++) {
      const value = pick(channel);
      if (value === null) finite = false;
      else if (typeof value === 'number') this.#row[channel] = value;
      else {
        this.#writer.refuse('malformed');
        return;
      }
    }
    if (finite) this.#writer.add(this.#row);
    else this.#writer.refuse('notFinite');
  }
}

const isNothing = (found: readonly unknown[]): boolean => found.length === 1 && found[0] === undefined;
