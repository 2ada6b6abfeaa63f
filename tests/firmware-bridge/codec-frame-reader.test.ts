import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  cobsEncode,
  crc32c,
  createSampleFrame,
  decodeFrame,
  encodeFrame,
  encodeSerialFrame,
  FrameReader,
  MAX_ENCODED_BYTES,
  MAX_FRAME_BYTES,
  type SampleFrame,
} from '../../firmware-bridge/codec/index.ts';
import { anyFrame, seededRandom } from './vectors/arbitrary.ts';
import { fromHex, toHex, vector, vectors } from './vectors/vectors.ts';

const join = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

/** A reader that keeps the payloads of its frames as hexadecimal text and checks its ledger after every chunk. */
function recorder() {
  const payloads: string[] = [];
  const reader = new FrameReader((_frame, payload) => payloads.push(toHex(payload)));
  return {
    reader,
    health: reader.health,
    payloads,
    push(bytes: Uint8Array) {
      reader.push(bytes);
      const { health } = reader;
      const accounted = health.frameBytes + health.idleBytes + health.skippedBytes + reader.pendingBytes;
      if (accounted !== health.bytes) expect.fail(`${accounted} bytes accounted for, ${health.bytes} received`);
      if (reader.pendingBytes > MAX_ENCODED_BYTES) expect.fail(`${reader.pendingBytes} bytes pending`);
    },
  };
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Memory that is in use once nothing is left to be collected. */
function heldBytes(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const samplesRow = vector('two channels, three samples, with shaft speed');
const numbered = (sequence: number) => encodeSerialFrame({ ...(samplesRow.frame as SampleFrame), sequence });
const zero = Uint8Array.of(0);

describe.each(vectors)('a reader given $name', ({ frame, payload, serial }) => {
  it('emits the frame and its payload', () => {
    let seen = 0;
    const reader = new FrameReader((emitted, bytes) => {
      seen++;
      expect(emitted.kind).toBe(frame.kind);
      // The reader's own frame has longer arrays; its bytes say that all numbers are right.
      expect(toHex(encodeFrame(emitted))).toBe(toHex(payload));
      expect(toHex(bytes)).toBe(toHex(payload));
    });
    reader.push(serial);
    expect(seen).toBe(1);
    expect(reader.health).toMatchObject({ bytes: serial.length, frames: 1, frameBytes: serial.length, skippedBytes: 0 });
  });

  it('emits it however the bytes are split in two', () => {
    for (let at = 0; at <= serial.length; at++) {
      const { push, payloads } = recorder();
      push(serial.subarray(0, at));
      push(serial.subarray(at));
      expect(payloads).toEqual([toHex(payload)]);
    }
  });

  it('emits it byte by byte', () => {
    const { push, payloads } = recorder();
    for (const byte of serial) push(Uint8Array.of(byte));
    expect(payloads).toEqual([toHex(payload)]);
  });
});

describe('any frames with garbage between them', () => {
  const garbage = fc.uint8Array({ maxLength: 60 });
  const piece = fc.record({ frame: anyFrame, before: fc.option(garbage, { nil: undefined }) });

  it('come out whole, in order, and nothing else does, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), fc.array(fc.integer({ min: 1, max: 80 }), { minLength: 1 }), (pieces, cuts) => {
        const stream = join(...pieces.flatMap(({ frame, before }) => [...(before ? [before, zero] : []), encodeSerialFrame(frame)]));
        const { push, payloads, health } = recorder();
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = cuts[i % cuts.length];
          push(stream.subarray(at, at + size));
          at += size;
        }
        expect(payloads).toEqual(pieces.map(({ frame }) => toHex(encodeFrame(frame))));
        expect(health.frames).toBe(pieces.length);
      }),
    );
  });

  it('lose at most the frame that garbage without a delimiter runs into', () => {
    fc.assert(
      fc.property(
        garbage.filter((bytes) => bytes.length > 0),
        (noise) => {
          const { push, payloads } = recorder();
          push(join(numbered(1), noise, numbered(2), numbered(3)));
          const all = [1, 2, 3].map((n) => toHex(encodeFrame({ ...(samplesRow.frame as SampleFrame), sequence: n })));
          // Frame 2 survives where the noise happens to end in a zero.
          expect([[all[0], all[2]].join(), all.join()]).toContain(payloads.join());
        },
      ),
    );
  });
});

describe('damage', () => {
  const stream = join(zero, numbered(1), numbered(2), numbered(3), numbered(4));
  const whole = [1, 2, 3, 4].map((n) => toHex(encodeFrame({ ...(samplesRow.frame as SampleFrame), sequence: n })));

  function framesOf(bytes: Uint8Array): string[] {
    const { push, payloads } = recorder();
    push(bytes);
    return payloads;
  }

  /** Frames that came, as places in `whole`; a frame that was never sent would be -1. */
  const indices = (payloads: string[]) => payloads.map((payload) => whole.indexOf(payload));

  it('of any one byte in any way costs one frame, or two where it was the delimiter, and never gives a wrong one', () => {
    for (let at = 0; at < stream.length; at++) {
      for (let flip = 1; flip < 256; flip++) {
        const damaged = stream.slice();
        damaged[at] ^= flip;
        const got = indices(framesOf(damaged));
        if (got.includes(-1)) expect.fail(`a wrong frame after byte ${at} xor ${flip}`);
        const lost = whole.length - got.length;
        const isDelimiter = stream[at] === 0;
        if (lost > (isDelimiter ? 2 : 1)) expect.fail(`${lost} frames lost by byte ${at} xor ${flip}`);
      }
    }
  });

  it('by a lost byte costs one frame, or two where it was the delimiter', () => {
    for (let at = 1; at < stream.length; at++) {
      const got = indices(framesOf(join(stream.subarray(0, at), stream.subarray(at + 1))));
      expect(got).not.toContain(-1);
      expect(whole.length - got.length).toBeLessThanOrEqual(stream[at] === 0 ? 2 : 1);
    }
  });

  it('by an inserted byte costs at most one frame', () => {
    for (let at = 0; at <= stream.length; at++) {
      for (const byte of [0, 1, 2, 0xa1, 0xff]) {
        const got = indices(framesOf(join(stream.subarray(0, at), Uint8Array.of(byte), stream.subarray(at))));
        expect(got).not.toContain(-1);
        expect(whole.length - got.length).toBeLessThanOrEqual(1);
      }
    }
  });

  it('by a burst never gives a wrong frame', () => {
    const random = seededRandom(4);
    for (let i = 0; i < 5_000; i++) {
      const damaged = stream.slice();
      const from = Math.floor(random() * stream.length);
      for (let at = from; at < Math.min(stream.length, from + 1 + random() * 30); at++) damaged[at] = Math.floor(random() * 256);
      if (indices(framesOf(damaged)).includes(-1)) expect.fail(`a wrong frame from ${toHex(damaged)}`);
    }
  });
});

describe('100,000 random byte streams', () => {
  it('give no frame, throw nothing, leave no memory behind, and every byte is accounted for', () => {
    const random = seededRandom(5);
    const { reader, push, payloads, health } = recorder();
    const into = createSampleFrame();
    const stream = () => {
      // Half of them from few values, so that there are many delimiters and blocks that are sound COBS.
      const values = random() < 0.5 ? 256 : 6;
      const bytes = Uint8Array.from({ length: Math.floor(random() * 200) }, () => Math.floor(random() * values));
      push(bytes);
      if (decodeFrame(bytes, into).kind !== 'refused') expect.fail(`${toHex(bytes)} was accepted`);
      if (random() < 0.1) reader.reset();
    };
    for (let i = 0; i < 10_000; i++) stream();
    const before = heldBytes();
    for (let i = 0; i < 90_000; i++) stream();
    // What the runner itself holds moves by some kilobytes; the streams had nine million bytes.
    expect(heldBytes() - before).toBeLessThan(1_000_000);
    expect(payloads).toEqual([]);
    expect(health.cobsErrors).toBeGreaterThan(0);
    expect(health.tooShort).toBeGreaterThan(0);
    expect(health.crcErrors).toBeGreaterThan(0);
  });
});

describe('link health', () => {
  /** What is sent after one good frame, and the counters that it moves. */
  const rows: [string, Uint8Array, Record<string, number>][] = [
    ['a delimiter', zero, { idleBytes: 1 }],
    ['bytes that are not COBS', fromHex('0711220033440000'), { cobsErrors: 2, idleBytes: 1, skippedBytes: 7 }],
    ['a frame with a wrong byte', serialOf(samplesRow.payload.with(40, 1)), { crcErrors: 1, skippedBytes: 56 }],
    ['a short piece', serialOf(fromHex('a101')), { tooShort: 1, skippedBytes: 4 }],
    ['another version', sealed('a201000000000000'), { badVersion: 1, skippedBytes: 14 }],
    ['an unknown type', sealed('a105000000000000'), { badType: 1, skippedBytes: 14 }],
    ['a heartbeat that ends after its header', sealed('a102000000000000'), { badLength: 1, skippedBytes: 14 }],
    ['samples without a channel', sealed('a101000000000000'), { badField: 1, skippedBytes: 14 }],
    ['a long piece', join(new Uint8Array(MAX_ENCODED_BYTES + 1).fill(1), zero), { tooLong: 1, skippedBytes: MAX_ENCODED_BYTES + 2 }],
  ];

  function serialOf(payload: Uint8Array): Uint8Array {
    return join(cobsEncode(payload), zero);
  }

  function sealed(hex: string): Uint8Array {
    const body = fromHex(hex);
    const crc = new Uint8Array(4);
    new DataView(crc.buffer).setUint32(0, crc32c(body), true);
    return serialOf(join(body, crc));
  }

  it.each(rows)('counts %s', (_name, bytes, expected) => {
    const { push, health } = recorder();
    push(samplesRow.serial);
    const before = { ...health };
    push(bytes);
    const moved = Object.entries(health)
      .map(([key, value]) => [key, value - before[key as keyof typeof before]] as const)
      .filter(([, change]) => change !== 0);
    expect(Object.fromEntries(moved)).toEqual({ bytes: bytes.length, ...expected });
  });

  it('does not call the piece of a frame before the first delimiter an error', () => {
    const { push, health, payloads } = recorder();
    push(samplesRow.serial.subarray(9));
    push(samplesRow.serial);
    expect(payloads.length).toBe(1);
    expect(health).toMatchObject({ crcErrors: 0, cobsErrors: 0, tooShort: 0, frames: 1, skippedBytes: samplesRow.serial.length - 9 });
  });

  it('gives up the piece in hand when the port was opened again', () => {
    const { reader, push, health, payloads } = recorder();
    push(samplesRow.serial);
    push(samplesRow.serial.subarray(0, 20));
    reader.reset();
    expect(reader.pendingBytes).toBe(0);
    // The rest of a frame whose begin went to nobody, then a whole one.
    push(samplesRow.serial.subarray(30));
    push(samplesRow.serial);
    expect(payloads.length).toBe(2);
    expect(health).toMatchObject({ frames: 2, crcErrors: 0, cobsErrors: 0, tooShort: 0 });
  });

  it('has a row in the README for each counter, and no row is without a counter', () => {
    const readme = readFileSync(new URL('../../firmware-bridge/README.md', import.meta.url), 'utf8');
    const start = readme.indexOf('## Link health');
    const table = readme.slice(start, readme.indexOf('\n## ', start + 3));
    const rowNames = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
    expect(rowNames).toEqual(Object.keys(new FrameReader(() => {}).health));
  });
});

describe('memory', () => {
  it('stays bounded on a line without delimiters, which is counted at once, and the next frame comes', () => {
    const { push, health, payloads } = recorder();
    const noise = new Uint8Array(1000).fill(0x55);
    for (let i = 0; i < 1000; i++) push(noise);
    expect(health.tooLong).toBe(1);
    push(zero);
    push(samplesRow.serial);
    expect(payloads.length).toBe(1);
    expect(health).toMatchObject({ tooLong: 1, frames: 1, skippedBytes: 1_000_001 });
  });

  it('holds the longest frame', () => {
    const values = (MAX_FRAME_BYTES - 34) / 2;
    const frame = {
      ...(vector('the smallest samples frame').frame as SampleFrame),
      samplesPerChannel: values,
      samples: new Int16Array(values).fill(0x0101),
    };
    const { push, payloads } = recorder();
    push(encodeSerialFrame(frame));
    expect(payloads).toEqual([toHex(encodeFrame(frame))]);
  });
});

describe('a callback that throws', () => {
  it('is heard by the caller and leaves the reader in order', () => {
    let calls = 0;
    const reader = new FrameReader(() => {
      if (calls++ === 0) throw new Error('full');
    });
    expect(() => reader.push(samplesRow.serial)).toThrow('full');
    reader.push(samplesRow.serial);
    expect(calls).toBe(2);
    expect(reader.health.frames).toBe(2);
  });
});
