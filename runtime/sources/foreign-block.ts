/** What a foreign source has brought since its decoder was made. */
export interface ForeignHealth {
  /** Bytes received. */
  bytes: number;
  /** Samples (of all channels at an instant) accepted. */
  samples: number;
  /** Lines, documents or samples that are not in the format: a header line, another topic's message, a value that is no number. */
  malformed: number;
  /** Lines, documents or samples with another number of channels than configured. */
  wrongChannels: number;
  /** Samples with a value that is missing, not a number, or infinite. */
  notFinite: number;
  /** Lines or messages beyond the limit: another protocol, or a wrong baud rate. */
  tooLong: number;
  /** Bytes thrown away: of overlong lines, before the first line's begin, and between samples that are out of step. */
  skippedBytes: number;
}

export type ForeignRefusal = 'malformed' | 'wrongChannels' | 'notFinite' | 'tooLong';

/** Samples in a row, as the source wrote them. Valid during the call that hands it over; `values` is longer than the block. */
export interface ForeignBlock {
  readonly samples: number;
  /** `[samples, channels]`, in the source's own units. int16 as it came, anything else as float32. */
  readonly values: Int16Array | Float32Array;
  /**
   * Samples refused just before this block. Exact where the source's lines and rows are samples; for a message that could not be read, as many as
   * the last good message had.
   */
  readonly lostBefore: number;
}

export type OnForeignBlock = (block: ForeignBlock) => void;

/** Samples in one block at the most: it bounds memory. */
export const LARGEST_BLOCK = 512;

/** Bytes of the longest message that is looked at: a minute of three channels at 1 kHz is less. */
export const LARGEST_MESSAGE_BYTES = 4 * 1024 * 1024;

/** Gathers samples into blocks and counts refusals. A refusal ends the block, so that a gap never lies inside one. */
export class BlockWriter {
  readonly health: ForeignHealth = { bytes: 0, samples: 0, malformed: 0, wrongChannels: 0, notFinite: 0, tooLong: 0, skippedBytes: 0 };
  readonly channels: number;
  readonly #values: Int16Array | Float32Array;
  readonly #onBlock: OnForeignBlock;
  #samples = 0;
  #lost = 0;

  constructor(channels: number, kind: 'int16' | 'float32', onBlock: OnForeignBlock) {
    this.channels = channels;
    this.#values = kind === 'int16' ? new Int16Array(LARGEST_BLOCK * channels) : new Float32Array(LARGEST_BLOCK * channels);
    this.#onBlock = onBlock;
  }

  /** Takes one sample: `values[0..channels)`. Refused where a value is not finite as a float32. */
  add(values: ArrayLike<number>): void {
    const base = this.#samples * this.channels;
    for (let channel = 0; channel < this.channels; channel++) {
      this.#values[base + channel] = values[channel];
      if (!Number.isFinite(this.#values[base + channel])) {
        this.refuse('notFinite');
        return;
      }
    }
    this.health.samples++;
    if (++this.#samples === LARGEST_BLOCK) this.flush();
  }

  /** Counts one refusal, by which `samples` samples are missing. */
  refuse(cause: ForeignRefusal, samples = 1): void {
    this.flush();
    this.health[cause]++;
    this.#lost += samples;
  }

  /** Hands over what is gathered. Called at the end of each arrival, so that no sample waits for the next. */
  flush(): void {
    if (this.#samples === 0) return;
    const block = { samples: this.#samples, values: this.#values, lostBefore: this.#lost };
    // First, so that the writer is in order even if onBlock throws.
    this.#samples = 0;
    this.#lost = 0;
    this.#onBlock(block);
  }
}
