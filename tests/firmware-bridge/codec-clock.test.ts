import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClockEstimator, type TimeSyncReply } from '../../firmware-bridge/codec/index.ts';
import { seededRandom } from './vectors/arbitrary.ts';

/** A device whose clock runs `ppm` fast and shows `originUs` at host time 0, on a path of at least `minDelayUs` with exponential jitter. */
function path({ ppm = 0, originUs = 0, minDelayUs = 0, jitterUs = 0, seed = 1 }) {
  const random = seededRandom(seed);
  const deviceAt = (hostUs: number) => Math.round(originUs + hostUs * (1 + ppm * 1e-6));
  const delay = () => minDelayUs - jitterUs * Math.log(1 - random());
  return {
    deviceAt,
    delay,
    /** Feeds a pair every 128 ms from `fromS` to `toS` of host time, in seconds. */
    feed(clock: ClockEstimator, fromS: number, toS: number) {
      for (let hostUs = fromS * 1e6; hostUs < toS * 1e6; hostUs += 128_000) clock.observe(deviceAt(hostUs), hostUs + delay());
    },
    sync(clock: ClockEstimator, hostUs: number) {
      const deviceReceiveUs = deviceAt(hostUs + delay());
      const sent = hostUs + delay() + 500;
      const reply: TimeSyncReply = {
        kind: 'timeSyncReply',
        streamId: 0,
        epoch: 0,
        hostTimeUs: hostUs,
        deviceReceiveUs,
        deviceSendUs: deviceAt(sent),
      };
      clock.observeReply(reply, sent + delay());
    },
  };
}

/** How far the estimated host time is from the true one, in microseconds. */
const errorUs = (clock: ClockEstimator, line: ReturnType<typeof path>, hostUs: number) => clock.toHostUs(line.deviceAt(hostUs))! - hostUs;

describe('the clock estimate', () => {
  it('is undefined before the first pair and after a reset', () => {
    const clock = new ClockEstimator();
    expect(clock.estimate).toBeUndefined();
    expect(clock.toHostUs(5)).toBeUndefined();
    clock.observe(1_000, 5_000);
    expect(clock.estimate).toEqual({ offsetUs: 4_000, driftPpm: 0, spanUs: 0, roundTripUs: Number.POSITIVE_INFINITY });
    clock.reset();
    expect(clock.estimate).toBeUndefined();
  });

  it('takes the offset from the quickest pair while the time is too short for a drift', () => {
    const clock = new ClockEstimator();
    for (const [deviceUs, hostUs] of [
      [0, 9_000],
      [1_000_000, 1_002_000],
      [2_000_000, 2_007_000],
    ])
      clock.observe(deviceUs, hostUs);
    expect(clock.estimate).toMatchObject({ offsetUs: 2_000, driftPpm: 0 });
  });

  it.each([
    ['a quartz crystal 40 ppm fast', 40],
    ['a quartz crystal 40 ppm slow', -40],
    ['a ceramic resonator 1,500 ppm fast', 1_500],
    ['a perfect clock', 0],
  ])('finds %s behind 2 ms of jitter', (_name, ppm) => {
    const clock = new ClockEstimator();
    const line = path({ ppm, originUs: 1.7e15, minDelayUs: 300, jitterUs: 2_000 });
    line.feed(clock, 0, 300);
    expect(clock.estimate?.driftPpm).toBeGreaterThan(ppm - 1);
    expect(clock.estimate?.driftPpm).toBeLessThan(ppm + 1);
    // One-way pairs cannot see the smallest delay: it stays in the offset, plus what is left of the jitter.
    expect(errorUs(clock, line, 300e6)).toBeGreaterThan(0);
    expect(errorUs(clock, line, 300e6)).toBeLessThan(400);
  });

  it('is free of the smallest delay where the device answers time syncs', () => {
    const clock = new ClockEstimator();
    const line = path({ ppm: 40, minDelayUs: 8_000, jitterUs: 500 });
    for (let s = 0; s < 300; s += 2) line.sync(clock, s * 1e6);
    expect(clock.estimate?.roundTripUs).toBeLessThan(17_000);
    expect(Math.abs(errorUs(clock, line, 300e6))).toBeLessThan(500);
  });

  it('follows a drift that changes with the temperature', () => {
    const clock = new ClockEstimator();
    const cold = path({ ppm: -20, minDelayUs: 100, jitterUs: 500 });
    cold.feed(clock, 0, 600);
    const warm = path({ ppm: 30, originUs: cold.deviceAt(600e6) - 600e6 * (1 + 30e-6), minDelayUs: 100, jitterUs: 500, seed: 2 });
    warm.feed(clock, 600, 1_200);
    expect(clock.estimate?.driftPpm).toBeGreaterThan(27);
    expect(clock.estimate?.driftPpm).toBeLessThan(33);
  });

  it('begins anew when the device starts again at zero', () => {
    const clock = new ClockEstimator();
    path({ originUs: 5e9 }).feed(clock, 0, 100);
    const again = path({ originUs: -100e6 });
    again.feed(clock, 100, 101);
    expect(errorUs(clock, again, 101e6)).toBeCloseTo(0, 3);
    expect(clock.estimate?.spanUs).toBeLessThan(1e6);
  });

  it('begins anew when the device clock is set forward', () => {
    const clock = new ClockEstimator();
    path({}).feed(clock, 0, 100);
    const later = path({ originUs: 1e6 });
    later.feed(clock, 100, 101);
    expect(errorUs(clock, later, 101e6)).toBeCloseTo(0, 3);
  });

  it('sits out pairs that come seconds late, and follows after ten seconds of nothing else', () => {
    const clock = new ClockEstimator();
    const line = path({});
    line.feed(clock, 0, 100);
    // The broker holds messages back: the host sees them 3 s late.
    const held = path({ minDelayUs: 3e6 });
    held.feed(clock, 100, 109);
    expect(errorUs(clock, line, 109e6)).toBeCloseTo(0, 3);
    held.feed(clock, 109, 112);
    expect(errorUs(clock, line, 112e6)).toBeCloseTo(3e6, 3);
  });

  it('takes no harm from pairs out of order', () => {
    const clock = new ClockEstimator();
    const line = path({ ppm: 25 });
    for (let s = 0; s < 200; s += 1) {
      clock.observe(line.deviceAt(s * 1e6 + 150_000), s * 1e6 + 150_000);
      clock.observe(line.deviceAt(s * 1e6), s * 1e6 + 150_000);
    }
    expect(clock.estimate?.driftPpm).toBeCloseTo(25, 1);
  });

  it('is within 0.1 ms and 2 ppm after two minutes behind 3 ms of jitter, whatever the clock', () => {
    fc.assert(
      fc.property(fc.integer({ min: -500, max: 500 }), fc.nat(), (ppm, seed) => {
        const clock = new ClockEstimator();
        const line = path({ ppm, jitterUs: 3_000, seed });
        line.feed(clock, 0, 120);
        expect(Math.abs(errorUs(clock, line, 120e6))).toBeLessThan(100);
        expect(Math.abs(clock.estimate!.driftPpm - ppm)).toBeLessThan(2);
      }),
      // A fixed seed: the bound is one of probability, and a bad draw in a year of runs would say nothing.
      { numRuns: 100, seed: 10 },
    );
  });

  it('is the line below all pairs with the least total distance, as trying every pair of points finds it', () => {
    // One pair each 4 s, so that each is a bucket's minimum.
    const delays = fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 12, maxLength: 60 });
    fc.assert(
      fc.property(delays, (ys) => {
        const clock = new ClockEstimator();
        const points = ys.map((y, i) => ({ x: i * 4_000_000, y }));
        for (const { x, y } of points) clock.observe(x, x + y);
        const { offsetUs } = clock.estimate!;
        const at = (x: number) => clock.toHostUs(x)! - x;
        const total = points.reduce((sum, { x, y }) => sum + y - at(x), 0);
        expect(offsetUs).toBeCloseTo(at(points.at(-1)!.x), 3);
        for (const { x, y } of points) expect(at(x)).toBeLessThanOrEqual(y + 1e-6);
        expect(total).toBeLessThanOrEqual(leastTotal(points) + 1e-3);
      }),
    );
  });
});

/** The slow reference: the line through every two points, where no point lies below it. */
function leastTotal(points: { x: number; y: number }[]): number {
  let least = Number.POSITIVE_INFINITY;
  for (const a of points) {
    for (const b of points) {
      if (b.x <= a.x) continue;
      const slope = (b.y - a.y) / (b.x - a.x);
      const line = (x: number) => a.y + slope * (x - a.x);
      if (points.some(({ x, y }) => y < line(x) - 1e-6)) continue;
      least = Math.min(
        least,
        points.reduce((sum, { x, y }) => sum + y - line(x), 0),
      );
    }
  }
  return least;
}
