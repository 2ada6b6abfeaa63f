import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeFrame, type SampleFrame, SequenceTracker } from '../../../firmware-bridge/codec/index.ts';
import { ForeignStream, foreignFormatSchema } from '../../../runtime/sources/index.ts';
import { StreamGateway } from '../../../runtime/stream/stream-gateway.ts';
import { StreamMemory } from '../../../runtime/stream/stream-memory.ts';
import { bytesOf } from './recorder.ts';

const csv = { format: 'csv', channels: 2, sampleRateHz: 1_000, scale: 2, range: [100, 10] };
const MS = 1_000;

/** A stream with copies of its frames. */
function record(format: unknown = csv, epoch = 7) {
  const frames: SampleFrame[] = [];
  const stream = new ForeignStream(
    foreignFormatSchema.parse(format),
    (frame) =>
      frames.push({
        ...frame,
        scales: frame.scales.slice(),
        samples: frame.samples.slice(0, frame.samplesPerChannel * frame.channelCount),
      }),
    3,
    epoch,
  );
  return { stream, frames };
}

const lines = (count: number) => bytesOf('1,2\n'.repeat(count));
const physical = ({ samples, scales }: SampleFrame) => Array.from(samples, (code, at) => code * scales[at % scales.length]);

describe('a foreign source', () => {
  it('becomes frames that a device could have sent', () => {
    const { stream, frames } = record();
    stream.message(bytesOf('1,2\n3,4\n'), 0);
    stream.message(bytesOf('5,-1\n'), 2 * MS);
    expect(frames).toMatchObject([
      { kind: 'samples', streamId: 3, epoch: 7, sequence: 0, deviceTimeUs: 0, sampleRateHz: 1_000, channelCount: 2, samplesPerChannel: 2 },
      { sequence: 2, deviceTimeUs: 2_000, samplesPerChannel: 1 },
    ]);
    for (const frame of frames) expect(() => encodeFrame(frame)).not.toThrow();
    // In physical units, to half of a count.
    for (const [at, value] of [2, 4, 6, 8].entries())
      expect(Math.abs(physical(frames[0])[at] - value)).toBeLessThan(0.51 * frames[0].scales[at % 2]);
  });

  it('keeps the codes of int16 and gives them its scale', () => {
    const { stream, frames } = record({ format: 'int16', channels: 1, sampleRateHz: 100, scale: -0.25 });
    stream.message(new Uint8Array(Int16Array.of(1, -32_768, 32_767).buffer), 0);
    expect(Array.from(frames[0].samples)).toEqual([1, -32_768, 32_767]);
    expect(Array.from(frames[0].scales)).toEqual([-0.25]);
  });

  it('is right to half a count within its range, and clipped and counted beyond it', () => {
    fc.assert(
      fc.property(fc.array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: 1, maxLength: 50 }), (values) => {
        const { stream, frames } = record({ format: 'float32', channels: 1, sampleRateHz: 1_000, scale: 0.5, range: 10 });
        stream.message(new Uint8Array(Float32Array.from(values).buffer), 0);
        const got = physical(frames[0]);
        const step = 10 / 32_767;
        values.forEach((value, at) => {
          const wanted = Math.max(-10, Math.min(10, value * 0.5));
          expect(Math.abs(got[at] - wanted)).toBeLessThan(0.51 * step);
        });
        expect(stream.clippedValues).toBe(values.filter((value) => Math.abs(value * 0.5) > 10 + step / 2).length);
      }),
    );
  });

  it('counts what was refused as a gap, which the sequence shows', () => {
    const { stream, frames } = record();
    stream.message(bytesOf('1,2\nx\ny\n3,4\n'), 0);
    expect(frames.map(({ sequence, deviceTimeUs }) => [sequence, deviceTimeUs])).toEqual([
      [0, 0],
      [3, 3_000],
    ]);
  });

  it('counts a silence as a gap of its length, once', () => {
    const { stream, frames } = record();
    for (const nowMs of [0, 100, 200]) stream.message(lines(100), nowMs * MS);
    stream.message(lines(100), 5_300 * MS);
    stream.message(lines(100), 5_400 * MS);
    const tracker = new SequenceTracker();
    expect(frames.map((frame) => tracker.accept(frame))).toEqual(['first', 'next', 'next', 'gap', 'next']);
    expect(tracker.lost).toBe(5_000);
  });

  it('counts lines that were refused during a silence as a part of it', () => {
    const { stream, frames } = record();
    stream.message(lines(100), 0);
    stream.message(bytesOf('x\n'.repeat(100)), 2_000 * MS);
    stream.message(lines(100), 4_100 * MS);
    expect(frames[1].sequence).toBe(100 + 4_000);
  });

  it('takes late and lumpy arrivals for what they are: not a silence', () => {
    const { stream, frames } = record({ ...csv, sampleRateHz: 10 });
    // A lump of 100 s each 100 s, one of them 50 s late.
    for (const nowS of [0, 100, 250, 300]) stream.message(lines(1_000), nowS * 1e6);
    expect(frames.at(-1)!.sequence + frames.at(-1)!.samplesPerChannel).toBe(4_000);
  });

  it('sees a silence although half a line came in it', () => {
    const { stream, frames } = record();
    stream.push(bytesOf('begin\n1,2\n'), 0);
    stream.push(bytesOf('1,'), 1_500 * MS);
    stream.push(bytesOf('2\n'), 3_001 * MS);
    expect(frames.map(({ sequence }) => sequence)).toEqual([0, 3_001]);
  });

  it('begins another epoch after an interruption, but not for one before its first sample', () => {
    const { stream, frames } = record(csv, 0xffff);
    stream.interrupted();
    stream.push(bytesOf('begin\n1,2\n3,'), 0);
    stream.interrupted();
    stream.interrupted();
    stream.push(bytesOf('4\n5,6\n'), 60_000 * MS);
    expect(frames.map(({ epoch, sequence }) => [epoch, sequence])).toEqual([
      [0xffff, 0],
      [0, 0],
    ]);
  });

  it('fills windows like any stream, none of them across a gap', () => {
    const memory = new StreamMemory({ streams: 1, window: 512, channels: 2 });
    const gateway = new StreamGateway({ window: 512, stride: 256, channels: 2, sampleRateHz: 1_000, rateTolerance: 0.01 }, memory);
    const stream = new ForeignStream(foreignFormatSchema.parse(csv), (frame) => expect(gateway.accept('press', frame, 0)).toBeUndefined());
    const ends: number[] = [];
    const take = () => ends.push(...gateway.take(64).map(({ endSequence }) => endSequence));
    for (let n = 0; n < 10; n++) stream.message(lines(100), n * 100 * MS);
    // A ring holds four windows less the one that may be overwritten now: what comes later would cost the first.
    take();
    stream.message(bytesOf('broken\n'), 1_000 * MS);
    for (let n = 11; n < 17; n++) stream.message(lines(100), n * 100 * MS);
    take();
    expect(ends).toEqual([512, 768, 1_001 + 512]);
    expect(gateway.ledger()).toMatchObject({ samplesReceived: 1_600, samplesLost: 1, windowsExpected: 3 });
  });
});
