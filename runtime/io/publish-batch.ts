/** First bytes of a PUBLISH with QoS 0, and of one that the broker keeps (MQTT 3.1.1 and 5.0, 3.3.1). */
const PUBLISH = 0x30;
const RETAIN = 0x01;

const FIRST_BYTES = 16_384;
/** First byte, length of at most four, topic's length, length of no properties. */
const LONGEST_HEAD = 8;

/** Messages of QoS 0 as MQTT packets, one after the other, to be written onto a connection at once. */
export class PublishBatch {
  readonly #version: number;
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;

  /** @param version 4 for MQTT 3.1.1, 5 for 5.0 */
  constructor(version: number) {
    this.#version = version;
  }

  get length(): number {
    return this.#length;
  }

  add(topic: string, payload: Uint8Array, retain: boolean): void {
    const topicBytes = Buffer.byteLength(topic);
    this.#reserve(LONGEST_HEAD + topicBytes + payload.length);
    const bytes = this.#bytes;
    let at = this.#length;
    bytes[at++] = PUBLISH | (retain ? RETAIN : 0);
    let rest = 2 + topicBytes + (this.#version === 5 ? 1 : 0) + payload.length;
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 128;
    bytes[at++] = rest;
    at = bytes.writeUInt16BE(topicBytes, at);
    at += bytes.write(topic, at);
    if (this.#version === 5) bytes[at++] = 0;
    bytes.set(payload, at);
    this.#length = at + payload.length;
  }

  /** The packets that were added since the last call. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return taken;
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
