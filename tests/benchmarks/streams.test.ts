import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { measureStreams } from '../../benchmarks/streams/measure.ts';
import { findMosquitto, startMosquitto } from '../../benchmarks/streams/mosquitto.ts';
import { SamplePackets } from '../../benchmarks/streams/packets.ts';
import { quantiles } from '../../benchmarks/streams/quantiles.ts';
import { Schedule, type SchedulePlan } from '../../benchmarks/streams/schedule.ts';
import { decodeFrame } from '../../firmware-bridge/codec/index.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { WindowScheduler } from '../../runtime/stream/window-scheduler.ts';

const PLAN: SchedulePlan = {
  streams: 7,
  seconds: 3,
  aligned: false,
  seed: 1,
  sampleRateHz: 1000,
  frameSamples: 64,
  window: 512,
  stride: 256,
};

const found = findMosquitto();
const withMosquitto = it.skipIf(!found);

describe('the timetable', () => {
  it('gives out every frame of every stream once, in order of time, none before it is due', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        fc.nat(),
        (streams, seconds, aligned, seed) => {
          const schedule = new Schedule({ ...PLAN, streams, seconds, aligned, seed });
          const next = new Array<number>(streams).fill(0);
          let last = 0;
          for (let nowMs = 0; !schedule.done; nowMs += 3) {
            for (let due = schedule.next(nowMs); due; due = schedule.next(nowMs)) {
              expect(due.frame).toBe(next[due.stream]++);
              expect(due.dueMs).toBeLessThanOrEqual(nowMs);
              expect(due.dueMs).toBeGreaterThanOrEqual(last);
              expect(due.dueMs).toBeCloseTo(schedule.dueMs(due.stream, due.frame), 9);
              last = due.dueMs;
            }
          }
          expect(next).toEqual(new Array(streams).fill(schedule.framesPerStream));
        },
      ),
    );
  });

  it('expects the windows that the gateway cuts, and knows them by their end', () => {
    for (const seconds of [1, 2, 3, 10]) {
      const schedule = new Schedule({ ...PLAN, seconds });
      const scheduler = new WindowScheduler(PLAN.window, PLAN.stride);
      const ends: number[] = [];
      for (let frame = 0; frame < schedule.framesPerStream; frame++) scheduler.advance(64, (taken) => ends.push(frame * 64 + taken));
      expect(ends.map((end) => schedule.windowOf(end))).toEqual(ends.map((_, index) => index));
      expect(schedule.windowsPerStream).toBe(ends.length);
      expect(schedule.windowOf(ends.at(-1)! + PLAN.stride)).toBe(-1);
      expect(schedule.windowOf(513)).toBe(-1);
      ends.forEach((end, index) => {
        expect(schedule.windowDueMs(3, index)).toBe(schedule.dueMs(3, end / 64 - 1));
      });
    }
  });

  it('spreads phases over a stride, or sends all at once', () => {
    const phases = (aligned: boolean) => {
      const schedule = new Schedule({ ...PLAN, streams: 500, aligned });
      return Array.from({ length: 500 }, (_, stream) => schedule.dueMs(stream, 0) - schedule.periodMs);
    };
    const spread = phases(false);
    expect(Math.max(...spread)).toBeGreaterThan(240);
    expect(Math.max(...spread)).toBeLessThan(256);
    expect(Math.min(...spread)).toBeLessThan(16);
    expect(new Set(phases(true))).toEqual(new Set([0]));
  });
});

describe('a packet', () => {
  withMosquitto(`is what a broker passes on as a frame${found ? '' : ' (mosquitto is not installed)'}`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-streams-test-'));
    const broker = await startMosquitto(folder, found!);
    const client = connectBroker(broker.url, () => {});
    try {
      const packets = new SamplePackets(['a/short', `a/${'long'.repeat(20)}`], 64);
      const got: { topic: string; payload: Buffer }[] = [];
      client.on('message', (topic, payload) => void got.push({ topic, payload }));
      await client.subscribeAsync('a/#');
      const bytes = new Uint8Array(3 * (packets.bytesOf(0) + packets.bytesOf(1)));
      let at = 0;
      // A frame number beyond 2^32 microseconds shows both words of the device's clock.
      for (const frame of [0, 1, 70_000]) for (const stream of [0, 1]) at = packets.write(stream, frame, bytes, at);
      expect(at).toBe(bytes.length);
      (client.stream as unknown as { write(bytes: Uint8Array): void }).write(bytes);
      while (got.length < 6) await new Promise((resolve) => setTimeout(resolve, 10));
      const frames = got.map(({ payload }) => decodeFrame(payload));
      expect(frames.map((frame) => frame.kind === 'samples' && [frame.sequence, frame.deviceTimeUs])).toEqual(
        [0, 0, 1, 1, 70_000, 70_000].map((frame) => [frame * 64, frame * 64_000]),
      );
      expect(got.map(({ topic }) => topic.length)).toEqual([7, 82, 7, 82, 7, 82]);
    } finally {
      await client.endAsync(true);
      await broker.stop();
      await rm(folder, { recursive: true });
    }
  });
});

it('takes quantiles by nearest rank', () => {
  const values = Float64Array.from({ length: 1000 }, (_, index) => 1000 - index);
  expect(quantiles(values)).toEqual({ p50: 500, p99: 990, p999: 999, max: 1000 });
});

describe('tremolo bench streams', () => {
  withMosquitto(`accounts for every window of a short run${found ? '' : ' (mosquitto is not installed)'}`, async () => {
    const root = new URL('../../', import.meta.url);
    const result = await measureStreams({
      streams: 20,
      seconds: 3,
      aligned: false,
      seed: 1,
      bundle: new URL('models/shipped/plant', root).pathname,
      programs: new URL('dist/', root),
      progress: () => {},
    });
    if ('skipped' in result) throw new Error(result.skipped);
    expect(result).toMatchObject({ framesLost: 0, windowsExpected: 200, windowsDecided: 200, windowsRefused: 0, windowsLost: 0 });
    expect(result).toMatchObject({ duplicates: 0, strangers: 0 });
    const { cpu, latencyMs, gatewayCpuMsPerStreamSecond } = result;
    expect(latencyMs.p50).toBeGreaterThan(0);
    expect(latencyMs.p99).toBeGreaterThanOrEqual(latencyMs.p50);
    // The kernel counts a process in ticks of 10 ms, its threads in nanoseconds.
    expect(Math.abs(cpu.inside + cpu.outside - gatewayCpuMsPerStreamSecond)).toBeLessThan(1e-3);
    expect(cpu.inside).toBeGreaterThan(0);
    expect(cpu.inside).toBeLessThan(cpu.inferenceThread);
    expect(cpu.windowsPerRun).toBeGreaterThanOrEqual(1);
  });
});
