import * as z from 'zod';
import { ALARM_STATES, type AlarmState } from './alarm-state.ts';
import { diagnosisSchema } from './messages.ts';

/** A stream's alarm has changed its state: must arrive, so it waits on disk for the broker. */
export const alarmChangeSchema = z.strictObject({
  /** The same in a message that arrives twice. */
  id: z.string(),
  stream: z.string(),
  /** Clock of the gateway, ISO 8601 in UTC. */
  at: z.iso.datetime(),
  from: z.enum(ALARM_STATES),
  to: z.enum(ALARM_STATES),
  /** The window that changed it; absent where an operator did. */
  diagnosis: diagnosisSchema.optional(),
});

export type AlarmChange = z.infer<typeof alarmChangeSchema>;

/** What was each stream's alarm last. */
export class AlarmWatch {
  readonly #states: Map<string, AlarmState>;
  readonly #instance: string;
  #count = 0;

  /** @param instance unique to this run of the gateway @param known states from before a restart */
  constructor(instance: string, known: Iterable<readonly [string, AlarmState]> = []) {
    this.#instance = instance;
    this.#states = new Map(known);
  }

  /** @returns the change, where there is one. A stream that was never seen was normal. */
  observe(stream: string, to: AlarmState, at: string, diagnosis?: AlarmChange['diagnosis']): AlarmChange | undefined {
    const from = this.#states.get(stream) ?? 'normal';
    if (from === to) return undefined;
    // A normal alarm needs no memory.
    if (to === 'normal') this.#states.delete(stream);
    else this.#states.set(stream, to);
    return { id: `${this.#instance}-${++this.#count}`, stream, at, from, to, ...(diagnosis && { diagnosis }) };
  }
}
