/** Directions into which an embedding is projected. More see more kinds of shift and need a longer reference. */
export const DIRECTIONS = 8;
/** Numbers a window gives the drift statistics: log novelty and the projections. */
export const FEATURES = 1 + DIRECTIONS;

/** The novelty score where a bundle has none. */
export const NO_NOVELTY = Number.NaN;

/**
 * What the drift statistics see of a window, made without allocating: the logarithm of its novelty and its embedding in a few directions of signs
 * drawn at random, the same in trainer and gateway. Distances survive such a projection about as well as one that was fitted (Achlioptas 2003), and it
 * needs no bytes in a bundle.
 */
export class WindowFeatures {
  readonly #width: number;
  readonly #signs: Float32Array;
  /** [FEATURES], overwritten by each window. */
  readonly values = new Float64Array(FEATURES);

  /** @param width numbers of an embedding */
  constructor(width: number) {
    this.#width = width;
    this.#signs = new Float32Array(DIRECTIONS * width);
    // xorshift32; any fixed seed does.
    let state = 0x9e3779b9;
    for (let at = 0; at < this.#signs.length; at++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      this.#signs[at] = (state & 0x10000 ? 1 : -1) / Math.sqrt(width);
    }
  }

  /** Takes a window's embedding [width], which lies in `embeddings` from `from` on, and its novelty, NaN where there is none. */
  take(embeddings: Float32Array, from: number, novelty: number): Float64Array {
    const { values } = this;
    values[0] = novelty > 0 ? Math.log(novelty) : NO_NOVELTY;
    for (let direction = 0, sign = 0; direction < DIRECTIONS; direction++) {
      let sum = 0;
      for (let at = 0; at < this.#width; at++) sum += this.#signs[sign++] * embeddings[from + at];
      values[1 + direction] = sum;
    }
    return values;
  }
}

/** Features of windows in their order, row-major [windows, FEATURES]. embeddings: [windows, E]; novelty: [windows], NaN where there is none */
export function featureRows(embeddings: Float32Array, novelty: Float32Array): Float64Array {
  const width = embeddings.length / novelty.length;
  const features = new WindowFeatures(width);
  const rows = new Float64Array(novelty.length * FEATURES);
  for (let row = 0; row < novelty.length; row++) rows.set(features.take(embeddings, row * width, novelty[row]), row * FEATURES);
  return rows;
}
