/** What a window says of its machine; `between` is the deadband. */
export type Evidence = 'faulty' | 'between' | 'healthy';

export interface AlarmCondition {
  readonly raised: boolean;
  /** Windows in a row that speak for the other condition. */
  readonly against: number;
}

export const CLEAR: AlarmCondition = { raised: false, against: 0 };

/**
 * On-delay, off-delay and deadband (ISA-18.2 11.3): a condition changes after `onDelay` faulty or `offDelay` healthy windows in a row. A window
 * within the deadband breaks the row.
 */
export function nextCondition(
  condition: AlarmCondition,
  evidence: Evidence,
  { onDelay, offDelay }: { readonly onDelay: number; readonly offDelay: number },
): AlarmCondition {
  const { raised } = condition;
  if (evidence !== (raised ? 'healthy' : 'faulty')) return condition.against === 0 ? condition : { raised, against: 0 };
  const against = condition.against + 1;
  return against >= (raised ? offDelay : onDelay) ? { raised: !raised, against: 0 } : { raised, against };
}
