/** Four times the streams of a large gateway: two of its topics seldom share a place. */
const PLACES = 4096;
const HASHED = 12;

/**
 * The same string for the same bytes. A topic comes thousands of times a second: as a string of its own each time, it would be made, hashed for every
 * map that is asked for it, and thrown away. Of fixed size: a topic takes the place of another with the same hash.
 */
export class TopicNames {
  readonly #bytes: (Buffer | undefined)[] = new Array(PLACES).fill(undefined);
  readonly #names: string[] = new Array(PLACES).fill('');

  /** UTF-8 from `from` to `to`. */
  of(bytes: Buffer, from: number, to: number): string {
    // FNV-1a of the end, in which the topics of a gateway differ.
    let hash = 0x811c9dc5;
    for (let at = Math.max(from, to - HASHED); at < to; at++) hash = Math.imul(hash ^ bytes[at], 0x01000193);
    const place = (hash ^ (hash >>> 16)) & (PLACES - 1);
    const known = this.#bytes[place];
    if (known && known.length === to - from && isAt(known, bytes, from)) return this.#names[place];
    this.#bytes[place] = Buffer.from(bytes.subarray(from, to));
    this.#names[place] = bytes.toString('utf8', from, to);
    return this.#names[place];
  }
}

function isAt(known: Buffer, bytes: Buffer, from: number): boolean {
  let at = 0;
  while (at < known.length && known[at] === bytes[from + at]) at++;
  return at === known.length;
}
