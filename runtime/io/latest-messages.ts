/** Messages on their way to the broker at once. Enough for a plant's aligned windows, few enough to be lost with a connection. */
const LARGEST_IN_FLIGHT = 1024;

/** How a message leaves: false where it cannot now; otherwise `done` is told once whether it was acknowledged. */
export type Publish = (topic: string, payload: string, retain: boolean, done: (delivered: boolean) => void) => boolean;

interface Message {
  readonly payload: string;
  /** Of two messages of a topic, the newer has the larger. */
  readonly order: number;
}

/**
 * Retained messages, of which only the newest of a topic matters: while the broker is away or slow, one of each topic waits and those that a newer
 * one replaced are counted. So memory is bounded by the number of topics, whatever happens.
 */
export class LatestMessages {
  /** Messages that a newer one of their topic replaced before they could be sent. */
  replaced = 0;

  readonly #publish: Publish;
  readonly #waiting = new Map<string, Message>();
  readonly #largestInFlight: number;
  #inFlight = 0;
  #sent = 0;

  constructor(publish: Publish, largestInFlight = LARGEST_IN_FLIGHT) {
    this.#publish = publish;
    this.#largestInFlight = largestInFlight;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  send(topic: string, payload: string): void {
    // An older one that waits would otherwise arrive behind this one.
    if (this.#waiting.delete(topic)) this.replaced++;
    const message = { payload, order: this.#sent++ };
    if (!this.#trySend(topic, message)) this.#waiting.set(topic, message);
  }

  /** Sends what waits, as far as it goes. To be called when the connection stands again. */
  flush(): void {
    for (const [topic, message] of this.#waiting) {
      // First, since the answer may come before the call returns.
      this.#waiting.delete(topic);
      if (this.#trySend(topic, message)) continue;
      this.#waiting.set(topic, message);
      return;
    }
  }

  #trySend(topic: string, message: Message): boolean {
    if (this.#inFlight >= this.#largestInFlight) return false;
    this.#inFlight++;
    const taken = this.#publish(topic, message.payload, true, (delivered) => {
      this.#inFlight--;
      if (delivered) this.flush();
      else this.#putBack(topic, message);
    });
    if (!taken) this.#inFlight--;
    return taken;
  }

  /** A connection that is lost gives back all that was in flight: of one topic perhaps several. */
  #putBack(topic: string, message: Message): void {
    const other = this.#waiting.get(topic);
    if (other) this.replaced++;
    if (!other || other.order < message.order) this.#waiting.set(topic, message);
  }
}
