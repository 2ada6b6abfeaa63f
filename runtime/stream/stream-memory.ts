/** Windows a ring holds: one being filled, one being read, two to spare while the model is busy. */
const RING_WINDOWS = 4;

export interface StreamMemoryShape {
  readonly streams: number;
  readonly window: number;
  readonly channels: number;
}

/**
 * Rings of samples for all streams in one shared buffer, written by the gateway's thread and read by the inference thread without a message
 * in between.
 *
 * For each stream: `written`, the samples (per channel) that its ring has ever taken, modulo 2^32, and the ring itself [4 * window, channels]
 * of int16 codes. A reader copies a window and then looks at `written` again: what was overwritten meanwhile is refused, never decided.
 */
export class StreamMemory {
  readonly shape: StreamMemoryShape;
  readonly buffer: SharedArrayBuffer;
  readonly ringSamples: number;
  readonly #written: Int32Array;
  readonly #samples: Int16Array;

  /** @param buffer of another thread's memory of the same shape; made anew where absent */
  constructor(shape: StreamMemoryShape, buffer?: SharedArrayBuffer) {
    const { streams, window, channels } = shape;
    this.shape = shape;
    this.ringSamples = RING_WINDOWS * window;
    const samplesAt = 4 * streams;
    this.buffer = buffer ?? new SharedArrayBuffer(samplesAt + 2 * streams * this.ringSamples * channels);
    this.#written = new Int32Array(this.buffer, 0, streams);
    this.#samples = new Int16Array(this.buffer, samplesAt);
  }

  /** Samples that the ring has ever taken, modulo 2^32. */
  written(stream: number): number {
    return Atomics.load(this.#written, stream) >>> 0;
  }

  /**
   * Appends `count` samples from row `from` of interleaved codes. Called by one thread only.
   *
   * @throws RangeError for more than a window at once: a longer piece would overtake the ring's own end
   */
  append(stream: number, codes: Int16Array, from: number, count: number): void {
    const { channels, window } = this.shape;
    if (count > window) throw new RangeError(`${count} samples at once are more than a window of ${window}`);
    const size = this.ringSamples;
    const written = this.written(stream);
    const at = written % size;
    const base = stream * size * channels;
    const first = Math.min(count, size - at);
    copy(codes, from * channels, this.#samples, base + at * channels, first * channels);
    copy(codes, (from + first) * channels, this.#samples, base, (count - first) * channels);
    Atomics.store(this.#written, stream, (written + count) | 0);
  }

  /**
   * Copies the window that ends before sample `end` (counted as `written` is).
   *
   * @returns false where newer samples have overwritten a part of it
   */
  copyWindow(stream: number, end: number, into: Int16Array, intoAt: number): boolean {
    if (!this.holds(stream, end)) return false;
    const { channels, window } = this.shape;
    const size = this.ringSamples;
    const at = (((end >>> 0) - window) >>> 0) % size;
    const base = stream * size * channels;
    const first = Math.min(window, size - at);
    copy(this.#samples, base + at * channels, into, intoAt, first * channels);
    copy(this.#samples, base, into, intoAt + first * channels, (window - first) * channels);
    return this.holds(stream, end);
  }

  /** Whether the window that ends before sample `end` is still whole. */
  holds(stream: number, end: number): boolean {
    const start = ((end >>> 0) - this.shape.window) >>> 0;
    // A writer may be at work on the frame after `written`, so the ring keeps a window's length of distance.
    return (this.written(stream) - start) >>> 0 <= this.ringSamples - this.shape.window;
  }
}

/** Copies numbers; with views, for the engine's own copy is many times faster than a loop over shared memory. */
function copy(from: Int16Array, fromAt: number, to: Int16Array, toAt: number, count: number): void {
  // The second piece of what does not lie around the ring's end.
  if (count === 0) return;
  to.set(from.subarray(fromAt, fromAt + count), toAt);
}
