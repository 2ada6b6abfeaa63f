import { gatewayTopics, siteTopics } from '../../runtime/contracts/topics.ts';
import { CHUNK_BYTES, CHUNK_HEAD_BYTES, LARGEST_WINDOW, type UpdateRequest, updateRequestSchema } from '../../runtime/contracts/update.ts';
import { ChunkQueue } from './chunk-queue.ts';

/** A request of all that it may name is shorter. */
const LARGEST_REQUEST_BYTES = 4096;

/** Requests that one gateway may make a second; what is beyond is not answered. */
const REQUESTS_PER_SECOND = 50;

/** Objects that stay in memory. */
const CACHED_BYTES = 16 << 20;

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
  /** What a site may have by that name; undefined where it may not, or there is none. */
  read(site: string, object: string): Promise<Uint8Array | undefined>;
  /** How many gateways of a site are likely to ask for an object that one of them asks for. */
  expected(site: string, object: string): number;
  /** QoS 0 for chunks. Resolves when the connection has taken it. */
  send(topic: string, payload: Uint8Array, qos: 0 | 1): Promise<void>;
  nowMs(): number;
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
  readonly #rates = new Map<string, { second: number; requests: number }>();
  readonly #cache = new Map<string, Uint8Array>();
  readonly #sent = new Map<string, Set<number>>();
  #cachedBytes = 0;
  #pumping: Promise<void> | undefined;
  #wake: () => void = () => {};
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
    const bytes = await this.#read(site, object);
    if (this.#closed) return;
    if (!bytes) {
      await this.#refuse(site, gateway, object);
      return;
    }
    const chunks = chunkCount(bytes.length);
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
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = undefined;
    });
  }

  /** Sends no more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    await this.#pumping;
  }

  #isTooOften(name: string): boolean {
    const second = Math.floor(this.#world.nowMs() / 1000);
    const rate = this.#rates.get(name);
    if (rate?.second === second) return ++rate.requests > REQUESTS_PER_SECOND;
    this.#rates.set(name, { second, requests: 1 });
    return false;
  }

  async #refuse(site: string, gateway: string, object: string): Promise<void> {
    this.counters.refusals++;
    const reason = 'the repository has no such object for this site';
    await this.#send(gatewayTopics(site, gateway).updateRefusal, new TextEncoder().encode(JSON.stringify({ object, reason })), 1);
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
      const bytes = await this.#read(site, chunk.object);
      if (!bytes) continue;
      const before = this.counters.bytesOnWire;
      await this.#sendChunk(site, chunk.object, chunk.index, bytes);
      freeMs = Math.max(freeMs, nowMs) + (1000 * (this.counters.bytesOnWire - before)) / this.#options.bytesPerSecond;
      if (sent % BURST === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Until then, or until a request has come: it may have been the last that was waited for. */
  async #sleep(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
  }

  async #sendChunk(site: string, object: string, index: number, bytes: Uint8Array): Promise<void> {
    this.counters.chunksPublished++;
    const name = `${site}/${object}`;
    const seen = this.#sent.get(name) ?? new Set<number>();
    if (!seen.has(index)) this.counters.chunksDistinct++;
    this.#sent.set(name, seen.add(index));
    if (this.#sent.size > REMEMBERED_OBJECTS) this.#sent.delete(this.#sent.keys().next().value!);
    await this.#send(siteTopics(site).chunk(object, index), chunkPayload(bytes, index), 0);
  }

  async #send(topic: string, payload: Uint8Array, qos: 0 | 1): Promise<void> {
    this.counters.bytesOnWire += publishBytes(topic, payload.length, qos);
    // A connection that is lost loses what is in flight; the gateway asks again.
    await this.#world.send(topic, payload, qos).catch(() => {});
  }

  async #read(site: string, object: string): Promise<Uint8Array | undefined> {
    const name = `${site}/${object}`;
    const cached = this.#cache.get(name);
    if (cached) return cached;
    const bytes = await this.#world.read(site, object);
    // All but the timestamp never change under their name.
    if (!bytes || object === 'timestamp.json') return bytes;
    while (this.#cachedBytes + bytes.length > CACHED_BYTES && this.#cache.size > 0) {
      const [oldest, { length }] = this.#cache.entries().next().value!;
      this.#cache.delete(oldest);
      this.#cachedBytes -= length;
    }
    if (!this.#cache.has(name)) this.#cachedBytes += bytes.length;
    this.#cache.set(name, bytes);
    return bytes;
  }
}

function parseRequest(payload: Uint8Array): UpdateRequest | undefined {
  if (payload.length > LARGEST_REQUEST_BYTES) return undefined;
  let raw: unknown;
  try {
    raw = JSON.parse(new TextDecoder().decode(payload));
  } catch {
    return undefined;
  }
  const parsed = updateRequestSchema.safeParse(raw);
  if (!parsed.success) return undefined;
  const asked = parsed.data.ranges.reduce((sum, [from, to]) => sum + Math.max(0, to - from), 0);
  return asked > 0 && asked <= LARGEST_WINDOW ? parsed.data : undefined;
}

/** An object of no bytes is one chunk of none, so that its length can be told. */
export function chunkCount(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / CHUNK_BYTES));
}

export function chunkPayload(bytes: Uint8Array, index: number): Uint8Array {
  const part = bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
  const payload = new Uint8Array(CHUNK_HEAD_BYTES + part.length);
  new DataView(payload.buffer).setUint32(0, bytes.length, true);
  payload.set(part, CHUNK_HEAD_BYTES);
  return payload;
}

/** Bytes of a PUBLISH packet (MQTT 3.1.1, 3.3): type, remaining length, topic with its length, identifier, payload. */
function publishBytes(topic: string, payloadBytes: number, qos: 0 | 1): number {
  const remaining = 2 + topic.length + (qos === 0 ? 0 : 2) + payloadBytes;
  return 1 + (remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3) + remaining;
}
