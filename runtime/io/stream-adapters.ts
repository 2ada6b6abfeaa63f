import { bankRow } from '../../models/adapters/scheme.ts';
import { bankLayout, readAdapter, sha256 } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import type { StreamGateway } from '../stream/stream-gateway.ts';
import type { AdapterStore } from './adapter-store.ts';
import type { InferenceThread } from './inference-thread.ts';

type Store = Pick<AdapterStore, 'read' | 'write' | 'remove' | 'sync'>;

/**
 * Brings adapters to where they are used: the row of the adapter bank that follows the stream's slot. A stream that goes gives its row back; the file
 * stays, and is read again when the stream returns. Only the bank holds the numbers.
 */
export class StreamAdapters {
  readonly #inference: Pick<InferenceThread, 'setAdapter'>;
  readonly #manifest: Manifest;
  readonly #store: Store | undefined;
  readonly #onError: (error: Error, stream: string) => void;
  /** SHA-256 of the files whose numbers are in the bank, by stream. */
  readonly #held = new Map<string, string>();
  /** Given, and not on disk yet. */
  #unsaved = new Map<string, Uint8Array>();
  /** What was given last and could not be kept, by stream. */
  #unkept = new Map<string, Error>();
  /** Writes follow each other, so that the last one stays. */
  #saving: Promise<void> = Promise.resolve();

  /** @param store without it, adapters are forgotten at the end @param onError an adapter is not used, or not kept */
  constructor(
    inference: Pick<InferenceThread, 'setAdapter'>,
    manifest: Manifest,
    store: Store | undefined,
    onError: (error: Error, stream: string) => void,
  ) {
    this.#inference = inference;
    this.#manifest = manifest;
    this.#store = store;
    this.#onError = onError;
  }

  /** The same files for another inference thread: those that fit its bundle are used. To be called when it takes over. */
  movedTo(inference: Pick<InferenceThread, 'setAdapter'>, manifest: Manifest): StreamAdapters {
    const moved = new StreamAdapters(inference, manifest, this.#store, this.#onError);
    // The same maps: what is being written now is crossed out when it is.
    moved.#unsaved = this.#unsaved;
    moved.#unkept = this.#unkept;
    moved.#saving = this.#saving;
    return moved;
  }

  /** SHA-256 of each stream's adapter, as the bank holds it. */
  get digests(): Record<string, string> {
    return Object.fromEntries(this.#held);
  }

  digestOf(stream: string): string | undefined {
    return this.#held.get(stream);
  }

  /** The file that decides a stream's windows; undefined for the base, and where there is one that cannot be used. */
  fileOf(stream: string): Uint8Array | undefined {
    const bytes = this.bytesOf(stream);
    return bytes && this.#held.get(stream) === sha256(bytes) ? bytes : undefined;
  }

  /** A stream was given a slot. @returns its row of the adapter bank; 0 where it has no adapter, or one of another base, rank or shape */
  open(stream: string, slot: number): number {
    try {
      const bytes = this.bytesOf(stream);
      return bytes ? this.#hold(stream, slot, bytes, this.#rowOf(stream, bytes)) : 0;
    } catch (error) {
      this.#onError(error as Error, stream);
      return 0;
    }
  }

  /** A stream has lost its slot. */
  free(stream: string): void {
    this.#held.delete(stream);
  }

  /**
   * Decides a stream's windows that are cut from now on with another adapter, and keeps it over a restart; one that is refused changes nothing.
   *
   * @param bytes a safetensors file; undefined for what the configuration names, or none
   * @returns SHA-256 of the file that decides now; undefined where the base decides
   * @throws BundleRefusal bundle/tensors, bundle/not-finite, bundle/adapter
   */
  set(streams: StreamGateway, stream: string, bytes: Uint8Array | undefined): string | undefined {
    const row = bytes && this.#rowOf(stream, bytes);
    if (bytes) this.#save(stream, bytes);
    else this.#remove(stream);
    const slot = streams.slotOf(stream);
    if (slot === undefined) return bytes && sha256(bytes);
    this.#held.delete(stream);
    streams.setAdapter(stream, bytes && row ? this.#hold(stream, slot, bytes, row) : this.open(stream, slot));
    return this.#held.get(stream);
  }

  /** Resolves when what was given is on disk, or is known not to be. */
  async settled(): Promise<void> {
    await this.#saving;
  }

  /** Resolves when what a stream was given last is on disk. @throws Error of the file system where it is not */
  async saved(stream: string): Promise<void> {
    await this.#saving;
    const error = this.#unkept.get(stream);
    if (error) throw error;
  }

  /** The file that a stream has, or would be decided with if it came. */
  bytesOf(stream: string): Uint8Array | undefined {
    return this.#unsaved.get(stream) ?? this.#store?.read(stream);
  }

  #rowOf(stream: string, bytes: Uint8Array): Float32Array<ArrayBuffer> {
    const layout = bankLayout(this.#manifest);
    const flat = readAdapter({ manifest: this.#manifest }, bytes, `adapter of ${stream}`);
    return new Float32Array(bankRow(this.#manifest.adapter, layout, flat));
  }

  #hold(stream: string, slot: number, bytes: Uint8Array, row: Float32Array<ArrayBuffer>): number {
    this.#inference.setAdapter(slot + 1, row);
    this.#held.set(stream, sha256(bytes));
    return slot + 1;
  }

  #save(stream: string, bytes: Uint8Array): void {
    this.#unsaved.set(stream, bytes);
    this.#queue(stream, async (store) => {
      await store.write(stream, bytes);
      // A newer one may have come meanwhile.
      if (this.#unsaved.get(stream) === bytes) this.#unsaved.delete(stream);
    });
  }

  #remove(stream: string): void {
    this.#unsaved.delete(stream);
    // At once, for it is read again in a moment; and behind a write that is under way.
    this.#store?.remove(stream);
    this.#queue(stream, async (store) => {
      if (this.#unsaved.has(stream)) return;
      store.remove(stream);
      await store.sync();
    });
  }

  #queue(stream: string, work: (store: Store) => void | Promise<void>): void {
    const store = this.#store;
    if (!store) return;
    this.#saving = this.#saving
      .then(() => work(store))
      .then(
        () => void this.#unkept.delete(stream),
        (error: Error) => {
          this.#unkept.set(stream, error);
          this.#onError(error, stream);
        },
      );
  }
}
