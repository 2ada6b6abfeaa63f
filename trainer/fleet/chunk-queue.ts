/** Chunks that wait at once for one site, 64 MB: what is beyond is forgotten, and asked for again. */
const LARGEST_WAITING = 16_384;

interface Wanted {
  readonly indices: Set<number>;
  /** When collecting ends. */
  readonly readyMs: number;
}

/**
 * What a site's gateways have asked for and not got yet. Each chunk stands in it once, whoever asks: for a moment after the first request for an object
 * the others' are waited for. Objects take turns, so that a large one does not hold up metadata. No I/O and no clock of its own.
 */
export class ChunkQueue {
  readonly #collectMs: number;
  readonly #objects = new Map<string, Wanted>();
  #waiting = 0;

  constructor(collectMs: number) {
    this.#collectMs = collectMs;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** @param ranges half-open, within the object */
  ask(object: string, ranges: readonly (readonly [number, number])[], nowMs: number): void {
    const wanted = this.#objects.get(object) ?? { indices: new Set<number>(), readyMs: nowMs + this.#collectMs };
    this.#objects.set(object, wanted);
    for (const [from, to] of ranges)
      for (let index = from; index < to && this.#waiting < LARGEST_WAITING; index++) {
        if (wanted.indices.has(index)) continue;
        wanted.indices.add(index);
        this.#waiting++;
      }
    if (wanted.indices.size === 0) this.#objects.delete(object);
  }

  /** The next chunk that may go; undefined where none may yet. */
  take(nowMs: number): { readonly object: string; readonly index: number } | undefined {
    for (const [object, wanted] of this.#objects) {
      if (wanted.readyMs > nowMs) continue;
      const [index] = wanted.indices;
      wanted.indices.delete(index);
      this.#waiting--;
      // To the end of the line.
      this.#objects.delete(object);
      if (wanted.indices.size > 0) this.#objects.set(object, wanted);
      return { object, index };
    }
    return undefined;
  }

  /** No chunk of an object is wanted any more. */
  forget(object: string): void {
    this.#waiting -= this.#objects.get(object)?.indices.size ?? 0;
    this.#objects.delete(object);
  }

  /** When the next chunk may go; undefined where none waits. */
  nextMs(): number | undefined {
    let next: number | undefined;
    for (const { readyMs } of this.#objects.values()) next = Math.min(next ?? readyMs, readyMs);
    return next;
  }
}
