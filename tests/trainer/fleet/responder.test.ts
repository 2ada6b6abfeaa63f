import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHUNK_BYTES, CHUNK_HEAD_BYTES, decodeChunk, encodeChunk, sentChunks } from '../../../runtime/contracts/chunk.ts';
import { gatewayTopics, siteTopics } from '../../../runtime/contracts/topics.ts';
import { ChunkQueue } from '../../../trainer/fleet/chunk-queue.ts';
import { Responder } from '../../../trainer/fleet/responder.ts';

const OBJECT = 'c'.repeat(64);
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

interface Sent {
  readonly topic: string;
  readonly payload: Uint8Array;
}

/** A responder with some objects and everything that it sends. @param expected gateways that are likely to ask for any of them */
function responderOf(objects: Record<string, Uint8Array | 'unreadable'>, options = { collectMs: 20, bytesPerSecond: 1e9 }, expected = 1) {
  const sent: Sent[] = [];
  const asked: string[] = [];
  const unreadable: string[] = [];
  let wake = () => {};
  const responder = new Responder(
    {
      read: async (site, object, from, length) => {
        asked.push(`${object} ${from} ${length}`);
        const bytes = objects[`${site}/${object}`];
        if (bytes === 'unreadable') throw new Error('EIO');
        return bytes && { objectBytes: bytes.length, bytes: bytes.subarray(from, from + length) };
      },
      expected: () => expected,
      send: async (topic, payload) => {
        sent.push({ topic, payload });
        wake();
      },
      nowMs: () => performance.now(),
      onUnreadable: (object) => unreadable.push(object),
    },
    options,
  );
  const until = async (count: number) => {
    while (sent.length < count)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  };
  return { responder, sent, asked, unreadable, until };
}

describe('chunks', () => {
  it('give an object back, whatever its length', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5 * CHUNK_BYTES }), (length) => {
        const bytes = Uint8Array.from({ length }, (_, index) => (index * 7) & 0xff);
        const payloads = Array.from({ length: sentChunks(length) }, (_, index) =>
          encodeChunk(length, bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)),
        );
        for (const payload of payloads) expect(payload.length).toBeLessThanOrEqual(CHUNK_HEAD_BYTES + CHUNK_BYTES);
        const chunks = payloads.map((payload) => decodeChunk(payload)!);
        expect(chunks.every(({ objectBytes }) => objectBytes === length)).toBe(true);
        expect(Buffer.concat(chunks.map((chunk) => chunk.bytes)).equals(Buffer.from(bytes))).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it('are none where the head is cut short', () => {
    for (let length = 0; length < CHUNK_HEAD_BYTES; length++) expect(decodeChunk(new Uint8Array(length))).toBeUndefined();
  });

  it('stand in the queue once, whoever asks in whatever pieces, and come out when collecting ends', () => {
    const range = fc
      .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 20 }))
      .map(([from, length]): [number, number] => [from, from + length]);
    fc.assert(
      fc.property(
        fc.array(fc.record({ object: fc.constantFrom('a', 'b'), ranges: fc.array(range, { maxLength: 4 }) }), { maxLength: 8 }),
        (asks) => {
          const queue = new ChunkQueue(50);
          const wanted = new Set<string>();
          for (const { object, ranges } of asks) {
            queue.ask(object, ranges, 100, 'hall', 2);
            for (const [from, to] of ranges) for (let index = from; index < to; index++) wanted.add(`${object} ${index}`);
          }
          expect(queue.waiting).toBe(wanted.size);
          expect(queue.take(149)).toBeUndefined();
          const got: string[] = [];
          for (let chunk = queue.take(150); chunk; chunk = queue.take(150)) got.push(`${chunk.object} ${chunk.index}`);
          expect(got.toSorted()).toEqual([...wanted].toSorted());
          expect(queue.nextMs()).toBeUndefined();
        },
      ),
    );
  });

  it('of two objects come in turns', () => {
    const queue = new ChunkQueue(0);
    queue.ask('large', [[0, 100]], 0, 'hall', 2);
    queue.ask('small', [[0, 2]], 0, 'hall', 2);
    expect([1, 2, 3, 4].map(() => queue.take(0)!.object)).toEqual(['large', 'small', 'large', 'small']);
  });

  it('go at once when the last of those has asked from whom it is expected, and in time for the others where one never does', () => {
    const queue = new ChunkQueue(200);
    queue.ask('object', [[0, 1]], 0, 'a', 3);
    queue.ask('object', [[0, 1]], 50, 'b', 3);
    // Asked again, it is the same gateway.
    queue.ask('object', [[0, 1]], 60, 'b', 3);
    expect(queue.take(70)).toBeUndefined();
    queue.ask('object', [[0, 1]], 80, 'c', 3);
    expect(queue.take(80)).toEqual({ object: 'object', index: 0 });
    let askedMs = 1000;
    for (; askedMs < 1950; askedMs += 100) queue.ask('object', [[0, 1]], askedMs, `g${askedMs}`, 100);
    expect(queue.nextMs()).toBe(2000);
    expect(queue.take(1999)).toBeUndefined();
    expect(queue.take(2000)).toEqual({ object: 'object', index: 0 });
  });
});

describe('a responder', () => {
  const object = new Uint8Array(3 * CHUNK_BYTES + 5).map((_, index) => index % 251);
  const objects = { [`plant/${OBJECT}`]: object };

  it('publishes each chunk once for all who ask within a moment', async () => {
    const { responder, sent, until } = responderOf(objects, { collectMs: 60_000, bytesPerSecond: 1e9 }, 50);
    for (let gateway = 0; gateway < 50; gateway++)
      await responder.onRequest('plant', `g${gateway}`, json({ object: OBJECT, ranges: gateway % 2 ? [[0, 64]] : [[2, 4]] }));
    await until(4);
    await responder.close();
    expect(sent.map(({ topic }) => topic).toSorted()).toEqual([0, 1, 2, 3].map((index) => siteTopics('plant').chunk(OBJECT, index)));
    expect(responder.counters).toMatchObject({ requests: 50, chunksPublished: 4, chunksDistinct: 4, refusals: 0 });
    const heads = sent.reduce((sum, { topic }) => sum + topic.length, 0) + 4 * (CHUNK_HEAD_BYTES + 2 + 3);
    // The last packet is short: one byte of length less.
    expect(responder.counters.bytesOnWire).toBe(object.length + heads - 1);
  });

  it('publishes again what is asked again', async () => {
    const { responder, until } = responderOf(objects);
    await responder.onRequest('plant', 'a', json({ object: OBJECT, ranges: [[0, 4]] }));
    await until(4);
    await responder.onRequest('plant', 'a', json({ object: OBJECT, ranges: [[1, 2]] }));
    await until(5);
    await responder.close();
    expect(responder.counters).toMatchObject({ chunksPublished: 5, chunksDistinct: 4 });
  });

  it('reads of an object no more than the chunk that goes out', async () => {
    const { responder, asked, until } = responderOf(objects);
    await responder.onRequest('plant', 'a', json({ object: OBJECT, ranges: [[1, 3]] }));
    await until(2);
    await responder.close();
    expect(asked).toEqual([`${OBJECT} 0 0`, `${OBJECT} ${CHUNK_BYTES} ${CHUNK_BYTES}`, `${OBJECT} ${2 * CHUNK_BYTES} ${CHUNK_BYTES}`]);
  });

  it('outlives a disk that does not read, says so, and answers when it reads again', async () => {
    const sick: Record<string, Uint8Array | 'unreadable'> = { ...objects, 'plant/2.root.json': new Uint8Array(8) };
    const { responder, sent, unreadable, until } = responderOf(sick, { collectMs: 20, bytesPerSecond: 1e9 }, 2);
    const ask = () => responder.onRequest('plant', 'hall', json({ object: OBJECT, ranges: [[0, 4]] }));
    await ask();
    // Between the request and its chunks; another object is not held up.
    sick[`plant/${OBJECT}`] = 'unreadable';
    await responder.onRequest('plant', 'hall', json({ object: '2.root.json', ranges: [[0, 1]] }));
    await until(1);
    expect(sent[0].topic).toBe(siteTopics('plant').chunk('2.root.json', 0));
    expect(unreadable).toEqual([OBJECT]);
    await ask();
    expect(unreadable).toEqual([OBJECT, OBJECT]);
    sick[`plant/${OBJECT}`] = object;
    await ask();
    await until(5);
    await responder.close();
    expect(responder.counters).toMatchObject({ chunksPublished: 5, refusals: 0 });
  });

  it('says to the one who asked that there is no such object', async () => {
    const { responder, sent } = responderOf(objects);
    await responder.onRequest('plant', 'hall', json({ object: '2.root.json', ranges: [[0, 1]] }));
    expect(sent).toHaveLength(1);
    expect(sent[0].topic).toBe(gatewayTopics('plant', 'hall').updateRefusal);
    expect(JSON.parse(new TextDecoder().decode(sent[0].payload))).toMatchObject({ object: '2.root.json' });
    await responder.onRequest('north', 'hall', json({ object: OBJECT, ranges: [[0, 1]] }));
    expect(sent[1].topic).toBe(gatewayTopics('north', 'hall').updateRefusal);
  });

  it.each([
    ['no JSON', new TextEncoder().encode('{')],
    ['no request', json({})],
    ['a way out of the folder', json({ object: '../keys/root-1.pem', ranges: [[0, 1]] })],
    ['a key', json({ object: 'keys/root-1.pem', ranges: [[0, 1]] })],
    ['a way out with the right end', json({ object: '..%2fx.json', ranges: [[0, 1]] })],
    ['a number that is none', json({ object: OBJECT, ranges: [[0, 1e99]] })],
    ['what lies before the beginning', json({ object: OBJECT, ranges: [[-1, 1]] })],
    ['nothing', json({ object: OBJECT, ranges: [[3, 3]] })],
    ['too much at once', json({ object: OBJECT, ranges: [[0, 65]] })],
    [
      'too much in pieces',
      json({
        object: OBJECT,
        ranges: [
          [0, 64],
          [0, 1],
        ],
      }),
    ],
    ['more words than there are', json({ object: OBJECT, ranges: [[0, 1]], more: 1 })],
    ['pages', json({ object: OBJECT, ranges: [[0, 1]], more: 'x'.repeat(10_000) })],
  ])('does not answer who asks for %s, and touches no file', async (_what, payload) => {
    const { responder, sent, asked } = responderOf(objects);
    await responder.onRequest('plant', 'hall', payload);
    await responder.close();
    expect(sent).toEqual([]);
    expect(asked).toEqual([]);
    expect(responder.counters.requestsInvalid).toBe(1);
  });

  it('takes anything for a request without falling', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.json().map((text) => new TextEncoder().encode(text)),
        ),
        async (payload) => {
          const { responder, asked } = responderOf(objects);
          await responder.onRequest('plant', 'hall', payload);
          expect(asked).toEqual([]);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('does not let one gateway ask without end, and answers the others', async () => {
    const { responder } = responderOf(objects);
    const ask = (gateway: string) => responder.onRequest('plant', gateway, json({ object: OBJECT, ranges: [[0, 1]] }));
    for (let index = 0; index < 300; index++) await ask('mad');
    await ask('sane');
    await responder.close();
    const { requests, requestsIgnored } = responder.counters;
    expect(requests).toBe(301);
    // 50 are answered in each second that this took.
    expect(requestsIgnored).toBeGreaterThan(100);
  });

  it('keeps to its rate', async () => {
    const large = new Uint8Array(40 * CHUNK_BYTES);
    const { responder, until } = responderOf({ [`plant/${OBJECT}`]: large }, { collectMs: 1, bytesPerSecond: 800_000 });
    const began = performance.now();
    await responder.onRequest('plant', 'hall', json({ object: OBJECT, ranges: [[0, 40]] }));
    await until(40);
    const seconds = (performance.now() - began) / 1000;
    await responder.close();
    // The first goes at once, and what it weighs is waited for after it.
    expect((responder.counters.bytesOnWire * 39) / 40 / seconds).toBeLessThanOrEqual(800_000);
  });
});
