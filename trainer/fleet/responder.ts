import { CHUNK_BYTES, encodeChunk, sentChunks } from '../../runtime/contracts/chunk.ts';
import { parsePayload } from '../../runtime/contracts/payload.ts';
import { gatewayTopics, siteTopics } from '../../runtime/contracts/topics.ts';
import { LARGEST_WINDOW, type UpdateRequest, updateRequestSchema } from '../../runtime/contracts/update.ts';
import { ChunkQueue } from './chunk-queue.ts';
import type { ObjectPart } from './repository.ts';

/** A request of all that it may name is shorter. */
const LARGEST_REQUEST_BYTES = 4096;

/** Requests that one gateway may make a second; what is beyond is not answered. */
const REQUESTS_PER_SECOND = 50;

/** Objects of which it is known what was sent already; for the counters alone. */
const REMEMBERED_OBJECTS = 4096;

/** Chunks sent in a row before other work has its turn. */
const BURST = 16;

export interface ResponderOptions {
  /** How long the next gateway's request is waited for before an object goes out, milliseconds. */
  readonly collectMs: number;
  /** Largest rate of all chunks together. */
  readonly bytesPerSecond: number;
}

export const RESPONDER_DEFAULTS: ResponderOptions = { collectMs: 200, bytesPerSecond: 4_000_000 };

export interface ResponderWorld {
  /** At most `length` bytes from `from` on of what a site may have by that name; undefined where it may not, or there is none. */
  read(site: string, object: string, from: number, length: number): Promise<ObjectPart | undefined>;
  /** How many gateways of a site are likely to ask for an object that one of them asks for. */
  expected(site: string, object: string): number;
  /** QoS 0 for chunks. Resolves when the connection has taken it. */
  send(topic: string, payload: Uint8Array, qos: 0 | 1): Promise<void>;
  nowMs(): number;
  /** An object could not be read. What was asked of it is forgotten: it is asked for again. */
  onUnreadable(object: string, error: Error): void;
}

export interface ResponderCounters {
  requests: number;
  /** Not JSON of the schema, too large, too many chunks at once. */
  requestsInvalid: number;
  /** Beyond what one gateway may ask in a second. */
  requestsIgnored: number;
  refusals: number;
  chunksPublished: number;
  /** Chunks with another content or place: what would have been enough if nothing had been lost. */
  chunksDistinct: number;
  /** PUBLISH packets of chunks and refusals towards the broker, heads included. */
  bytesOnWire: number;
}

/**
 * Answers what gateways ask for. Each chunk goes out once on the site's shared topic for all that ask together, no faster than allowed; what is
 * lost is asked for again. Requests are trusted in nothing: size, form, names, number and rate are bounded, and a site gets its own objects only.
 */
export class Responder {
  readonly counters: ResponderCounters = {
    requests: 0,
    requestsInvalid: 0,
    requestsIgnored: 0,
    refusals: 0,
    chunksPublished: 0,
    chunksDistinct: 0,
    bytesOnWire: 0,
  };
  readonly #world: ResponderWorld;
  readonly #options: ResponderOptions;
  readonly #queues = new Map<string, ChunkQueue>();
  /** Requests of each gateway in this second. */
  readonly #requests = new Map<string, number>();
  #second = 0;
  readonly #sent = new Map<string, Set<number>>();
  #pumping: Promise<void> | undefined;
  /** Ends a pause of the pump. */
  #awake: () => void = () => {};
  #closed = false;

  constructor(world: ResponderWorld, options: ResponderOptions) {
    this.#world = world;
    this.#options = options;
  }

  async onRequest(site: string, gateway: string, payload: Uint8Array): Promise<void> {
    this.counters.requests++;
    if (this.#isTooOften(`${site}/${gateway}`)) {
      this.counters.requestsIgnored++;
      return;
    }
    const request = parseRequest(payload);
    if (!request) {
      this.counters.requestsInvalid++;
      return;
    }
    const { object, ranges } = request;
    let part: ObjectPart | undefined;
    try {
      part = await this.#world.read(site, object, 0, 0);
    } catch (error) {
      this.#world.onUnreadable(object, error as Error);
      return;
    }
    if (this.#closed) return;
    if (!part) {
      await this.#refuse(site, gateway, object);
      return;
    }
    const chunks = sentChunks(part.objectBytes);
    const queue = this.#queues.get(site) ?? new ChunkQueue(this.#options.collectMs);
    this.#queues.set(site, queue);
    queue.ask(
      object,
      ranges.map(([from, to]): [number, number] => [from, Math.min(to, chunks)]),
      this.#world.nowMs(),
      gateway,
      this.#world.expected(site, object),
    );
    this.#wake();
  }

  /** Sends no more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#awake();
    await this.#pumping;
  }

  #isTooOften(name: string): boolean {
    const second = Math.floor(this.#world.nowMs() / 1000);
    if (second !== this.#second) this.#requests.clear();
    this.#second = second;
    const requests = (this.#requests.get(name) ?? 0) + 1;
    this.#requests.set(name, requests);
    return requests > REQUESTS_PER_SECOND;
  }

  async #refuse(site: string, gateway: string, object: string): Promise<void> {
    this.counters.refusals++;
    const reason = 'the repository has no such object for this site';
    await this.#send(gatewayTopics(site, gateway).updateRefusal, new TextEncoder().encode(JSON.stringify({ object, reason })), 1);
  }

  #wake(): void {
    this.#awake();
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = undefined;
      // What was asked for between its last look and this.
      if (!this.#closed && [...this.#queues.values()].some((queue) => queue.waiting > 0)) this.#wake();
    });
  }

  async #pump(): Promise<void> {
    let freeMs = this.#world.nowMs();
    for (let sent = 1; !this.#closed; sent++) {
      const nowMs = this.#world.nowMs();
      const waiting = [...this.#queues].filter(([, queue]) => queue.waiting > 0);
      if (waiting.length === 0) return;
      const readyMs = Math.min(...waiting.map(([, queue]) => queue.nextMs()!));
      const waitMs = Math.max(readyMs, freeMs) - nowMs;
      if (waitMs > 0) {
        await this.#sleep(Math.ceil(waitMs));
        continue;
      }
      const [site, queue] = waiting.find(([, one]) => one.nextMs()! <= nowMs)!;
      const chunk = queue.take(nowMs)!;
      // To the end of the line: sites take turns as objects do.
      this.#queues.delete(site);
      this.#queues.set(site, queue);
      let part: ObjectPart | undefined;
      try {
        part = await this.#world.read(site, chunk.object, chunk.index * CHUNK_BYTES, CHUNK_BYTES);
      } catch (error) {
        queue.forget(chunk.object);
        this.#world.onUnreadable(chunk.object, error as Error);
      }
      if (!part) continue;
      const before = this.counters.bytesOnWire;
      await this.#sendChunk(site, chunk.object, chunk.index, part);
      freeMs = Math.max(freeMs, nowMs) + (1000 * (this.counters.bytesOnWire - before)) / this.#options.bytesPerSecond;
      if (sent % BURST === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Until then, or until a request has come: it may have been the last that was waited for. */
  async #sleep(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#awake = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
  }

  async #sendChunk(site: string, object: string, index: number, { objectBytes, bytes }: ObjectPart): Promise<void> {
    this.counters.chunksPublished++;
    const name = `${site}/${object}`;
    const seen = this.#sent.get(name) ?? new Set<number>();
    if (!seen.has(index)) this.counters.chunksDistinct++;
    this.#sent.set(name, seen.add(index));
    if (this.#sent.size > REMEMBERED_OBJECTS) this.#sent.delete(this.#sent.keys().next().value!);
    await this.#send(siteTopics(site).chunk(object, index), encodeChunk(objectBytes, bytes), 0);
  }

  async #send(topic: string, payload: Uint8Array, qos: 0 | 1): Promise<void> {
    this.counters.bytesOnWire += publishBytes(topic, payload.length, qos);
    // A connection that is lost loses what is in flight; the gateway asks again.
    await this.#world.send(topic, payload, qos).catch(() => {});
  }
}

function parseRequest(payload: Uint8Array): UpdateRequest | undefined {
  if (payload.length > LARGEST_REQUEST_BYTES) return undefined;
  const request = parsePayload(payload, updateRequestSchema);
  const asked = request?.ranges.reduce((sum, [from, to]) => sum + Math.max(0, to - from), 0) ?? 0;
  return asked > 0 && asked <= LARGEST_WINDOW ? request : undefined;
}

/** Bytes of a PUBLISH packet (MQTT 3.1.1, 3.3): type, remaining length, topic with its length, identifier, payload. */
function publishBytes(topic: string, payloadBytes: number, qos: 0 | 1): number {
  const remaining = 2 + topic.length + (qos === 0 ? 0 : 2) + payloadBytes;
  return 1 + (remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3) + remaining;
}
