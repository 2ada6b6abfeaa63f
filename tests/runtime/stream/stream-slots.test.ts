import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SampleFrame } from '../../../firmware-bridge/codec/index.ts';
import { type Outcome, StreamGateway, type StreamHooks, type WindowJob } from '../../../runtime/stream/stream-gateway.ts';
import { StreamMemory } from '../../../runtime/stream/stream-memory.ts';

const OPTIONS = { window: 16, stride: 8, channels: 1, sampleRateHz: 1000, rateTolerance: 0.01 };
const SLOTS = 2;
const IDLE_MS = 100;

function frameAt(sequence: number): SampleFrame {
  return {
    kind: 'samples',
    streamId: 0,
    epoch: 0,
    sequence,
    deviceTimeUs: 0,
    sampleRateHz: 1000,
    shaftSpeedRpm: undefined,
    channelCount: 1,
    samplesPerChannel: 8,
    scales: Float32Array.of(1),
    samples: new Int16Array(8),
  };
}

function gatewayOf(hooks?: StreamHooks): StreamGateway {
  return new StreamGateway(OPTIONS, new StreamMemory({ streams: SLOTS, window: 16, channels: 1 }), hooks);
}

describe('slots of streams', () => {
  it('are given again after a stream was silent, and not before', () => {
    const gateway = gatewayOf();
    gateway.accept('a', frameAt(0), 0);
    gateway.accept('b', frameAt(0), 50);
    expect(gateway.accept('c', frameAt(0), 60)).toBe('full');
    expect(gateway.freeIdle(99, IDLE_MS)).toBe(0);
    expect(gateway.freeIdle(100, IDLE_MS)).toBe(1);
    expect(gateway.accept('c', frameAt(0), 100)).toBeUndefined();
    expect(gateway.slotOf('c')).toBe(0);
    expect(gateway.slotOf('a')).toBeUndefined();
    expect(gateway.accept('a', frameAt(8), 100)).toBe('full');
  });

  it('are not given again while a window of theirs waits or runs', () => {
    const gateway = gatewayOf();
    gateway.accept('a', frameAt(0), 0);
    gateway.accept('a', frameAt(8), 0);
    expect(gateway.freeIdle(1000, IDLE_MS)).toBe(0);
    const [job] = gateway.take(1);
    expect(gateway.freeIdle(1000, IDLE_MS)).toBe(0);
    gateway.settle(job, 'decided');
    expect(gateway.freeIdle(1000, IDLE_MS)).toBe(1);
  });

  it('cost no sample of the count: what a stream lost while it had none is known when it returns', () => {
    const gateway = gatewayOf();
    gateway.accept('a', frameAt(0), 0);
    gateway.freeIdle(1000, IDLE_MS);
    gateway.accept('a', frameAt(808), 2000);
    expect(gateway.ledger()).toMatchObject({ samplesReceived: 16, samplesLost: 800 });
  });

  it('join no window across the silence', () => {
    const gateway = gatewayOf();
    gateway.accept('a', frameAt(0), 0);
    gateway.freeIdle(1000, IDLE_MS);
    gateway.accept('a', frameAt(8), 2000);
    expect(gateway.take(1)).toEqual([]);
    gateway.accept('a', frameAt(16), 2000);
    expect(gateway.take(1).map(({ endSequence }) => endSequence)).toEqual([24]);
  });

  it('are told of, and windows carry the reference and the adapter that belong to them', () => {
    const told: string[] = [];
    const gateway = gatewayOf({
      onOpen: (name, slot) => {
        told.push(`${name} opens ${slot}`);
        return { reference: name === 'b' ? slot + 1 : 0, adapter: 0 };
      },
      onFree: (name, slot) => told.push(`${name} frees ${slot}`),
    });
    for (const name of ['a', 'b']) for (const sequence of [0, 8]) gateway.accept(name, frameAt(sequence), 0);
    gateway.setReference('a', 1);
    gateway.setAdapter('a', 1);
    gateway.accept('a', frameAt(16), 0);
    expect(gateway.take(9).map(({ name, reference, adapter }) => [name, reference, adapter])).toEqual([
      ['a', 0, 0],
      ['b', 2, 0],
      ['a', 1, 1],
    ]);
    const empty = gatewayOf({ onFree: (name, slot) => told.push(`${name} frees ${slot}`) });
    empty.accept('c', frameAt(0), 0);
    empty.freeIdle(IDLE_MS, IDLE_MS);
    expect(told).toEqual(['a opens 0', 'b opens 1', 'c frees 0']);
  });
});

describe('windows that were overwritten while they waited', () => {
  it('are refused without being taken, and the newer ones are', () => {
    const gateway = gatewayOf();
    for (let sequence = 0; sequence < 128; sequence += 8) gateway.accept('a', frameAt(sequence), 0);
    // A ring holds four windows, and a reader keeps one of distance: those that end within the last 40 samples are whole.
    expect(gateway.take(2).map(({ endSequence }) => endSequence)).toEqual([96, 104]);
    expect(gateway.ledger()).toMatchObject({ windowsExpected: 15, windowsDecided: 0, windowsWaiting: 5, windowsRefused: { overrun: 10 } });
  });
});

describe('the ledger', () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('frame' as const),
        stream: fc.integer({ min: 0, max: 6 }),
        skip: fc.constantFrom(0, 0, 0, 8),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('take' as const), count: fc.integer({ min: 1, max: 4 }) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('settle' as const),
        outcome: fc.constantFrom<Outcome>('decided', 'overrun', 'notFinite', 'failed'),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('replace' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 300 }) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('refuse' as const), cause: fc.constantFrom<'stopped' | 'replaced'>('stopped', 'replaced') }),
    },
  );

  it('goes on over a change of the bundle: what waited is refused, what was lost meanwhile is known', () => {
    const old = gatewayOf();
    for (const sequence of [0, 8, 16]) old.accept('a', frameAt(sequence), 0);
    const [job] = old.take(1);
    old.settle(job, 'decided');
    const gateway = StreamGateway.after(old, { ...OPTIONS, window: 24 }, new StreamMemory({ streams: SLOTS, window: 24, channels: 1 }));
    for (const sequence of [32, 40, 48]) gateway.accept('a', frameAt(sequence), 0);
    expect(gateway.ledger()).toMatchObject({
      samplesReceived: 48,
      samplesLost: 8,
      windowsExpected: 3,
      windowsDecided: 1,
      windowsWaiting: 1,
      windowsRefused: { replaced: 1 },
    });
  });

  it('balances at any moment, over streams that come, go and return, refusals, changes of the bundle, and windows that nobody will decide', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        let gateway = gatewayOf();
        const sequences = new Array<number>(7).fill(0);
        const running: WindowJob[] = [];
        let [now, received, taken] = [0, 0, 0];
        for (const one of steps) {
          if (one.kind === 'frame') {
            const sequence = sequences[one.stream] + one.skip;
            if (gateway.accept(`s${one.stream}`, frameAt(sequence), now) === undefined) {
              received += 8;
              sequences[one.stream] = sequence + 8;
            }
          } else if (one.kind === 'take') {
            const jobs = gateway.take(one.count);
            taken += jobs.length;
            running.push(...jobs);
          } else if (one.kind === 'settle') {
            const job = running.shift();
            if (job) gateway.settle(job, one.outcome);
          } else if (one.kind === 'replace') {
            const old = gateway;
            const successor = () => StreamGateway.after(old, OPTIONS, new StreamMemory({ streams: SLOTS, window: 16, channels: 1 }));
            if (running.length > 0) expect(successor).toThrow('still run');
            else gateway = successor();
          } else if (one.kind === 'wait') {
            now += one.ms;
            gateway.freeIdle(now, IDLE_MS);
          } else {
            gateway.refuseWaiting(one.cause);
            expect(gateway.waiting).toBe(0);
          }
          const ledger = gateway.ledger();
          const refused = Object.values(ledger.windowsRefused).reduce((a, b) => a + b, 0);
          expect(ledger.windowsDecided + refused + ledger.windowsWaiting).toBe(ledger.windowsExpected);
          expect(ledger.samplesReceived).toBe(received);
          expect(ledger.windowsExpected).toBeGreaterThanOrEqual(taken);
          expect(gateway.streamCount).toBeLessThanOrEqual(SLOTS);
        }
      }),
    );
  });
});

it('a window says the shaft speed of its last frame, where the device says one', () => {
  const gateway = gatewayOf();
  gateway.accept('a', frameAt(0), 0);
  gateway.accept('a', { ...frameAt(8), shaftSpeedRpm: 1480 }, 0);
  gateway.accept('a', frameAt(16), 0);
  expect(gateway.take(2).map(({ shaftSpeedRpm }) => shaftSpeedRpm)).toEqual([1480, undefined]);
});
