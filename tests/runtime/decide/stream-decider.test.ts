import { describe, expect, it } from 'vitest';
import { type DecisionSettings, decisionSettings } from '../../../runtime/decide/settings.ts';
import { StreamDecider } from '../../../runtime/decide/stream-decider.ts';

const CLASSES = ['normal', 'hum', 'knock'];
const STRIDE = 256;
const HEALTHY = [0.9, 0.06, 0.04];
const FAULTY = [0.02, 0.95, 0.03];
const UNSURE = [0.34, 0.33, 0.33];

/** A machine that is watched window by window. */
function machine(more: Partial<DecisionSettings> = {}) {
  const healthyScores = Float64Array.from({ length: 200 }, (_, index) => index / 400);
  const settings = { ...decisionSettings({ classes: CLASSES }), healthyScores, ...more };
  const decider = new StreamDecider(settings, CLASSES.length, STRIDE);
  let endSequence = 512;
  const see = (
    own: readonly number[],
    { windows = 1, novelty, epoch = 0 }: { windows?: number; novelty?: number; epoch?: number } = {},
  ) => {
    let last = decider.decide({ epoch, endSequence }, own, novelty);
    endSequence += STRIDE;
    for (let more = 1; more < windows; more++) {
      last = decider.decide({ epoch, endSequence }, own, novelty);
      endSequence += STRIDE;
    }
    return last;
  };
  const skip = (windows: number) => {
    endSequence += windows * STRIDE;
  };
  return { decider, see, skip };
}

describe('StreamDecider', () => {
  it('says nothing of a single bad window', () => {
    const { see } = machine();
    see(HEALTHY, { windows: 20 });
    const { decision, alarm, pValue } = see(FAULTY);
    expect({ decision, alarm }).toEqual({ decision: 0, alarm: 'normal' });
    expect(pValue).toBeCloseTo(1 / 201, 9);
    expect(see(HEALTHY, { windows: 20 }).alarm).toBe('normal');
  });

  it('raises the alarm of a fault that stays, and ends it after an operator saw it and the machine was mended', () => {
    const { see, decider } = machine();
    see(HEALTHY, { windows: 20 });
    const found = see(FAULTY, { windows: 10 });
    expect(found).toMatchObject({ decision: 1, alarm: 'unacknowledged' });
    expect(decider.acknowledge()).toBe('acknowledged');
    expect(see(HEALTHY, { windows: 2 }).alarm).toBe('acknowledged');
    expect(see(HEALTHY, { windows: 30 })).toMatchObject({ decision: 0, alarm: 'normal' });
  });

  it('raises no alarm where healthy machines often look as bad', () => {
    const healthyScores = Float64Array.from({ length: 200 }, (_, index) => (index < 20 ? 0.995 : 0.1)).sort();
    const { see } = machine({ healthyScores });
    expect(see(FAULTY, { windows: 50 })).toMatchObject({ decision: 1, alarm: 'normal' });
  });

  it('still raises alarms where there are too few healthy scores for the significance, and takes none of those windows for healthy', () => {
    const { see } = machine({ healthyScores: Float64Array.of(0.1, 0.2, 0.3) });
    expect(see(HEALTHY)).toMatchObject({ pValue: 1, healthy: true });
    expect(see(FAULTY, { windows: 20 })).toMatchObject({ pValue: 0.25, healthy: false, alarm: 'unacknowledged' });
  });

  it('goes by probabilities alone where the bundle has no healthy scores', () => {
    const { see } = machine({ healthyScores: new Float64Array(0) });
    expect(see(FAULTY, { windows: 10 })).toMatchObject({ alarm: 'unacknowledged', pValue: undefined, healthy: false });
  });

  it('raises no alarm where the bundle knows no healthy condition', () => {
    const { see } = machine({ normal: -1 });
    expect(see(FAULTY, { windows: 50 })).toMatchObject({ decision: 1, alarm: 'normal', pValue: undefined });
  });

  it('answers "unknown" where no class is probable enough', () => {
    const { see } = machine();
    expect(see(UNSURE).decision).toBe(-1);
    expect(see([0.6, 0.2, 0.2]).decision).toBe(0);
  });

  it('answers "unknown", and in the end with an alarm, where windows are like nothing known', () => {
    const { see } = machine({ noveltyAbove: 5 });
    expect(see(HEALTHY, { windows: 20, novelty: 2 })).toMatchObject({ decision: 0, alarm: 'normal' });
    expect(see(HEALTHY, { windows: 20, novelty: 9 })).toMatchObject({ decision: -1, alarm: 'unacknowledged' });
  });

  it('does not let one novel window answer for eight', () => {
    const { see } = machine({ noveltyAbove: 5 });
    see(HEALTHY, { windows: 20, novelty: 2 });
    expect(see(HEALTHY, { novelty: 9 }).decision).toBe(0);
  });

  it('smooths over nothing from before an epoch or a long gap, and keeps the alarm over both', () => {
    const { see, skip } = machine();
    see(FAULTY, { windows: 10 });
    skip(9);
    expect(see(HEALTHY)).toMatchObject({ decision: 0, windows: 1, alarm: 'unacknowledged' });
    see(FAULTY, { windows: 10 });
    expect(see(HEALTHY, { epoch: 1 })).toMatchObject({ decision: 0, windows: 1, alarm: 'unacknowledged' });
  });

  it('smooths over a window that was refused', () => {
    const { see, skip } = machine();
    see(HEALTHY, { windows: 4 });
    skip(1);
    expect(see(HEALTHY).windows).toBe(5);
  });

  it('keeps a shelved alarm quiet and brings it back as the machine is by then', () => {
    const { see, decider } = machine();
    expect(decider.shelve()).toBe('shelved');
    expect(see(FAULTY, { windows: 20 }).alarm).toBe('shelved');
    expect(decider.unshelve()).toBe('unacknowledged');
  });
});
