import { CHUNK_BYTES } from '../contracts/chunk.ts';
import { LARGEST_WINDOW } from '../contracts/update.ts';

/** Half-open range of chunk indices. */
export type ChunkRange = [from: number, to: number];

export const chunkCount = (length: number): number => Math.ceil(length / CHUNK_BYTES);

/** Which chunks of an object are there: one bit each. */
export class ChunkMap {
  /** Length of the whole object, bytes. */
  readonly length: number;
  readonly chunks: number;
  readonly #bits: Uint8Array;
  #count = 0;

  constructor(length: number) {
    this.length = length;
    this.chunks = chunkCount(length);
    this.#bits = new Uint8Array(Math.ceil(this.chunks / 8));
  }

  get count(): number {
    return this.#count;
  }

  get complete(): boolean {
    return this.#count === this.chunks;
  }

  /** Bytes of the chunks that are there. */
  get bytes(): number {
    const short = this.chunks > 0 && this.has(this.chunks - 1) ? this.chunks * CHUNK_BYTES - this.length : 0;
    return this.#count * CHUNK_BYTES - short;
  }

  /** Bytes that a chunk has; 0 where there is no such chunk. */
  bytesOf(index: number): number {
    return index >= this.chunks ? 0 : Math.min(CHUNK_BYTES, this.length - index * CHUNK_BYTES);
  }

  has(index: number): boolean {
    return (this.#bits[index >> 3] & (1 << (index & 7))) !== 0;
  }

  add(index: number): void {
    if (index >= this.chunks || this.has(index)) return;
    this.#bits[index >> 3] |= 1 << (index & 7);
    this.#count++;
  }

  clear(): void {
    this.#bits.fill(0);
    this.#count = 0;
  }

  /** The first missing chunks that `skip` does not name, as ranges: at most `most` chunks in at most as many ranges as a request takes. */
  missing(most: number, skip: (index: number) => boolean): ChunkRange[] {
    const ranges: ChunkRange[] = [];
    let left = most;
    for (let index = 0; index < this.chunks && left > 0; index++) {
      if (this.has(index) || skip(index)) continue;
      const last = ranges.at(-1);
      if (last?.[1] === index) last[1]++;
      else if (ranges.length === LARGEST_WINDOW) break;
      else ranges.push([index, index + 1]);
      left--;
    }
    return ranges;
  }

  /** Length of the object, unsigned 32 bits, little-endian; then the bits. */
  encode(): Uint8Array {
    const bytes = new Uint8Array(4 + this.#bits.length);
    new DataView(bytes.buffer).setUint32(0, this.length, true);
    bytes.set(this.#bits, 4);
    return bytes;
  }

  /** @returns undefined where the bytes are not a map of an object of this length: then nothing is known to be there */
  static decode(bytes: Uint8Array, length: number): ChunkMap | undefined {
    const map = new ChunkMap(length);
    if (bytes.length !== 4 + map.#bits.length) return undefined;
    if (new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) !== length) return undefined;
    for (let index = 0; index < map.chunks; index++) if (bytes[4 + (index >> 3)] & (1 << (index & 7))) map.add(index);
    return map;
  }
}
