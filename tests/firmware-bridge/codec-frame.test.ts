import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  cobsDecode,
  cobsEncode,
  crc32c,
  createSampleFrame,
  decodeFrame,
  encodeFrame,
  encodeSerialFrame,
  type Frame,
  frameEndUs,
  MAX_FRAME_BYTES,
  REFUSALS,
  type RefusalCode,
  type SampleFrame,
} from '../../firmware-bridge/codec/index.ts';
import { anyFrame, anySampleFrame, seededRandom } from './vectors/arbitrary.ts';
import { toHex, vector, vectors } from './vectors/vectors.ts';

const smallest = vector('the smallest samples frame').frame as SampleFrame;
const usual = vector('two channels, three samples, with shaft speed').frame as SampleFrame;

/** The payload with some bytes replaced and the CRC made right again: what faulty firmware would send. */
function forge(payload: Uint8Array, change: (bytes: Uint8Array, view: DataView) => void): Uint8Array {
  const bytes = payload.slice();
  change(bytes, new DataView(bytes.buffer));
  return sealed(bytes.subarray(0, bytes.length - 4));
}

function sealed(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + 4);
  bytes.set(body);
  new DataView(bytes.buffer).setUint32(body.length, crc32c(body), true);
  return bytes;
}

describe.each(vectors)('$name', ({ frame, payload, serial }) => {
  it('decodes to its fields', () => expect(decodeFrame(payload)).toEqual(frame));

  it('is encoded to its bytes', () => expect(toHex(encodeFrame(frame))).toBe(toHex(payload)));

  it('is encoded for a serial line to its bytes', () => {
    expect(toHex(encodeSerialFrame(frame))).toBe(toHex(serial));
    expect(toHex(cobsEncode(payload))).toBe(toHex(serial.subarray(0, -1)));
    const out = new Uint8Array(serial.length);
    expect(toHex(out.subarray(0, cobsDecode(serial, serial.length - 1, out)))).toBe(toHex(payload));
  });

  it('decodes wherever its bytes lie in memory', () => {
    const odd = new Uint8Array(payload.length + 3);
    odd.set(payload, 1);
    expect(decodeFrame(odd.subarray(1, 1 + payload.length))).toEqual(frame);
  });

  it('is refused when cut anywhere', () => {
    for (let length = 0; length < payload.length; length++) expect(decodeFrame(payload.subarray(0, length)).kind).toBe('refused');
  });

  it('is refused when cut anywhere even with a right CRC', () => {
    for (let length = 0; length < payload.length - 4; length++) {
      expect(decodeFrame(sealed(payload.subarray(0, length)))).toMatchObject({ kind: 'refused' });
    }
  });

  it('is refused with a byte more', () => {
    expect(decodeFrame(sealed(Uint8Array.of(...payload.subarray(0, -4), 0)))).toMatchObject({ code: 'badLength' });
  });

  it('is refused when any one byte is damaged in any way', () => {
    const damaged = payload.slice();
    for (let at = 0; at < payload.length; at++) {
      for (let flip = 1; flip < 256; flip++) {
        damaged[at] = payload[at] ^ flip;
        if (decodeFrame(damaged).kind !== 'refused') expect.fail(`byte ${at} xor ${flip} was accepted`);
      }
      damaged[at] = payload[at];
    }
  });
});

describe('any frame', () => {
  it('comes back from its bytes as it was', () => {
    fc.assert(
      fc.property(anyFrame, (frame) => {
        expect(decodeFrame(encodeFrame(frame))).toEqual(frame);
      }),
    );
  });

  it('has one encoding: bytes that are accepted are those that the encoder writes', () => {
    const random = seededRandom(2);
    let accepted = 0;
    for (let i = 0; i < 20_000; i++) {
      // A right CRC and nearly right contents, so that the checks behind the CRC are what is tried.
      const { payload } = vectors[i % vectors.length];
      const bytes = forge(payload, (copy) => {
        for (let n = Math.floor(random() * 3); n >= 0; n--) copy[Math.floor(random() * (copy.length - 4))] = Math.floor(random() * 256);
      });
      const frame = decodeFrame(bytes);
      if (frame.kind === 'refused') continue;
      accepted++;
      if (toHex(encodeFrame(frame)) !== toHex(bytes)) expect.fail(`${toHex(bytes)} is encoded otherwise`);
    }
    expect(accepted).toBeGreaterThan(1_000);
  });

  it('is never found in 20,000 runs of random bytes, nor does one of them throw', () => {
    const random = seededRandom(3);
    for (let i = 0; i < 20_000; i++) {
      const bytes = Uint8Array.from({ length: Math.floor(random() * 120) }, () => Math.floor(random() * 256));
      if (i % 2 && bytes.length > 1) bytes.set([0xa1, 1 + (i % 4)]);
      expect(decodeFrame(bytes).kind).toBe('refused');
      // With a right CRC it may be accepted, but it must not throw either.
      decodeFrame(sealed(bytes));
    }
  });
});

describe('decoding into a frame that is used again', () => {
  it('gives the same numbers as a fresh frame, and the same arrays every time', () => {
    const into = createSampleFrame();
    const { scales, samples } = into;
    fc.assert(
      fc.property(anySampleFrame, (frame) => {
        const decoded = decodeFrame(encodeFrame(frame), into) as SampleFrame;
        expect(decoded).toBe(into);
        expect(decoded.samples).toBe(samples);
        expect(decoded.scales).toBe(scales);
        const exact = {
          ...decoded,
          scales: scales.slice(0, frame.channelCount),
          samples: samples.slice(0, frame.channelCount * frame.samplesPerChannel),
        };
        expect(exact).toEqual(frame);
        expect(toHex(encodeFrame(decoded))).toBe(toHex(encodeFrame(frame)));
      }),
    );
  });

  it('grows the arrays of a frame that is too small', () => {
    const into = createSampleFrame(1, 1);
    expect(decodeFrame(encodeFrame(usual), into)).toBe(into);
    expect(into).toEqual(usual);
  });

  it('leaves it as it was when the bytes are refused', () => {
    const into = createSampleFrame();
    decodeFrame(encodeFrame(usual), into);
    const before = structuredClone(into);
    const badScale = forge(encodeFrame({ ...usual, streamId: 99 }), (_, view) => view.setFloat32(30, 0, true));
    expect(decodeFrame(badScale, into)).toMatchObject({ code: 'badScale' });
    expect(into).toEqual(before);
  });

  it('shares no memory with the bytes', () => {
    const bytes = encodeFrame(usual);
    const decoded = decodeFrame(bytes);
    bytes.fill(0);
    expect(decoded).toEqual(usual);
  });
});

/** A row a refusal: the payload that it is tried on, and the code. */
const samples = encodeFrame(usual);
const heartbeat = vector('a heartbeat of a running stream').payload;
const description = vector('a description').payload;
const reply = vector('an answer to a time sync').payload;
const rateCommand = vector('set the rate').payload;
const timeSync = vector('ask for the time').payload;
const refusals: [string, Uint8Array, RefusalCode][] = [
  ['nothing', new Uint8Array(0), 'tooShort'],
  ['eleven bytes', samples.subarray(0, 11), 'tooShort'],
  ['more than the longest frame', sealed(new Uint8Array(MAX_FRAME_BYTES)), 'tooLong'],
  ['a wrong CRC', samples.map((byte, at) => (at === samples.length - 1 ? byte ^ 1 : byte)), 'badCrc'],
  ['the next version', forge(samples, (bytes) => bytes.fill(0xa2, 0, 1)), 'badVersion'],
  ['another mark', forge(samples, (bytes) => bytes.fill(0xb1, 0, 1)), 'badVersion'],
  ['type 0', forge(heartbeat, (bytes) => bytes.fill(0, 1, 2)), 'badType'],
  ['an unknown command', forge(heartbeat, (bytes) => bytes.fill(0x85, 1, 2)), 'badType'],
  ['a reserved flag of samples', forge(samples, (bytes) => bytes.fill(0x03, 2, 3)), 'badFlags'],
  ['a reserved flag of a heartbeat', forge(heartbeat, (bytes) => bytes.fill(0x80, 2, 3)), 'badFlags'],
  ['a flag in a description', forge(description, (bytes) => bytes.fill(1, 2, 3)), 'badFlags'],
  ['a flag in a command', forge(rateCommand, (bytes) => bytes.fill(1, 2, 3)), 'badFlags'],
  ['a channel count in a heartbeat', forge(heartbeat, (bytes) => bytes.fill(1, 3, 4)), 'badFlags'],
  ['an epoch in a command', forge(rateCommand, (bytes) => bytes.fill(1, 7, 8)), 'badFlags'],
  ['samples of all streams', forge(samples, (bytes) => bytes.fill(0xff, 4, 6)), 'badStream'],
  ['a heartbeat of all streams', forge(heartbeat, (bytes) => bytes.fill(0xff, 4, 6)), 'badStream'],
  ['a description of all streams', forge(description, (bytes) => bytes.fill(0xff, 4, 6)), 'badStream'],
  ['no channel', forge(samples, (bytes) => bytes.fill(0, 3, 4)), 'badChannelCount'],
  ['17 channels', forge(samples, (bytes) => bytes.fill(17, 3, 4)), 'badChannelCount'],
  ['a description without channels', forge(description, (bytes) => bytes.fill(0, 3, 4)), 'badChannelCount'],
  ['no sample', forge(samples, (_, view) => view.setUint16(24, 0, true)), 'badSampleCount'],
  ['a channel more than there are bytes for', forge(samples, (bytes) => bytes.fill(3, 3, 4)), 'badLength'],
  ['a sample more than there are bytes for', forge(samples, (_, view) => view.setUint16(24, 4, true)), 'badLength'],
  ['the most samples that the header can say', forge(samples, (_, view) => view.setUint16(24, 0xffff, true)), 'badLength'],
  ['a shaft speed that is not there', forge(encodeFrame(smallest), (bytes) => bytes.fill(1, 2, 3)), 'badLength'],
  ['samples without their fixed part', sealed(samples.subarray(0, 20)), 'badLength'],
  ['a text longer than the description', forge(description, (bytes) => bytes.fill(255, 16, 17)), 'badLength'],
  ['samples after 285 years', forge(samples, (_, view) => view.setUint32(16, 0x200000, true)), 'badTime'],
  ['a heartbeat after 285 years', forge(heartbeat, (_, view) => view.setUint32(12, 0x200000, true)), 'badTime'],
  ['an answer after 285 years', forge(reply, (_, view) => view.setUint32(28, 0x200000, true)), 'badTime'],
  ['a time sync after 285 years', forge(timeSync, (_, view) => view.setUint32(12, 0x200000, true)), 'badTime'],
  ['a rate of zero', forge(samples, (_, view) => view.setFloat32(20, 0, true)), 'badRate'],
  ['a negative rate', forge(samples, (_, view) => view.setFloat32(20, -1, true)), 'badRate'],
  ['an infinite rate', forge(samples, (_, view) => view.setFloat32(20, Number.POSITIVE_INFINITY, true)), 'badRate'],
  ['a heartbeat with a rate that is no number', forge(heartbeat, (_, view) => view.setFloat32(24, Number.NaN, true)), 'badRate'],
  ['a command with a rate that is no number', forge(rateCommand, (_, view) => view.setFloat32(8, Number.NaN, true)), 'badRate'],
  ['a description with a rate of zero', forge(description, (_, view) => view.setFloat32(12, 0, true)), 'badRate'],
  ['a scale of zero', forge(samples, (_, view) => view.setFloat32(26, 0, true)), 'badScale'],
  ['a second scale of minus zero', forge(samples, (_, view) => view.setFloat32(30, -0, true)), 'badScale'],
  ['a scale that is no number', forge(samples, (_, view) => view.setFloat32(26, Number.NaN, true)), 'badScale'],
  ['an infinite scale', forge(samples, (_, view) => view.setFloat32(26, Number.NEGATIVE_INFINITY, true)), 'badScale'],
  ['a shaft speed that is no number', forge(samples, (_, view) => view.setFloat32(34, Number.NaN, true)), 'badShaftSpeed'],
  ['a line feed in a text', forge(description, (bytes) => bytes.fill(0x0a, 17, 18)), 'badText'],
  ['a byte above ASCII in a text', forge(description, (bytes) => bytes.fill(0xe4, 17, 18)), 'badText'],
];

describe('a refusal', () => {
  it.each(refusals)('of %s has its code', (_name, bytes, code) => {
    expect(decodeFrame(bytes)).toEqual({ kind: 'refused', code, detail: REFUSALS[code] });
  });

  it('is tried for each code', () => {
    expect([...new Set(refusals.map(([, , code]) => code))].sort()).toEqual(Object.keys(REFUSALS).sort());
  });

  it('allocates nothing: the same object each time', () => {
    expect(decodeFrame(new Uint8Array(3))).toBe(decodeFrame(new Uint8Array(5)));
  });

  it('has a row in the README, and no row is without a code', () => {
    const readme = readFileSync(new URL('../../firmware-bridge/README.md', import.meta.url), 'utf8');
    const table = readme.slice(readme.indexOf('## Refusals'), readme.indexOf('##', readme.indexOf('## Refusals') + 3));
    const rows = [...table.matchAll(/^\| `(\w+)` \| (.+?) \|/gm)].map(([, code, detail]) => [code, detail]);
    expect(Object.fromEntries(rows)).toEqual(REFUSALS);
  });
});

/** The bytes at the begin of a line; what follows them is prose. */
const leadingHex = (line: string): string => /^ *((?:[0-9a-f]{2}(?: +|$))*)/.exec(line)![1].replaceAll(' ', '');

describe('the README', () => {
  it('shows the bytes of a real frame, as a payload and on a serial line', () => {
    const readme = readFileSync(new URL('../../firmware-bridge/README.md', import.meta.url), 'utf8');
    const blocks = [...readme.matchAll(/```(\w*)\n([\s\S]*?)```/g)].filter(([, language]) => language === '');
    const dumps = blocks.map(([, , block]) => block.split('\n').map(leadingHex).join(''));
    const { payload, serial } = vector('two channels, three samples, with shaft speed');
    expect(dumps).toEqual([toHex(payload), toHex(serial)]);
  });
});

describe('encoding', () => {
  const beat = vector('a heartbeat of a running stream').frame;
  it.each([
    ['streamId', { ...usual, streamId: 0xffff }],
    ['streamId', { kind: 'start', streamId: 0x10000 }],
    ['epoch', { ...usual, epoch: -1 }],
    ['sequence', { ...usual, sequence: 2 ** 32 }],
    ['sequence', { ...usual, sequence: 1.5 }],
    ['deviceTimeUs', { ...usual, deviceTimeUs: 2 ** 53 }],
    ['deviceTimeUs', { ...usual, deviceTimeUs: Number.NaN }],
    ['sampleRateHz', { ...usual, sampleRateHz: 0 }],
    // Too small for a float32: it would arrive as zero.
    ['sampleRateHz', { ...usual, sampleRateHz: 1e-50 }],
    ['sampleRateHz', { ...beat, sampleRateHz: 1e39 } as Frame],
    ['channelCount', { ...usual, channelCount: 0 }],
    ['channelCount', { ...usual, channelCount: 17 }],
    ['samplesPerChannel', { ...usual, samplesPerChannel: 0 }],
    ['samplesPerChannel', { ...usual, samplesPerChannel: 2.5 }],
    ['samples.length', { ...usual, samplesPerChannel: 4 }],
    ['scales.length', { ...usual, scales: new Float32Array(1) }],
    ['scales', { ...usual, scales: Float32Array.of(1, 0) }],
    ['scales', { ...usual, scales: Float32Array.of(Number.NaN, 1) }],
    ['shaftSpeedRpm', { ...usual, shaftSpeedRpm: Number.POSITIVE_INFINITY }],
    ['frame length', { ...usual, samplesPerChannel: 5000, samples: new Int16Array(10_000) }],
    ['deviceId', { ...vector('a description').frame, deviceId: 'é' } as Frame],
    ['firmware', { ...vector('a description').frame, firmware: 'x'.repeat(256) } as Frame],
    ['channelCount', { ...vector('a description').frame, channels: [] } as Frame],
    ['hostTimeUs', { kind: 'timeSync', streamId: 1, hostTimeUs: -1 }],
  ] as [string, Frame][])('throws a RangeError that names %s', (field, frame) => {
    expect(() => encodeFrame(frame)).toThrow(RangeError);
    expect(() => encodeFrame(frame)).toThrow(`frame field ${field} cannot be`);
  });

  it('fills the longest frame to the byte', () => {
    const values = (MAX_FRAME_BYTES - 34) / 2;
    const frame = { ...smallest, samplesPerChannel: values, samples: new Int16Array(values).fill(-2) };
    const bytes = encodeFrame(frame);
    expect(bytes.length).toBe(MAX_FRAME_BYTES);
    expect(decodeFrame(bytes)).toEqual(frame);
  });
});

describe('the time behind the last sample', () => {
  it('is the first sample plus all periods', () => {
    expect(frameEndUs({ ...usual, deviceTimeUs: 5_000, samplesPerChannel: 128, sampleRateHz: 1_000 })).toBe(133_000);
  });
});
