import type { StreamReference } from '../decide/stream-reference.ts';
import type { StreamGateway } from '../stream/stream-gateway.ts';
import type { InferenceThread } from './inference-thread.ts';
import type { ReferenceStore } from './reference-store.ts';

/** Brings commissioning references to where they are used: on disk, and in the row of the reference bank that follows the stream's slot. */
export class StreamReferences {
  readonly #inference: Pick<InferenceThread, 'setReference'>;
  readonly #store: Pick<ReferenceStore, 'write'>;
  readonly #base: string;
  readonly #known: Map<string, StreamReference>;
  readonly #onWriteError: (error: Error) => void;

  /** @param known references of this base, as read from disk */
  constructor(
    inference: Pick<InferenceThread, 'setReference'>,
    store: Pick<ReferenceStore, 'write'>,
    base: string,
    known: Map<string, StreamReference>,
    onWriteError: (error: Error) => void,
  ) {
    this.#inference = inference;
    this.#store = store;
    this.#base = base;
    this.#known = known;
    this.#onWriteError = onWriteError;
  }

  /** The same references in another inference thread that runs the same base. */
  movedTo(inference: Pick<InferenceThread, 'setReference'>): StreamReferences {
    return new StreamReferences(inference, this.#store, this.#base, this.#known, this.#onWriteError);
  }

  /** The reference of a stream, [R]. */
  of(stream: string): Float32Array | undefined {
    return this.#known.get(stream)?.values;
  }

  /** A stream was given a slot. @returns its row of the reference bank; 0 where it has no reference yet */
  open(stream: string, slot: number): number {
    const known = this.#known.get(stream);
    if (!known) return 0;
    this.#inference.setReference(slot + 1, known.values);
    return slot + 1;
  }

  /** A stream has seen enough healthy windows. The reference is used at once; where the disk is full, it is made anew after a restart. */
  commissioned(streams: StreamGateway, stream: string, values: Float32Array, windows: number): void {
    const reference = { stream, base: this.#base, windows, values };
    this.#known.set(stream, reference);
    const slot = streams.slotOf(stream);
    if (slot !== undefined) streams.setReference(stream, this.open(stream, slot));
    this.#store.write(reference).catch(this.#onWriteError);
  }
}
