/** Chunks that wait at once for one site, 64 MB: what is beyond is forgotten, and asked for again. */
const LARGEST_WAITING = 16_384;

/** Longest that an object waits for requests, milliseconds: shorter than a gateway waits before it asks again. */
const LONGEST_COLLECT_MS = 1000;

interface Wanted {
  readonly indices: Set<number>;
  readonly askers: Set<string>;
  readonly firstMs: number;
  /** When collecting ends. */
  readyMs: number;
}

/**
 * What a site's gateways have asked for and not got yet. Each chunk stands in it once, whoever asks: an object waits until all have asked from whom it is
 * expected, or nobody has for a moment. Objects take turns, so that a large one does not hold up metadata. No I/O and no clock of its own.
 */
export class ChunkQueue {
  readonly #collectMs: number;
  readonly #objects = new Map<string, Wanted>();
  #waiting = 0;

  /** @param collectMs how long to wait after a request for the next gateway's */
  constructor(collectMs: number) {
    this.#collectMs = collectMs;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /**
   * @param ranges half-open, within the object
   * @param expected gateways that are likely to want the object now
   */
  ask(object: string, ranges: readonly (readonly [number, number])[], nowMs: number, asker: string, expected: number): void {
    const wanted = this.#objects.get(object) ?? { indices: new Set<number>(), askers: new Set<string>(), firstMs: nowMs, readyMs: nowMs };
    this.#objects.set(object, wanted);
    const isNew = !wanted.askers.has(asker);
    wanted.askers.add(asker);
    if (wanted.askers.size >= expected) wanted.readyMs = nowMs;
    // Who asks again is waited for no longer than before.
    else if (isNew) wanted.readyMs = Math.min(wanted.firstMs + LONGEST_COLLECT_MS, nowMs + this.#collectMs);
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
