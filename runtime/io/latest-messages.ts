/** How a message leaves: false where it cannot now. */
export type Post = (topic: string, payload: string) => boolean;

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
  /** Newest of each topic that was sent, in the order of sending. */
  readonly #unconfirmed = new Map<string, { readonly payload: string; readonly number: number }>();
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
    this.#confirmed = sent;
    for (const [topic, { number }] of this.#unconfirmed) {
      if (number > sent) return;
      this.#unconfirmed.delete(topic);
    }
  }

  /** The connection is lost. */
  interrupted(): void {
    let kept = 0;
    for (const [topic, { payload }] of this.#unconfirmed) {
      if (this.#waiting.has(topic)) continue;
      this.#waiting.set(topic, payload);
      kept++;
    }
    this.replaced += this.#sent - this.#confirmed - kept;
    this.#unconfirmed.clear();
    this.#confirmed = this.#sent;
  }

  #trySend(topic: string, payload: string): boolean {
    if (!this.#post(topic, payload)) return false;
    // Anew, so that the map is in the order of sending.
    this.#unconfirmed.delete(topic);
    this.#unconfirmed.set(topic, { payload, number: ++this.#sent });
    return true;
  }
}
