import { parsePayload } from '../contracts/payload.ts';
import { type UpdateRequest, updateRefusalSchema } from '../contracts/update.ts';
import type { Budget } from '../update/budget.ts';
import type { ChunkMap } from '../update/chunk-map.ts';
import { UpdateRefusalError } from '../update/refusal.ts';
import { RoundTrip } from '../update/round-trip.ts';
import { CHUNK_WIRE_BYTES, LEAST_WINDOW, MOST_WINDOW, type ObjectSize, Transfer } from '../update/transfer.ts';

/** What fetching asks of a connection. */
export interface FetchLink {
  readonly online: boolean;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  /** With QoS 0: what is lost is asked for again. */
  post(topic: string, payload: Uint8Array, retain: boolean): boolean;
}

/** Where the chunks of an object go. */
export interface ChunkSink {
  /** Chunks that were taken and are not safe yet. */
  readonly unsaved: number;
  write(index: number, bytes: Uint8Array): void;
}

export interface FetchJob {
  readonly object: string;
  readonly size: ObjectSize;
  /** What an earlier run has of it. */
  readonly have?: ChunkMap;
  readonly sink: ChunkSink;
  readonly budget: Budget;
}

interface Fetch extends FetchJob {
  readonly transfer: Transfer;
  readonly topic: string;
  readonly resolve: (length: number) => void;
  readonly reject: (error: Error) => void;
}

/** How often what is late is looked for, milliseconds. */
const TICK_MS = 100;

/**
 * Fetches objects by chunks over a broker, several at a time within one window. It listens to an object's chunks only while it fetches it, and asks for
 * no more than the disk keeps up with.
 */
export class UpdateFetcher {
  readonly #link: FetchLink;
  readonly #requestTopic: string;
  readonly #chunkTopics: (object: string) => string;
  readonly #now: () => number;
  /** Of the link, whatever object it is measured with. */
  readonly #roundTrip = new RoundTrip();
  readonly #fetches = new Map<string, Fetch>();
  /** Chunks in flight at the most: halved when the link breaks, which loses them all, and back again by one for each window that has come. */
  #mostWindow = MOST_WINDOW;
  #timer: NodeJS.Timeout | undefined;

  /** @param chunkTopics the filter that all chunks of an object match; its last level is `+` */
  constructor(link: FetchLink, topics: { readonly request: string; readonly chunks: (object: string) => string }, now: () => number) {
    this.#link = link;
    this.#requestTopic = topics.request;
    this.#chunkTopics = topics.chunks;
    this.#now = now;
  }

  /**
   * Resolves when every chunk has come and was handed to the sink; whether they are right, the whole's digest shows. Ends with a signal.
   *
   * @returns length of the object, bytes
   * @throws UpdateRefusalError
   */
  async fetch(job: FetchJob, signal: AbortSignal): Promise<number> {
    signal.throwIfAborted();
    if (this.#fetches.has(job.object)) throw new Error(`${job.object} is being fetched`);
    const transfer = new Transfer(job.object, job.size, this.#roundTrip, this.#now(), job.have);
    if (transfer.complete) return transfer.have!.length;
    const topic = this.#chunkTopics(job.object);
    let onAbort: (() => void) | undefined;
    try {
      return await new Promise<number>((resolve, reject) => {
        onAbort = () => reject(signal.reason);
        signal.addEventListener('abort', onAbort);
        this.#fetches.set(job.object, { ...job, transfer, topic, resolve, reject });
        this.#link.subscribe(topic);
        this.#timer ??= setInterval(() => this.#pump(), TICK_MS);
        this.#pump();
      });
    } finally {
      signal.removeEventListener('abort', onAbort!);
      this.#fetches.delete(job.object);
      this.#link.unsubscribe(topic);
      if (this.#fetches.size === 0) {
        clearInterval(this.#timer);
        this.#timer = undefined;
      }
    }
  }

  /** @returns whether the message was a chunk of an object that is being fetched */
  take(topic: string, payload: Uint8Array): boolean {
    const levels = topic.split('/');
    const fetch = this.#fetches.get(levels.at(-2) ?? '');
    if (!fetch || !topic.startsWith(fetch.topic.slice(0, -1))) return false;
    this.#guard(fetch, () => {
      fetch.budget.spend(topic.length + payload.length);
      const index = levels.at(-1)!;
      const chunk = /^\d{1,7}$/.test(index) ? fetch.transfer.accept(Number(index), payload, this.#now()) : undefined;
      if (chunk) {
        fetch.sink.write(chunk.index, chunk.bytes);
        this.#mostWindow = Math.min(MOST_WINDOW, this.#mostWindow + 1 / this.#mostWindow);
      }
      if (fetch.transfer.complete) fetch.resolve(fetch.transfer.have!.length);
    });
    this.#pump();
    return true;
  }

  /** The server says why an object does not come. */
  refused(payload: Uint8Array): void {
    const said = parsePayload(payload, updateRefusalSchema);
    const fetch = said && this.#fetches.get(said.object);
    fetch?.reject(new UpdateRefusalError('update/missing', `the server does not send ${said!.object}: ${said!.reason}`));
  }

  /** The connection is back: what was asked for on the one before is lost. */
  resume(): void {
    if (this.#fetches.size > 0) this.#mostWindow = Math.max(LEAST_WINDOW, this.#mostWindow / 2);
    for (const { transfer } of this.#fetches.values()) transfer.resume(this.#now());
    this.#pump();
  }

  #pump(): void {
    if (!this.#link.online) return;
    let used = 0;
    for (const { transfer, sink } of this.#fetches.values()) used += transfer.inFlight + sink.unsaved;
    for (const fetch of this.#fetches.values())
      this.#guard(fetch, () => {
        used += this.#ask(fetch, Math.floor(this.#mostWindow) - used);
      });
  }

  /** @returns chunks that were asked for */
  #ask({ transfer, budget, topic }: Fetch, room: number): number {
    const wireBytes = CHUNK_WIRE_BYTES + topic.length + 8;
    const affordable = budget.room(wireBytes, transfer.inFlight * wireBytes);
    if (affordable === 0 && transfer.inFlight === 0) budget.need(wireBytes);
    const request = transfer.due(this.#now(), Math.min(room, affordable));
    if (!request) return 0;
    const text = JSON.stringify(request satisfies UpdateRequest);
    budget.spend(this.#requestTopic.length + text.length);
    this.#link.post(this.#requestTopic, Buffer.from(text), false);
    return request.ranges.reduce((sum, [from, to]) => sum + to - from, 0);
  }

  #guard(fetch: Fetch, work: () => void): void {
    try {
      work();
    } catch (error) {
      fetch.reject(error as Error);
    }
  }
}
