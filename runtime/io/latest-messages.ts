/** Room for a longer message of the same topic. */
const SPARE_BYTES = 128;

/** How a message leaves: false where it cannot now. */
export type Post = (topic: string, payload: string) => boolean;

/** Newest message of a topic that was sent. As bytes in memory that is used again: strings that live for a second fill the old generation. */
interface SentMessage {
  bytes: Buffer;
  length: number;
  /** Position among all messages sent. */
  number: number;
}

/**
 * Retained messages, of which only the newest of a topic matters: while the broker is away or slow, one of each topic waits and those that a newer
 * one replaced are counted. So memory is bounded by the number of topics, whatever happens.
 *
 * They are sent with QoS 0, for which there is no answer. A connection keeps its order, so the answer to any later message of QoS 1 says that all
 * before it have arrived. When a connection is lost, the newest of each topic that is not known to have arrived waits again.
 */
export class LatestMessages {
  /** Messages that may never have arrived: a newer one of their topic replaced them before they could be sent, or before it was known. */
  replaced = 0;

  readonly #post: Post;
  readonly #waiting = new Map<string, string>();
  readonly #last = new Map<string, SentMessage>();
  #sent = 0;
  #confirmed = 0;

  constructor(post: Post) {
    this.#post = post;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Messages sent so far: what a message of QoS 1 that is sent now will confirm. */
  get sent(): number {
    return this.#sent;
  }

  send(topic: string, payload: string): void {
    // An older one that waits would otherwise arrive behind this one.
    if (this.#waiting.delete(topic)) this.replaced++;
    if (!this.#trySend(topic, payload)) this.#waiting.set(topic, payload);
  }

  /** Sends what waits, as far as it goes. To be called when the connection stands again, or takes more. */
  flush(): void {
    for (const [topic, payload] of this.#waiting) {
      if (!this.#trySend(topic, payload)) return;
      this.#waiting.delete(topic);
    }
  }

  /** The first `sent` messages have arrived. */
  confirm(sent: number): void {
    if (sent <= this.#confirmed) return;
    // Topics on which nothing came since the last time may never be used again.
    for (const [topic, { number }] of this.#last) if (number <= this.#confirmed) this.#last.delete(topic);
    this.#confirmed = sent;
  }

  /** The connection is lost. */
  interrupted(): void {
    let kept = 0;
    for (const [topic, { bytes, length, number }] of this.#last) {
      if (number <= this.#confirmed || this.#waiting.has(topic)) continue;
      this.#waiting.set(topic, bytes.toString('utf8', 0, length));
      kept++;
    }
    this.replaced += this.#sent - this.#confirmed - kept;
    this.#last.clear();
    this.#confirmed = this.#sent;
  }

  #trySend(topic: string, payload: string): boolean {
    if (!this.#post(topic, payload)) return false;
    const length = Buffer.byteLength(payload);
    let last = this.#last.get(topic);
    if (!last || last.bytes.length < length) {
      last = { bytes: Buffer.allocUnsafeSlow(length + SPARE_BYTES), length, number: 0 };
      this.#last.set(topic, last);
    }
    last.bytes.write(payload);
    last.length = length;
    last.number = ++this.#sent;
    return true;
  }
}
