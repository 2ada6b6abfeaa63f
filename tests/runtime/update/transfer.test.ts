import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHUNK_BYTES } from '../../../runtime/contracts/chunk.ts';
import { LARGEST_WINDOW, updateRequestSchema } from '../../../runtime/contracts/update.ts';
import { Budget } from '../../../runtime/update/budget.ts';
import { ChunkMap } from '../../../runtime/update/chunk-map.ts';
import { RoundTrip } from '../../../runtime/update/round-trip.ts';
import { Transfer } from '../../../runtime/update/transfer.ts';
import { chunkOf } from '../../support/update-site.ts';

const OBJECT = 'a'.repeat(64);
const bytesOf = (length: number) => Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 8)) & 0xff);

describe('a map of chunks', () => {
  it('is what it was after a round trip, and knows what is missing', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 40 * CHUNK_BYTES }),
        fc.array(fc.nat(50)),
        fc.integer({ min: 1, max: 64 }),
        (length, added, most) => {
          const map = new ChunkMap(length);
          for (const index of added) map.add(index);
          const again = ChunkMap.decode(map.encode(), length)!;
          const there = [...new Set(added)].filter((index) => index < map.chunks);
          expect([again.count, again.bytes]).toEqual([there.length, there.reduce((sum, index) => sum + map.bytesOf(index), 0)]);
          const missing = again.missing(most, () => false).flatMap(([from, to]) => Array.from({ length: to - from }, (_, at) => from + at));
          const expected = Array.from({ length: map.chunks }, (_, index) => index).filter((index) => !there.includes(index));
          expect(missing).toEqual(expected.slice(0, most));
        },
      ),
    );
  });

  it('of another length, or cut short, says nothing', () => {
    const bytes = new ChunkMap(9 * CHUNK_BYTES).encode();
    expect(ChunkMap.decode(bytes, 9 * CHUNK_BYTES - 1)).toBeUndefined();
    expect(ChunkMap.decode(bytes.subarray(0, 5), 9 * CHUNK_BYTES)).toBeUndefined();
    expect(ChunkMap.decode(new Uint8Array(), 0)).toBeUndefined();
  });
});

/** A server behind a link that loses, repeats and reorders; time passes only when nothing else happens. */
function fetchOver(bytes: Uint8Array, transfer: Transfer, chance: () => number, { loss = 0, delayMs = 300 } = {}) {
  const got = new Uint8Array(bytes.length);
  const onTheWay: { atMs: number; index: number }[] = [];
  let [nowMs, sent, requests] = [0, 0, 0];
  while (!transfer.complete && nowMs < 3_600_000) {
    const request = transfer.due(nowMs, LARGEST_WINDOW - transfer.inFlight);
    if (request) {
      updateRequestSchema.parse(request);
      expect(transfer.inFlight).toBeLessThanOrEqual(LARGEST_WINDOW);
      requests++;
      if (chance() >= loss)
        for (const [from, to] of request.ranges)
          for (let index = from; index < Math.min(to, Math.max(1, Math.ceil(bytes.length / CHUNK_BYTES))); index++) {
            sent++;
            if (chance() < loss) continue;
            onTheWay.push({ atMs: nowMs + delayMs * (2 + chance() / 5), index });
            if (chance() < 0.02) onTheWay.push({ atMs: nowMs + 2.5 * delayMs, index });
          }
    }
    onTheWay.sort((one, other) => one.atMs - other.atMs);
    const next = onTheWay.shift();
    const wakeMs = transfer.wakeMs;
    if (next && next.atMs <= wakeMs) {
      nowMs = next.atMs;
      const chunk = transfer.accept(next.index, chunkOf(bytes, next.index), nowMs);
      if (chunk) got.set(chunk.bytes, chunk.index * CHUNK_BYTES);
    } else {
      if (next) onTheWay.unshift(next);
      nowMs = Math.max(nowMs + 1, Math.min(wakeMs, nowMs + 1000));
    }
  }
  return { got, sent, requests, nowMs };
}

/** Numbers in [0, 1) that are the same in each run. */
function chances(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('a transfer', () => {
  it('brings every byte over any link that lets some through, and asks for nothing twice where nothing is lost', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 300_000 }),
        fc.constantFrom(0, 0.2, 0.4),
        fc.nat(),
        fc.boolean(),
        (length, loss, seed, known) => {
          const bytes = bytesOf(length);
          const transfer = new Transfer(OBJECT, known ? { length } : { atMost: 300_000 }, new RoundTrip(), 0);
          const { got, sent } = fetchOver(bytes, transfer, chances(seed), { loss });
          expect(transfer.complete).toBe(true);
          expect(Buffer.compare(got, bytes)).toBe(0);
          if (loss === 0) expect(sent).toBeLessThanOrEqual(Math.max(1, Math.ceil(length / CHUNK_BYTES)));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('moves 200 kB over a link that loses a fifth each way and takes 300 ms with less than 1.5 times the bytes', () => {
    const bytes = bytesOf(200_000);
    const costs = Array.from({ length: 20 }, (_, seed) =>
      fetchOver(bytes, new Transfer(OBJECT, { length: bytes.length }, new RoundTrip(), 0), chances(seed), { loss: 0.2 }),
    );
    for (const { sent, nowMs } of costs) {
      expect(sent).toBeLessThan(1.5 * 49);
      expect(nowMs).toBeLessThan(60_000);
    }
  });

  it('does not ask again while a slow link still delivers', () => {
    const bytes = bytesOf(100 * CHUNK_BYTES);
    const transfer = new Transfer(OBJECT, { length: bytes.length }, new RoundTrip(), 0);
    const queue: number[] = [];
    let sent = 0;
    // A chunk every 1.5 s: 22 kbit/s. A window of chunks takes longer than any timeout.
    for (let nowMs = 0; !transfer.complete; nowMs += 1500) {
      const request = transfer.due(nowMs, LARGEST_WINDOW - transfer.inFlight);
      for (const [from, to] of request?.ranges ?? []) for (let index = from; index < to; index++) queue.push(index);
      const index = queue.shift();
      if (index === undefined) continue;
      sent++;
      transfer.accept(index, chunkOf(bytes, index), nowMs + 1499);
    }
    expect(sent).toBe(100);
  });

  it('does not ask again while another object still comes, and not for ever', () => {
    const [one, other] = [bytesOf(CHUNK_BYTES), bytesOf(200 * CHUNK_BYTES)];
    const trip = new RoundTrip();
    for (let n = 0; n < 20; n++) trip.measure(600);
    const { timeoutMs } = trip;
    const [waiting, flowing] = [one, other].map(({ length }) => new Transfer(OBJECT, { length }, trip, 0));
    expect(waiting.due(0, 1)?.ranges).toEqual([[0, 1]]);
    // Its one chunk was lost, and those of the other go on coming.
    let nowMs = 300;
    for (let index = 0; nowMs < 4 * timeoutMs; nowMs += 300) {
      flowing.accept(index, chunkOf(other, index++), nowMs);
      expect(waiting.due(nowMs, 1)).toBeUndefined();
    }
    expect(waiting.due(nowMs, 1)?.ranges).toEqual([[0, 1]]);
    // Where nothing comes at all, it takes no longer than one wait.
    expect(waiting.wakeMs).toBe(nowMs + timeoutMs);
  });

  it('goes on from what is there', () => {
    const have = new ChunkMap(5 * CHUNK_BYTES);
    for (const index of [0, 2, 3]) have.add(index);
    const transfer = new Transfer(OBJECT, { length: have.length }, new RoundTrip(), 0, have);
    expect(transfer.due(0, 64)).toEqual({
      object: OBJECT,
      ranges: [
        [1, 2],
        [4, 5],
      ],
    });
  });

  it('refuses endless data and another length by name where none is signed, and takes nothing that is forged or cut short', () => {
    const bytes = bytesOf(3 * CHUNK_BYTES);
    const exact = () => new Transfer(OBJECT, { length: bytes.length }, new RoundTrip(), 0);
    const bounded = () => new Transfer(OBJECT, { atMost: 2 * CHUNK_BYTES }, new RoundTrip(), 0);
    expect(() => bounded().accept(0, chunkOf(bytesOf(2 * CHUNK_BYTES + 1), 0), 0)).toThrow(/endless data attack/);
    const began = bounded();
    began.accept(0, chunkOf(bytesOf(2 * CHUNK_BYTES), 0), 0);
    expect(() => began.accept(1, chunkOf(bytesOf(2 * CHUNK_BYTES - 1), 1), 0)).toThrow(/mix-and-match attack/);
    for (const [index, payload] of [
      [0, chunkOf(bytes, 0).subarray(0, 100)],
      [0, Buffer.concat([chunkOf(bytes, 0), Buffer.alloc(1)])],
      [0, Buffer.alloc(3)],
      [0, chunkOf(bytesOf(3 * CHUNK_BYTES + 1), 0)],
      [0, chunkOf(bytesOf(3 * CHUNK_BYTES - 1), 0)],
      [3, chunkOf(bytes, 0)],
      [4_000_000, chunkOf(bytes, 0)],
    ] as const) {
      const transfer = exact();
      expect(transfer.accept(index, payload, 0)).toBeUndefined();
      expect(transfer.have?.count).toBe(0);
    }
  });

  it('is not ended by chunks that somebody forged: what was signed comes all the same, and the refusal of a silence names them', () => {
    const bytes = bytesOf(3 * CHUNK_BYTES);
    const transfer = new Transfer(OBJECT, { length: bytes.length }, new RoundTrip(), 0);
    for (const index of [0, 1, 2]) {
      transfer.accept(index, chunkOf(bytesOf(1e5), index), 0);
      expect(transfer.accept(index, chunkOf(bytes, index), 0)).toMatchObject({ index });
    }
    expect(transfer).toMatchObject({ complete: true, forged: 3 });
    const silent = new Transfer(OBJECT, { length: bytes.length }, new RoundTrip(), 0);
    silent.due(0, 64);
    silent.accept(0, chunkOf(bytesOf(1e5), 0), 0);
    expect(() => silent.due(600_001, 64)).toThrow(/1 chunks? of another length/);
  });

  it('gives up by name where bytes come too slowly, or not at all, and time without a connection does not count', () => {
    const transfer = new Transfer(OBJECT, { length: 1_000_000 }, new RoundTrip(), 0);
    transfer.due(0, 64);
    transfer.resume(599_000);
    expect(() => transfer.due(1_198_000, 64)).not.toThrow();
    expect(() => transfer.due(1_200_001, 64)).toThrow(/slow retrieval or drop-request attack/);
  });
});

describe('a round trip', () => {
  it('is waited for with its deviation, longer after each wait in vain, and never for ever', () => {
    const trip = new RoundTrip();
    expect(trip.timeoutMs).toBe(2000);
    for (let n = 0; n < 50; n++) trip.measure(600);
    expect(trip.timeoutMs).toBeGreaterThan(600);
    expect(trip.timeoutMs).toBeLessThan(1000);
    const before = trip.timeoutMs;
    trip.missed();
    expect(trip.timeoutMs).toBe(2 * before);
    for (let n = 0; n < 20; n++) trip.missed();
    expect(trip.timeoutMs).toBe(30_000);
    trip.measure(600);
    expect(trip.timeoutMs).toBeLessThan(1000);
  });
});

describe('a budget', () => {
  it('leaves room for what fits beside what is on its way, and names itself when it is used up', () => {
    const budget = new Budget(1000, 200);
    expect(budget.room(100, 300)).toBe(5);
    budget.spend(700);
    expect(budget.room(100, 100)).toBe(0);
    expect(() => budget.need(101)).toThrow(/^needs 101 bytes more/);
    expect(() => budget.spend(101)).toThrow(/1001 bytes have come where the update may move 1000/);
  });
});
