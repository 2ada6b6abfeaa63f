import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SampleFrame } from '../../../firmware-bridge/codec/index.ts';
import { StreamGateway } from '../../../runtime/stream/stream-gateway.ts';
import { StreamMemory } from '../../../runtime/stream/stream-memory.ts';
import { WindowScheduler } from '../../../runtime/stream/window-scheduler.ts';

describe('WindowScheduler', () => {
  it('gives nothing before sample 512, then a window every 256', () => {
    const scheduler = new WindowScheduler(512, 256);
    const ends: number[] = [];
    for (let at = 0; at < 2000; at++) scheduler.advance(1, () => ends.push(at + 1));
    expect(ends).toEqual([512, 768, 1024, 1280, 1536, 1792]);
    expect(scheduler.expected).toBe(6);
  });

  it('does not care how samples are cut into frames', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 40 }),
        (window, stride, frames) => {
          const scheduler = new WindowScheduler(window, stride);
          let at = 0;
          const ends: number[] = [];
          for (const count of frames) {
            scheduler.advance(count, (taken) => ends.push(at + taken));
            at += count;
          }
          const expected = Array.from({ length: at + 1 }, (_, end) => end).filter((end) => end >= window && (end - window) % stride === 0);
          expect(ends).toEqual(expected);
        },
      ),
    );
  });

  it('begins anew after a gap', () => {
    const scheduler = new WindowScheduler(512, 256);
    scheduler.advance(600, () => {});
    scheduler.restart();
    const ends: number[] = [];
    scheduler.advance(800, (taken) => ends.push(taken));
    expect(ends).toEqual([512, 768]);
  });
});

describe('StreamMemory', () => {
  const shape = { streams: 2, window: 8, channels: 2 };

  it('gives back the last window, wherever it lies in the ring, to another view of the same memory', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 2, maxLength: 60 }), (frames) => {
        const memory = new StreamMemory(shape);
        const reader = new StreamMemory(shape, memory.buffer);
        const all: number[] = [];
        for (const count of frames) {
          const codes = Int16Array.from({ length: 2 * count }, (_, index) => all.length + index);
          all.push(...codes);
          memory.append(1, codes, 0, count);
        }
        const end = memory.written(1);
        fc.pre(end >= 8);
        const window = new Int16Array(16);
        expect(reader.copyWindow(1, end, window, 0)).toBe(true);
        expect([...window]).toEqual(all.slice(-16).map((value) => (value << 16) >> 16));
      }),
    );
  });

  it('refuses what newer samples have overwritten', () => {
    const memory = new StreamMemory(shape);
    const codes = new Int16Array(16);
    const window = new Int16Array(16);
    memory.append(0, codes, 0, 8);
    const end = memory.written(0);
    memory.append(0, codes, 0, 8);
    memory.append(0, codes, 0, 8);
    expect(memory.copyWindow(0, end, window, 0)).toBe(true);
    memory.append(0, codes, 0, 8);
    expect(memory.copyWindow(0, end, window, 0)).toBe(false);
  });
});

const OPTIONS = { window: 512, stride: 256, channels: 1, sampleRateHz: 1000, rateTolerance: 0.01 };

function frameAt(sequence: number, more: Partial<SampleFrame> = {}): SampleFrame {
  const samples = Int16Array.from({ length: 64 }, (_, index) => (sequence + index) % 30_000);
  return {
    kind: 'samples',
    streamId: 0,
    epoch: 0,
    sequence,
    deviceTimeUs: sequence * 1000,
    sampleRateHz: 1000,
    shaftSpeedRpm: undefined,
    channelCount: 1,
    samplesPerChannel: 64,
    scales: Float32Array.of(0.001),
    samples,
    ...more,
  };
}

function balanced(gateway: StreamGateway): void {
  const { windowsExpected, windowsDecided, windowsWaiting, windowsRefused } = gateway.ledger();
  const refused = Object.values(windowsRefused).reduce((a, b) => a + b, 0);
  expect(windowsDecided + windowsWaiting + refused).toBe(windowsExpected);
}

describe('StreamGateway', () => {
  it('never lets a gap, a restart or a change of scale lie inside a window, and its ledger balances', () => {
    const event = fc.record({
      kind: fc.constantFrom('next', 'next', 'next', 'next', 'next', 'next', 'next', 'gap', 'restart', 'scale', 'late'),
      settle: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), (events) => {
        const memory = new StreamMemory({ streams: 1, window: 512, channels: 1 });
        const gateway = new StreamGateway(OPTIONS, memory);
        let [sequence, epoch, scale] = [0, 0, 0.001];
        for (const { kind, settle } of events) {
          if (kind === 'gap') sequence += 64;
          if (kind === 'restart') [epoch, sequence] = [epoch + 1, 0];
          if (kind === 'scale') scale *= 2;
          if (kind === 'late' && sequence >= 64) gateway.accept('a', frameAt(sequence - 64, { epoch, scales: Float32Array.of(scale) }), 0);
          gateway.accept('a', frameAt(sequence, { epoch, scales: Float32Array.of(scale) }), 0);
          sequence += 64;
          for (const job of gateway.take(10)) {
            const window = new Int16Array(512);
            if (memory.copyWindow(job.stream, job.end, window, 0)) {
              // Codes count up by one within one run of samples.
              const first = job.endSequence - 512;
              expect([...window]).toEqual(Array.from({ length: 512 }, (_, index) => (first + index) % 30_000));
            }
            gateway.settle(job, settle ? 'decided' : 'overrun');
            balanced(gateway);
          }
          balanced(gateway);
        }
      }),
    );
  });

  it('decides the first window after exactly 512 samples', () => {
    const gateway = new StreamGateway(OPTIONS, new StreamMemory({ streams: 1, window: 512, channels: 1 }));
    for (let sequence = 0; sequence < 1024; sequence += 64) gateway.accept('a', frameAt(sequence), 0);
    expect(gateway.take(10).map(({ endSequence }) => endSequence)).toEqual([512, 768, 1024]);
  });

  it('keeps frames longer than its ring in their own stream, and in order', () => {
    const memory = new StreamMemory({ streams: 2, window: 512, channels: 1 });
    const gateway = new StreamGateway(OPTIONS, memory);
    for (let sequence = 0; sequence < 512; sequence += 64) gateway.accept('quiet', frameAt(sequence), 0);
    gateway.take(1);
    const samples = Int16Array.from({ length: 5000 }, (_, index) => index);
    gateway.accept('loud', frameAt(0, { samplesPerChannel: 5000, samples }), 0);
    const window = new Int16Array(512);
    expect(memory.copyWindow(0, 512, window, 0)).toBe(true);
    expect([...window.slice(0, 3)]).toEqual([0, 1, 2]);
    const jobs = gateway.take(100);
    expect(jobs.map(({ endSequence }) => endSequence)).toEqual([4096, 4352, 4608, 4864]);
    expect(gateway.ledger()).toMatchObject({ windowsExpected: 19, windowsWaiting: 5, windowsRefused: { overrun: 14 } });
    const last = jobs.at(-1)!;
    expect(memory.copyWindow(last.stream, last.end, window, 0)).toBe(true);
    expect([...window.slice(0, 2)]).toEqual([last.endSequence - 512, last.endSequence - 511]);
  });

  it('lets a waiting window keep the scale that it was taken with', () => {
    const gateway = new StreamGateway(OPTIONS, new StreamMemory({ streams: 1, window: 512, channels: 1 }));
    for (let sequence = 0; sequence < 512; sequence += 64) gateway.accept('a', frameAt(sequence), 0);
    gateway.accept('a', frameAt(512, { scales: Float32Array.of(0.1) }), 0);
    expect(gateway.take(1)[0].scales[0]).toBeCloseTo(0.001, 9);
  });

  it('counts lost samples exactly', () => {
    const gateway = new StreamGateway(OPTIONS, new StreamMemory({ streams: 1, window: 512, channels: 1 }));
    for (const sequence of [0, 64, 320, 384]) gateway.accept('a', frameAt(sequence), 0);
    expect(gateway.ledger()).toMatchObject({ samplesReceived: 256, samplesLost: 192, windowsExpected: 0 });
  });

  it('refuses frames of another shape or rate and streams beyond its memory, each with its counter, and goes on with the others', () => {
    const gateway = new StreamGateway(OPTIONS, new StreamMemory({ streams: 1, window: 512, channels: 1 }));
    expect(gateway.accept('a', frameAt(0), 0)).toBeUndefined();
    expect(gateway.accept('a', frameAt(64, { channelCount: 2 }), 0)).toBe('channels');
    expect(gateway.accept('a', frameAt(64, { sampleRateHz: 900 }), 0)).toBe('rate');
    expect(gateway.accept('b', frameAt(0), 0)).toBe('full');
    expect(gateway.accept('a', frameAt(64), 0)).toBeUndefined();
    expect(gateway.framesRefused).toEqual({ channels: 1, rate: 1, full: 1 });
    expect(gateway.ledger().samplesReceived).toBe(128);
  });
});
