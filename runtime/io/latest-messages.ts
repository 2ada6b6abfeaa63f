/** Room for a longer message of the same key. */
const SPARE_BYTES = 128;

/** How a message leaves: false where it cannot now. The payload is valid during the call. */
export type Post = (topic: string, payload: Uint8Array) => boolean;

/** The newest message of a key. As bytes in memory that is used again: strings that live for a second fill the old generation. */
interface Message {
  readonly topic: string;
  bytes: Buffer;
  length: number;
  /** Position among all messages sent of the one that was sent last. */
  number: number;
}

/**
 * Retained messages, of which only the newest of a key matters: while the broker is away or slow, one of each waits and those that a newer one replaced
 * are counted. So memory is bounded by the number of keys, whatever happens.
 *
 * They are sent with QoS 0, for which there is no answer. A connection keeps its order, so the answer to any later message of QoS 1 says that all
 * before it have arrived. When a connection is lost, the newest of each key that is not known to have arrived waits again.
 */
export class LatestMessages {
  /** Messages that may never have arrived: a newer one of their key replaced them before they could be sent, or before it was known. */
  replaced = 0;

  readonly #topicOf: (key: string) => string;
  readonly #post: Post;
  readonly #messages = new Map<string, Message>();
  /** Those of them that have not been sent, longest waiting first. */
  readonly #waiting = new Set<Message>();
  #sent = 0;
  #confirmed = 0;

  /** @param topicOf asked once a key */
  constructor(topicOf: (key: string) => string, post: Post) {
    this.#topicOf = topicOf;
    this.#post = post;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Messages sent so far: what a message of QoS 1 that is sent now will confirm. */
  get sent(): number {
    return this.#sent;
  }

  send(key: string, payload: string): void {
    let message = this.#messages.get(key);
    if (!message) {
      message = { topic: this.#topicOf(key), bytes: Buffer.alloc(0), length: 0, number: 0 };
      this.#messages.set(key, message);
    }
    // An older one that waits would otherwise arrive behind this one.
    if (this.#waiting.size > 0 && this.#waiting.delete(message)) this.replaced++;
    message.length = Buffer.byteLength(payload);
    if (message.bytes.length < message.length) message.bytes = Buffer.allocUnsafeSlow(message.length + SPARE_BYTES);
    message.bytes.write(payload);
    if (!this.#trySend(message)) this.#waiting.add(message);
  }

  /** Sends what waits, as far as it goes. To be called when the connection stands again, or takes more. */
  flush(): void {
    for (const message of this.#waiting) {
      if (!this.#trySend(message)) return;
      this.#waiting.delete(message);
    }
  }

  /** The first `sent` messages have arrived. */
  confirm(sent: number): void {
    if (sent <= this.#confirmed) return;
    // Keys on which nothing came since the last time may never be used again.
    for (const [key, message] of this.#messages)
      if (message.number <= this.#confirmed && !this.#waiting.has(message)) this.#messages.delete(key);
    this.#confirmed = sent;
  }

  /** The connection is lost. */
  interrupted(): void {
    let kept = 0;
    for (const [key, message] of this.#messages) {
      if (this.#waiting.has(message)) continue;
      if (message.number <= this.#confirmed) this.#messages.delete(key);
      else {
        this.#waiting.add(message);
        kept++;
      }
    }
    this.replaced += this.#sent - this.#confirmed - kept;
    this.#confirmed = this.#sent;
  }

  #trySend(message: Message): boolean {
    if (!this.#post(message.topic, message.bytes.subarray(0, message.length))) return false;
    message.number = ++this.#sent;
    return true;
  }
}
