import type { AlarmState } from '../contracts/alarm-state.ts';

/** `raise` and `clear` come from the machine after their delays, the others from an operator. Unshelving says how the machine is by then. */
export type AlarmEvent = 'raise' | 'clear' | 'acknowledge' | 'shelve' | 'unshelve-raised' | 'unshelve-clear';

/** Events that are not listed leave a state as it is. */
const NEXT: Record<AlarmState, Partial<Record<AlarmEvent, AlarmState>>> = {
  normal: { raise: 'unacknowledged', shelve: 'shelved' },
  unacknowledged: { clear: 'returned', acknowledge: 'acknowledged', shelve: 'shelved' },
  acknowledged: { clear: 'normal', shelve: 'shelved' },
  returned: { raise: 'unacknowledged', acknowledge: 'normal', shelve: 'shelved' },
  shelved: { 'unshelve-raised': 'unacknowledged', 'unshelve-clear': 'normal' },
};

export function nextAlarm(state: AlarmState, event: AlarmEvent): AlarmState {
  return NEXT[state][event] ?? state;
}
