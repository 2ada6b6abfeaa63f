import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchPlanner } from '../../../runtime/stream/batch-planner.ts';

/** A planner that has measured a model whose batch of n takes a + b n milliseconds. */
function measured(a: number, b: number): BatchPlanner {
  const planner = new BatchPlanner(64, 54, 4, 4);
  for (const size of [1, 64, 8, 3, 40, 1, 16, 64, 2]) planner.observe(size, a + b * size);
  return planner;
}

describe('BatchPlanner', () => {
  it('takes all that waits while nothing is known, and no more than there is', () => {
    const planner = new BatchPlanner(64, 50);
    expect(planner.size(1000, 0)).toBe(64);
    expect(planner.size(3, 0)).toBe(3);
    expect(planner.size(0, 0)).toBe(0);
  });

  it('learns what a batch takes', () => {
    const planner = measured(2, 0.5);
    expect(planner.expectedMs(32)).toBeCloseTo(18, 6);
  });

  it('runs no longer than half the bound, and not shorter than it needs to', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.1, max: 10, noNaN: true }), fc.double({ min: 0.01, max: 3, noNaN: true }), (a, b) => {
        const size = measured(a, b).size(1000, 0);
        expect(a + b * size).toBeLessThanOrEqual(25 + 1e-6);
        if (size < 64) expect(a + b * (size + 1)).toBeGreaterThan(25 - 1e-6);
      }),
    );
  });

  it('runs single windows where even one takes too long, and the largest batch where the bound is lost already', () => {
    const planner = measured(30, 1);
    expect(planner.size(1000, 10)).toBe(1);
    expect(planner.size(1000, 55)).toBe(64);
  });

  it('follows a machine that becomes slower', () => {
    const planner = measured(1, 0.1);
    expect(planner.size(64, 0)).toBe(64);
    for (let round = 0; round < 300; round++) planner.observe(1 + (round % 60), 1 + 2 * (1 + (round % 60)));
    const size = planner.size(64, 0);
    expect(size).toBeGreaterThanOrEqual(10);
    expect(size).toBeLessThanOrEqual(14);
  });

  it('lets windows gather between two runs, but neither one that comes alone nor a full batch', () => {
    const planner = new BatchPlanner(64, 50, 4, 4);
    expect(planner.pauseMs(1, 1000)).toBe(0);
    planner.begin(1000);
    expect(planner.pauseMs(1, 1001)).toBe(3);
    expect(planner.pauseMs(64, 1001)).toBe(0);
    expect(planner.pauseMs(1, 1004)).toBe(0);
  });

  it('keeps every window within its bound in a queue that the model keeps up with', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 50, maxLength: 200 }), (arrivals) => {
        const planner = measured(4, 0.8);
        const queue: number[] = [];
        let [freeAt, worst] = [0, 0];
        // One step a millisecond; at most six windows in eight of them are fewer than the model gets through.
        for (let now = 0; now < arrivals.length + 200; now++) {
          const load = now % 8 === 0 ? (arrivals[now] ?? 0) : 0;
          for (let index = 0; index < load; index++) queue.push(now);
          if (now < freeAt || queue.length === 0 || planner.pauseMs(queue.length, now) > 0) continue;
          planner.begin(now);
          const batch = queue.splice(0, planner.size(queue.length, now - queue[0]));
          freeAt = now + 4 + 0.8 * batch.length;
          worst = Math.max(worst, freeAt - batch[0]);
        }
        expect(queue).toEqual([]);
        expect(worst).toBeLessThanOrEqual(54);
      }),
    );
  });

  it.each([
    { perSecond: 100, share: 1, longestMs: 1 },
    { perSecond: 400, share: 0.9, longestMs: 3 },
    { perSecond: 4000, share: 1 / 20, longestMs: 8 },
  ])('runs $perSecond windows a second in a share of $share of the runs, none waiting longer than $longestMs ms', (given) => {
    const planner = new BatchPlanner(64, 50);
    let [windows, runs, worst] = [0, 0, 0];
    const queue: number[] = [];
    for (let now = 0; now < 4000; now += 0.25) {
      const due = Math.floor((given.perSecond * now) / 1000);
      for (; windows < due; windows++) queue.push(now);
      if (queue.length === 0 || planner.pauseMs(queue.length, now) > 0) continue;
      planner.begin(now);
      worst = Math.max(worst, now - queue[0]);
      planner.observe(queue.length, 0.5);
      runs++;
      queue.length = 0;
    }
    expect(runs / windows).toBeLessThanOrEqual(given.share);
    expect(worst).toBeLessThanOrEqual(given.longestMs);
  });
});
