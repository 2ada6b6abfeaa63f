import fc from 'fast-check';
import type { Command, DeviceFrame, Frame, SampleFrame } from '../../../firmware-bridge/codec/index.ts';

const uint16 = fc.integer({ min: 0, max: 0xffff });
const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const streamId = fc.integer({ min: 0, max: 0xfffe });
const timeUs = fc.maxSafeNat();
const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
const rate = finite.filter((value) => value > 0);
const text = fc.string({ unit: 'binary-ascii', maxLength: 40 }).map((value) => value.replace(/[^ -~]/g, '.'));

/** Any samples frame up to 16 channels; many values are zero or lack a zero byte, which COBS cares about. */
export const anySampleFrame: fc.Arbitrary<SampleFrame> = fc
  .record({
    channelCount: fc.integer({ min: 1, max: 16 }),
    samplesPerChannel: fc.integer({ min: 1, max: 40 }),
  })
  .chain(({ channelCount, samplesPerChannel }) => {
    const value = fc.oneof(fc.constant(0), fc.constant(0x0101), fc.integer({ min: -32_768, max: 32_767 }));
    const valueCount = channelCount * samplesPerChannel;
    return fc.record({
      kind: fc.constant('samples' as const),
      streamId,
      epoch: uint16,
      sequence: uint32,
      deviceTimeUs: timeUs,
      sampleRateHz: rate,
      shaftSpeedRpm: fc.option(finite, { nil: undefined }),
      channelCount: fc.constant(channelCount),
      samplesPerChannel: fc.constant(samplesPerChannel),
      scales: fc
        .float32Array({
          minLength: channelCount,
          maxLength: channelCount,
          noNaN: true,
          noDefaultInfinity: true,
        })
        .map(nonZero),
      samples: fc
        .array(value, {
          minLength: valueCount,
          maxLength: valueCount,
          size: 'max',
        })
        .map((values) => Int16Array.from(values)),
    });
  });

const nonZero = (scales: Float32Array): Float32Array => scales.map((scale) => (scale === 0 ? 1 : scale));

export const anyDeviceFrame: fc.Arbitrary<DeviceFrame> = fc.oneof(
  anySampleFrame,
  fc.record({
    kind: fc.constant('heartbeat' as const),
    streamId,
    epoch: uint16,
    running: fc.boolean(),
    deviceTimeUs: timeUs,
    nextSequence: uint32,
    droppedSamples: uint32,
    sampleRateHz: rate,
  }),
  fc.record({
    kind: fc.constant('description' as const),
    streamId,
    epoch: uint16,
    sampleRateHz: rate,
    maxSampleRateHz: rate,
    deviceId: text,
    model: text,
    firmware: text,
    channels: fc.array(fc.record({ name: text, unit: text }), {
      minLength: 1,
      maxLength: 16,
    }),
  }),
  fc.record({
    kind: fc.constant('timeSyncReply' as const),
    streamId,
    epoch: uint16,
    hostTimeUs: timeUs,
    deviceReceiveUs: timeUs,
    deviceSendUs: timeUs,
  }),
);

export const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('start' as const, 'stop' as const),
    streamId: uint16,
  }),
  fc.record({
    kind: fc.constant('rate' as const),
    streamId: uint16,
    sampleRateHz: rate,
  }),
  fc.record({
    kind: fc.constant('timeSync' as const),
    streamId: uint16,
    hostTimeUs: timeUs,
  }),
);

export const anyFrame: fc.Arbitrary<Frame> = fc.oneof(anyDeviceFrame, anyCommand);

/** Numbers in [0, 1) from a seed (mulberry32), for tests that run one fixed sequence many times over. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
