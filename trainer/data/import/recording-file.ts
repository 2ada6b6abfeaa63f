import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { Refusal } from '../../refusal.ts';
import { type SourceTable, unreadable } from './table.ts';

const LARGEST_CODE = 32_767;

/** A column of the source that becomes a channel. */
export interface ChannelSource {
  readonly name: string;
  /** Index of the source's column. */
  readonly column: number;
  /** What a value of the source is multiplied by. */
  readonly factor: number;
}

/** What is known of a recording once it is written. */
export interface WrittenRecording {
  readonly samples: number;
  readonly dtype: 'int16' | 'float32';
  /** A channel; for int16 only. */
  readonly scale?: readonly number[];
  /** A channel, of the stored values, to 8 decimals. */
  readonly rms: readonly number[];
  readonly sha256: string;
  /** By the time column, where it was asked for. */
  readonly timeRateHz?: number;
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  return hash.digest('hex');
}

/** The channels' largest absolute values in physical units: what an int16 recording needs to know before it is written. */
async function largestValues(table: SourceTable, channels: readonly ChannelSource[]): Promise<number[]> {
  const largest = channels.map(() => 0);
  for await (const block of table.blocks(channels.map(({ column }) => column))) {
    for (let at = 0; at < block.length; at++) {
      const channel = at % channels.length;
      largest[channel] = Math.max(largest[channel], Math.abs(block[at] * channels[channel].factor));
    }
  }
  return largest;
}

/** Infers a rate from a column of times, and refuses one that has gaps. */
class Clock {
  readonly #where: string;
  readonly #secondsPerUnit: number | undefined;
  #first = Number.NaN;
  #last = Number.NaN;
  #count = 0;
  #shortest = Number.POSITIVE_INFINITY;
  #longest = Number.NEGATIVE_INFINITY;

  constructor(where: string, secondsPerUnit: number | undefined) {
    this.#where = where;
    this.#secondsPerUnit = secondsPerUnit;
  }

  add(time: number): void {
    if (this.#count === 0) this.#first = time;
    else {
      this.#shortest = Math.min(this.#shortest, time - this.#last);
      this.#longest = Math.max(this.#longest, time - this.#last);
    }
    this.#last = time;
    this.#count++;
  }

  /**
   * Samples a second. Within 0.1 % of a whole number it is that number: clocks drift by less, and two recordings of one sensor should have
   * one rate.
   */
  rateHz(): number {
    const step = (this.#last - this.#first) / (this.#count - 1);
    const refuse = (why: string) => new Refusal('import/rate', `${this.#where} ${why}; say --rate`);
    if (!(step > 0) || this.#shortest < 0) throw refuse('does not grow');
    // Printed times are rounded, so steps may differ by one unit in the last place; half a step more is a missing sample.
    if (this.#longest > 1.5 * step || this.#shortest < 0.5 * step) {
      throw refuse(`is not even: its steps go from ${this.#shortest} to ${this.#longest}`);
    }
    // Without a unit: since 1970 the size tells seconds from milliseconds, microseconds and nanoseconds.
    const guess = [1e17, 1e14, 1e11].findIndex((bound) => this.#last > bound);
    const seconds = step * (this.#secondsPerUnit ?? [1e-9, 1e-6, 1e-3][guess] ?? 1);
    const rate = 1 / seconds;
    if (this.#secondsPerUnit === undefined && guess < 0 && rate < 10) {
      throw refuse(`gives ${Number(rate.toPrecision(4))} Hz if it counts seconds, and its unit is not stated`);
    }
    const whole = Math.round(rate);
    return whole > 0 && Math.abs(rate - whole) < 1e-3 * whole ? whole : rate;
  }
}

export interface RecordingOptions {
  /** The source, for messages. */
  readonly source: string;
  readonly dtype: 'int16' | 'float32';
  /** Index of a column of times to take the rate from. */
  readonly time?: number;
}

/**
 * Writes the chosen columns of a source as one recording: raw little-endian, interleaved [samples, channels]. Only a block is held at a time.
 *
 * @throws Refusal import/not-finite with the place, import/no-samples, import/rate
 */
export async function writeRecording(
  path: string,
  table: SourceTable,
  channels: readonly ChannelSource[],
  { source, dtype, time }: RecordingOptions,
  signal?: AbortSignal,
): Promise<WrittenRecording> {
  const { int16Step } = table;
  const isInt16 = dtype === 'int16';
  let scale: number[] | undefined;
  if (isInt16 && int16Step !== undefined) scale = channels.map(({ factor }) => int16Step * factor);
  else if (isInt16) scale = (await largestValues(table, channels)).map((largest) => largest / LARGEST_CODE || 1);
  const width = channels.length + (time === undefined ? 0 : 1);
  const clock =
    time === undefined ? undefined : new Clock(`${source}, column ${table.columns[time].name}`, table.columns[time].secondsPerUnit);
  const hash = createHash('sha256');
  const squares = channels.map(() => 0);
  let samples = 0;
  const file = await open(path, 'wx');
  try {
    for await (const block of table.blocks([...channels.map(({ column }) => column), ...(time === undefined ? [] : [time])])) {
      signal?.throwIfAborted();
      const rows = block.length / width;
      const stored = isInt16 ? new Int16Array(rows * channels.length) : new Float32Array(rows * channels.length);
      for (let row = 0; row < rows; row++) {
        for (let channel = 0; channel < channels.length; channel++) {
          const value = block[row * width + channel] * channels[channel].factor;
          const code = scale ? Math.max(-LARGEST_CODE - 1, Math.min(LARGEST_CODE, Math.round(value / scale[channel]))) : value;
          const at = row * channels.length + channel;
          stored[at] = code;
          // A number beyond the range of float32 becomes infinite only here.
          if (!Number.isFinite(value) || !Number.isFinite(stored[at])) {
            throw new Refusal(
              'import/not-finite',
              `${source} holds ${value} at sample ${samples + row}, column ${table.columns[channels[channel].column].name}`,
            );
          }
          squares[channel] += (stored[at] * (scale?.[channel] ?? 1)) ** 2;
        }
        clock?.add(block[row * width + channels.length]);
      }
      const bytes = new Uint8Array(stored.buffer);
      hash.update(bytes);
      await file.writeFile(bytes);
      samples += rows;
    }
    if (samples === 0) throw new Refusal('import/no-samples', `${source} has no samples; remove it, or leave it out with --skip-bad`);
  } catch (cause) {
    await rm(path, { force: true });
    throw cause;
  } finally {
    await file.close();
  }
  return {
    samples,
    dtype,
    ...(scale && { scale }),
    rms: squares.map((sum) => Number(Math.sqrt(sum / samples).toFixed(8))),
    sha256: hash.digest('hex'),
    ...(clock && { timeRateHz: clock.rateHz() }),
  };
}
