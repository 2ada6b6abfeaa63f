import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Heartbeat, type SampleFrame, SequenceTracker } from '../../firmware-bridge/codec/index.ts';
import { vector } from './vectors/vectors.ts';

const frame = (sequence: number, samplesPerChannel = 10, more: Partial<SampleFrame> = {}): SampleFrame => ({
  ...(vector('the smallest samples frame').frame as SampleFrame),
  sequence: sequence >>> 0,
  samplesPerChannel,
  ...more,
});

const heartbeat = (nextSequence: number, epoch = 0): Heartbeat => ({
  ...(vector('a heartbeat of a stopped stream').frame as Heartbeat),
  nextSequence,
  epoch,
});

describe('a sequence tracker', () => {
  it('counts exactly the samples of the frames that were lost, whatever their lengths and wherever the counter wraps', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.array(fc.record({ length: fc.integer({ min: 1, max: 5_000 }), arrives: fc.boolean() }), { minLength: 1 }),
        (start, frames) => {
          const tracker = new SequenceTracker();
          tracker.accept(frame(start, 1));
          let sequence = start + 1;
          let sent = 1;
          for (const { length, arrives } of frames) {
            if (arrives) tracker.accept(frame(sequence, length));
            sequence += length;
            sent += length;
          }
          // The last frame that arrives shows what was lost before it.
          tracker.accept(frame(sequence, 1));
          sent++;
          expect(tracker.received + tracker.lost).toBe(sent);
          expect(tracker.lost).toBe(frames.filter(({ arrives }) => !arrives).reduce((sum, { length }) => sum + length, 0));
        },
      ),
    );
  });

  it('knows of no loss before the first frame', () => {
    const tracker = new SequenceTracker();
    expect(tracker.accept(frame(5_000))).toBe('first');
    expect(tracker.lost).toBe(0);
    expect(tracker.accept(frame(5_010))).toBe('next');
  });

  it('is not moved by a device clock that jumps', () => {
    const tracker = new SequenceTracker();
    tracker.accept(frame(0, 10, { deviceTimeUs: 9e12 }));
    expect(tracker.accept(frame(10, 10, { deviceTimeUs: 0 }))).toBe('next');
    expect(tracker.lost).toBe(0);
  });

  it('drops duplicates and frames that were overtaken', () => {
    const tracker = new SequenceTracker();
    tracker.accept(frame(0));
    expect(tracker.accept(frame(20))).toBe('gap');
    expect(tracker.lostBefore).toBe(10);
    expect(tracker.accept(frame(10))).toBe('late');
    expect(tracker.accept(frame(20))).toBe('late');
    expect(tracker.accept(frame(30))).toBe('next');
    expect(tracker).toMatchObject({ received: 30, lost: 10, late: 20, lostBefore: 0 });
  });

  it('takes a new epoch as a restart, and counts what is missing at its begin', () => {
    const tracker = new SequenceTracker();
    tracker.accept(frame(7_000, 10, { epoch: 1 }));
    expect(tracker.accept(frame(20, 10, { epoch: 2 }))).toBe('restart');
    expect(tracker.lost).toBe(20);
    expect(tracker.accept(frame(30, 10, { epoch: 2 }))).toBe('next');
  });

  it('takes a sequence far behind as a restart even where the firmware forgot to change the epoch', () => {
    const tracker = new SequenceTracker();
    tracker.accept(frame(1_000_000));
    expect(tracker.accept(frame(0))).toBe('restart');
    expect(tracker.accept(frame(10))).toBe('next');
    expect(tracker.lost).toBe(0);
  });

  it('learns from a heartbeat what was lost at the end of a stream', () => {
    const tracker = new SequenceTracker();
    tracker.accept(frame(0));
    expect(tracker.acceptHeartbeat(heartbeat(10))).toBe('next');
    expect(tracker.acceptHeartbeat(heartbeat(30))).toBe('gap');
    expect(tracker.lost).toBe(20);
    expect(tracker.accept(frame(30))).toBe('next');
    expect(tracker).toMatchObject({ received: 20, lost: 20 });
  });
});
