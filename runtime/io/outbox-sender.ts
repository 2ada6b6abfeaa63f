import type { Outbox } from './outbox.ts';

/** Messages sent and not acknowledged at once. */
const LARGEST_IN_FLIGHT = 16;

/** How a message leaves; see `BrokerLink.publish`. */
export type PublishBytes = (topic: string, payload: Uint8Array, retain: boolean, done: (delivered: boolean) => void) => boolean;

/**
 * Empties an outbox through a connection: in order, a few at a time, and from the last that was acknowledged where the connection was lost. `tick` is
 * called when something may have changed: a message was stored, or the connection stands.
 */
export class OutboxSender {
  readonly #outbox: Outbox;
  readonly #publish: PublishBytes;
  readonly #onError: (error: Error) => void;
  #running = false;
  #again = false;

  constructor(outbox: Outbox, publish: PublishBytes, onError: (error: Error) => void) {
    this.#outbox = outbox;
    this.#publish = publish;
    this.#onError = onError;
  }

  tick(): void {
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    this.#again = false;
    this.#sendAll()
      .catch((error: Error) => this.#onError(error))
      .finally(() => {
        this.#running = false;
        if (this.#again) this.tick();
      });
  }

  /** Sends until nothing is left or the connection is gone. */
  async #sendAll(): Promise<void> {
    for (;;) {
      const messages = await this.#outbox.read(0, LARGEST_IN_FLIGHT);
      if (messages.length === 0) return;
      const acknowledged = await Promise.all(
        messages.map(
          ({ topic, payload, retain }) =>
            new Promise<boolean>((resolve) => {
              if (!this.#publish(topic, payload, retain, resolve)) resolve(false);
            }),
        ),
      );
      // The unbroken run from the first: what comes behind a lost one is sent again after it.
      const firstLost = acknowledged.indexOf(false);
      const arrived = firstLost < 0 ? messages.length : firstLost;
      if (arrived > 0) this.#outbox.acknowledge(messages[arrived - 1].number);
      if (firstLost >= 0) return;
    }
  }
}
