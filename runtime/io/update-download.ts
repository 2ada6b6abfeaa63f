import type { Budget } from '../update/budget.ts';
import { type BundleObject, bundleObjects } from '../update/bundle-objects.ts';
import { chunkCount } from '../update/chunk-map.ts';
import type { Wanted } from '../update/record.ts';
import { UpdateRefusalError } from '../update/refusal.ts';
import type { UpdateFetcher } from './update-fetcher.ts';
import type { ObjectStore } from './update-objects.ts';

/** Objects that are fetched at a time: one that waits for its last chunks must not leave the link idle. */
const AT_A_TIME = 4;

/** A manifest says kilobytes; a signed length beyond this can only be a mistake. */
const LARGEST_MANIFEST_BYTES = 1 << 20;

export interface DownloadProgress {
  /** Bytes of the update's objects that are on disk and proved, and bytes in all. */
  readonly have: number;
  readonly total: number;
}

/** Brings all objects of an update into the store; what is there already is not asked for. */
export class Download {
  readonly #fetcher: UpdateFetcher;
  readonly #store: ObjectStore;
  readonly #budget: Budget;
  readonly #onProgress: (progress: DownloadProgress) => void;
  #have = 0;
  #total = 0;

  /** @param onProgress called whenever an object is whole */
  constructor(fetcher: UpdateFetcher, store: ObjectStore, budget: Budget, onProgress: (progress: DownloadProgress) => void) {
    this.#fetcher = fetcher;
    this.#store = store;
    this.#budget = budget;
    this.#onProgress = onProgress;
  }

  /** @throws UpdateRefusalError; the signal's reason */
  async run({ target, sha256, length }: Wanted, signal: AbortSignal): Promise<void> {
    if (target.kind === 'bundle' && length > LARGEST_MANIFEST_BYTES)
      throw new UpdateRefusalError('update/bundle', `a manifest of ${length} bytes is none`);
    await this.#all([{ sha256, length }], signal);
    if (target.kind === 'bundle') await this.#all(bundleObjects((await this.#store.read(sha256))!, target), signal);
  }

  async #all(objects: readonly Pick<BundleObject, 'sha256' | 'length'>[], signal: AbortSignal): Promise<void> {
    // Two files of a bundle may hold the same bytes.
    const lengths = new Map(objects.map(({ sha256, length }) => [sha256, length]));
    const missing: { object: string; length: number }[] = [];
    for (const [object, length] of lengths) {
      this.#total += length;
      if (await this.#store.proves(object)) this.#have += length;
      else missing.push({ object, length });
    }
    this.#budget.need(missing.reduce((sum, { length }) => sum + length, 0) - (await this.#known(missing)));
    this.#onProgress({ have: this.#have, total: this.#total });
    const ended = new AbortController();
    const both = AbortSignal.any([signal, ended.signal]);
    const queue = missing.values();
    const work = async () => {
      for (const { object, length } of queue) await this.#fetch(object, length, both);
    };
    const working = Array.from({ length: AT_A_TIME }, work);
    try {
      await Promise.all(working);
    } finally {
      ended.abort(new Error('another object of the update has failed'));
      // Who comes after may remove what they still write.
      await Promise.allSettled(working);
    }
  }

  /** Bytes that earlier runs have of objects that are not whole. */
  async #known(missing: readonly { object: string; length: number }[]): Promise<number> {
    let bytes = 0;
    for (const { object, length } of missing) bytes += (await this.#store.partial(object, length)).map().bytes;
    return bytes;
  }

  async #fetch(object: string, length: number, signal: AbortSignal): Promise<void> {
    // Bytes that are not the signed ones may be the fault of a disk or of somebody who could publish for once: all of them are fetched once more.
    for (const chance of ['first', 'last']) {
      const partial = await this.#store.partial(object, length);
      try {
        await this.#fetcher.fetch({ object, size: { length }, have: partial.map(), sink: partial, budget: this.#budget }, signal);
      } finally {
        await onDisk(partial.flush());
      }
      if (await onDisk(partial.finish())) {
        this.#have += length;
        this.#onProgress({ have: this.#have, total: this.#total });
        return;
      }
      if (chance === 'last')
        throw new UpdateRefusalError(
          'update/hash',
          `${chunkCount(length)} chunks of ${object} came twice and were not what was signed: arbitrary software attack`,
        );
    }
  }
}

async function onDisk<T>(work: Promise<T>): Promise<T> {
  return work.catch((cause: Error) => {
    throw new UpdateRefusalError('update/disk', cause.message, { cause });
  });
}
