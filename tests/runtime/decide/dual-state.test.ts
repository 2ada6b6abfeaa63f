import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type DualEvent,
  type DualState,
  dualSettings,
  initialDualState,
  nextDualState,
  otherModelShare,
} from '../../../runtime/decide/dual-state.ts';
import { WindowShare } from '../../../runtime/decide/window-share.ts';

const SETTINGS = dualSettings(256);
const SLOW = SETTINGS.latencyBudgetMs + 1;
const start = initialDualState(SETTINGS);
const run = (events: readonly DualEvent[], from: DualState = start) =>
  events.reduce((state, event) => nextDualState(state, event, SETTINGS), from);
const repeat = (count: number, ...events: DualEvent[]) => Array.from({ length: count }, () => events).flat();
const ran = (more: Partial<Extract<DualEvent, { kind: 'ran' }>> = {}): DualEvent => ({
  kind: 'ran',
  windows: 1,
  notFinite: 0,
  runMs: 1,
  ...more,
});
const compared = (differed: number, windows = 1): DualEvent => ({ kind: 'compared', windows, differed });
const threw: DualEvent = { kind: 'threw' };

const windows = fc.integer({ min: 1, max: 64 });
const anyRan = windows.chain((count) =>
  fc.record({
    kind: fc.constant('ran' as const),
    windows: fc.constant(count),
    notFinite: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: count })),
    runMs: fc.constantFrom(1, 1, 1, SLOW),
  }),
);
const anyCompared = windows.chain((count) =>
  fc.record({
    kind: fc.constant('compared' as const),
    windows: fc.constant(count),
    differed: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: count })),
  }),
);
const anyEvent = fc.oneof(anyRan, anyRan, anyCompared, fc.constant(threw));

describe('the two models', () => {
  it('change to the back-up at once when the primary throws', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 100 }), (events) => {
        expect(run([...events, threw]).mode).toBe('backup');
      }),
    );
  });

  it('change when the primary gives no numbers: at once for a batch of eight, not for one window in many', () => {
    expect(run([ran({ windows: 8, notFinite: 8 })])).toMatchObject({ mode: 'backup', cause: 'notFinite' });
    expect(run(repeat(50, ran({ windows: 16 }), ran({ notFinite: 1 }))).mode).toBe('primary');
  });

  it('change within one hop when the primary exceeds its budget, and not for a single slow run', () => {
    expect(SETTINGS.slowRuns * SETTINGS.latencyBudgetMs).toBeLessThanOrEqual(256);
    expect(run(repeat(20, ran({ runMs: SLOW }), ran())).mode).toBe('primary');
    expect(run(repeat(SETTINGS.slowRuns, ran({ runMs: SLOW })))).toMatchObject({ mode: 'backup', cause: 'slow' });
  });

  it('do not take the scheduler of the operating system for a slow primary, where windows come faster than it can tell', () => {
    expect(dualSettings(21).latencyBudgetMs).toBe(50);
    expect(dualSettings(4).latencyBudgetMs).toBe(16);
    expect(dualSettings(256).latencyBudgetMs).toBe(128);
  });

  it('become suspicious of disagreement before they change, and then compare every window', () => {
    const suspect = run(repeat(20, compared(1)));
    expect(suspect.mode).toBe('suspect');
    expect(otherModelShare(suspect, SETTINGS)).toBe(1);
    expect(run(repeat(40, compared(1)), suspect)).toMatchObject({ mode: 'backup', cause: 'disagreed' });
    expect(run(repeat(64, compared(0)), suspect).mode).toBe('primary');
  });

  it('stay with a primary that is well, for all that the back-up differs now and then', () => {
    const well = fc.oneof(
      windows.map((count) => ran({ windows: count })),
      windows.map((count) => compared(Math.floor(count / 4), count)),
    );
    fc.assert(
      fc.property(fc.array(well, { maxLength: 300 }), (events) => {
        expect(run(events).mode).toBe('primary');
      }),
    );
  });

  it('return only after the primary has passed so many windows in a row', () => {
    const left = run([threw]);
    const passed = (count: number) => repeat(count, ran(), compared(0));
    expect(run(passed(SETTINGS.recoveryWindows - 1), left).mode).toBe('backup');
    expect(run(passed(SETTINGS.recoveryWindows), left).mode).toBe('primary');
    for (const spoiler of [threw, ran({ notFinite: 1 }), ran({ runMs: SLOW })]) {
      expect(run([...passed(SETTINGS.recoveryWindows - 1), spoiler, ...passed(2)], left).mode).toBe('backup');
    }
  });

  it('do not return to a primary that disagrees', () => {
    const left = run(repeat(100, compared(1)));
    expect(run(repeat(1000, ran(), compared(1)), left).mode).toBe('backup');
  });

  it('switch no oftener than their hysteresis allows, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 400 }), (events) => {
        let state = start;
        let [tried, returns] = [0, 0];
        for (const event of events) {
          const next = nextDualState(state, event, SETTINGS);
          if (state.mode === 'backup' && event.kind === 'ran') tried += event.windows;
          if (state.mode === 'backup' && next.mode !== 'backup') returns++;
          state = next;
        }
        expect(returns * SETTINGS.recoveryWindows).toBeLessThanOrEqual(tried);
      }),
    );
  });

  it('demand more of a primary that fails again soon, and forget it once it was steady', () => {
    const passed = (state: DualState) => repeat(state.demanded, ran(), compared(0));
    let state = run([threw]);
    const demanded: number[] = [];
    for (let round = 0; round < 9; round++) {
      demanded.push(state.demanded / SETTINGS.recoveryWindows);
      state = run([threw], run(passed(state), state));
    }
    expect(demanded).toEqual([1, 2, 4, 8, 16, 32, 64, 64, 64]);
    const steady = run([ran({ windows: 1e6 })], run(passed(state), state));
    expect(run([threw], steady).demanded).toBe(SETTINGS.recoveryWindows);
  });

  it('try a primary that fails its trials ever less often', () => {
    const left = run([threw]);
    const shares = [0, 1, 2, 20].map((count) => otherModelShare(run(repeat(count, threw), left), SETTINGS));
    expect(shares).toEqual([1 / 4, 1 / 8, 1 / 16, 1 / 1024]);
  });

  it('decide by the primary again when the back-up throws', () => {
    expect(run([threw, { kind: 'backup-threw' }]).mode).toBe('primary');
  });
});

describe('WindowShare', () => {
  it('picks the stated share of windows, whatever the batches', () => {
    fc.assert(
      fc.property(fc.array(windows, { minLength: 1, maxLength: 400 }), fc.constantFrom(1 / 16, 1 / 4, 0.3), (batches, rate) => {
        const share = new WindowShare();
        let [all, picked] = [0, 0];
        for (const count of batches) {
          all += count;
          if (share.due(count, rate)) picked += count;
          expect(Math.abs(picked - rate * all)).toBeLessThanOrEqual(64 + 1e-6);
        }
      }),
    );
  });

  it('picks every window of a whole share and none of none', () => {
    const share = new WindowShare();
    expect([3, 64, 1].map((count) => share.due(count, 0))).toEqual([false, false, false]);
    expect([3, 64, 1].map((count) => share.due(count, 1))).toEqual([true, true, true]);
  });
});
