import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALARM_STATES, type AlarmState } from '../../../runtime/contracts/alarm-state.ts';
import { type AlarmEvent, nextAlarm } from '../../../runtime/decide/alarm.ts';
import { CLEAR, type Evidence, nextCondition } from '../../../runtime/decide/alarm-condition.ts';

const EVENTS: AlarmEvent[] = ['raise', 'clear', 'acknowledge', 'shelve', 'unshelve-raised', 'unshelve-clear'];

describe('nextAlarm', () => {
  it.each<[string, AlarmEvent[], AlarmState]>([
    ['a new alarm waits for an operator', ['raise'], 'unacknowledged'],
    ['an acknowledged alarm stays until the machine is well', ['raise', 'acknowledge'], 'acknowledged'],
    ['and then ends by itself', ['raise', 'acknowledge', 'clear'], 'normal'],
    ['an alarm that went away is still to be acknowledged', ['raise', 'clear'], 'returned'],
    ['and ends when it is', ['raise', 'clear', 'acknowledge'], 'normal'],
    ['an alarm that comes back is new', ['raise', 'clear', 'raise'], 'unacknowledged'],
    ['nothing is said of a shelved alarm', ['raise', 'shelve', 'clear', 'raise', 'acknowledge'], 'shelved'],
    [
      'it comes off the shelf as a new alarm where the machine is ill',
      ['raise', 'acknowledge', 'shelve', 'unshelve-raised'],
      'unacknowledged',
    ],
    ['and as none where it is well', ['raise', 'shelve', 'unshelve-clear'], 'normal'],
  ])('%s', (_, events, expected) => {
    expect(events.reduce<AlarmState>(nextAlarm, 'normal')).toBe(expected);
  });

  it('never forgets an alarm without an operator', () => {
    const fromMachine = fc.array(fc.constantFrom<AlarmEvent>('raise', 'clear'), { maxLength: 20 });
    fc.assert(
      fc.property(fromMachine, (events) => {
        const end = events.reduce<AlarmState>(nextAlarm, 'unacknowledged');
        expect(['unacknowledged', 'returned']).toContain(end);
      }),
    );
  });

  it('knows every state and event, and each event twice is that event once', () => {
    for (const state of ALARM_STATES) {
      for (const event of EVENTS) {
        const once = nextAlarm(state, event);
        expect(ALARM_STATES).toContain(once);
        expect(nextAlarm(once, event)).toBe(once);
      }
    }
  });
});

describe('nextCondition', () => {
  const delays = { onDelay: 3, offDelay: 4 };
  const run = (evidence: readonly Evidence[]) => evidence.reduce((condition, one) => nextCondition(condition, one, delays), CLEAR);
  const times = (count: number, evidence: Evidence) => new Array<Evidence>(count).fill(evidence);

  it('changes after exactly its delays', () => {
    expect(run(times(2, 'faulty')).raised).toBe(false);
    expect(run(times(3, 'faulty')).raised).toBe(true);
    expect(run([...times(3, 'faulty'), ...times(3, 'healthy')]).raised).toBe(true);
    expect(run([...times(3, 'faulty'), ...times(4, 'healthy')]).raised).toBe(false);
  });

  it('takes the condition that the last long enough row spoke for, whatever else happened', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom<Evidence>('faulty', 'between', 'healthy'), { maxLength: 60 }), (evidence) => {
        let expected = false;
        evidence.forEach((_, at) => {
          const last = (count: number, kind: Evidence) =>
            at + 1 >= count && evidence.slice(at + 1 - count, at + 1).every((one) => one === kind);
          if (last(delays.onDelay, 'faulty')) expected = true;
          if (last(delays.offDelay, 'healthy')) expected = false;
        });
        expect(run(evidence).raised).toBe(expected);
      }),
    );
  });
});
