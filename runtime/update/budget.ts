import { UpdateRefusalError } from './refusal.ts';

/** Bytes that an update may move over the network, whatever they were: chunks that nobody needed and questions count too. */
export class Budget {
  readonly limitBytes: number;
  #spent: number;

  /** @param spentBytes what an earlier run moved */
  constructor(limitBytes: number, spentBytes = 0) {
    this.limitBytes = limitBytes;
    this.#spent = spentBytes;
  }

  get spentBytes(): number {
    return this.#spent;
  }

  /** @throws UpdateRefusalError update/budget where more has come than may */
  spend(bytes: number): void {
    this.#spent += bytes;
    if (this.#spent > this.limitBytes)
      throw new UpdateRefusalError('update/budget', `${this.#spent} bytes have come where the update may move ${this.limitBytes}`);
  }

  /** @throws UpdateRefusalError update/budget where so much more would be too much */
  need(bytes: number): void {
    if (this.#spent + bytes > this.limitBytes)
      throw new UpdateRefusalError(
        'update/budget',
        `needs ${bytes} bytes more, has moved ${this.#spent}, and may move ${this.limitBytes}: push again with a larger budget`,
      );
  }

  /** How many things of `bytes` may still come beside `expected` bytes that are on their way. */
  room(bytes: number, expected: number): number {
    return Math.max(0, Math.floor((this.limitBytes - this.#spent - expected) / bytes));
  }
}
