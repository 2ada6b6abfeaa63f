import * as z from 'zod';
import { check, mistakesLine } from '../../models/checks/mistakes.ts';
import { ALARM_STATES, type AlarmState } from '../contracts/alarm-state.ts';
import { isTopicName } from '../contracts/topics.ts';

/** Version of the file, and the only one that is read. */
const FORMAT_VERSION = 1;

const schema = z.strictObject({
  formatVersion: z.literal(FORMAT_VERSION),
  streams: z.record(
    z.string().refine(isTopicName, 'is not a stream name'),
    z.strictObject({ alarm: z.enum(ALARM_STATES), raised: z.boolean() }),
  ),
});

/** An alarm that is not normal, and whether the machine is faulty behind it: a shelved alarm does not say. */
export interface KeptAlarm {
  readonly alarm: AlarmState;
  readonly raised: boolean;
}

export function encodeAlarms(alarms: ReadonlyMap<string, KeptAlarm>): string {
  return `${JSON.stringify({ formatVersion: FORMAT_VERSION, streams: Object.fromEntries(alarms) })}\n`;
}

/** @throws Error with every mistake in one line */
export function decodeAlarms(text: string): Map<string, KeptAlarm> {
  const checked = check(schema, JSON.parse(text));
  if ('mistakes' in checked) throw new Error(mistakesLine(checked.mistakes, 'file'));
  return new Map(Object.entries(checked.data.streams));
}
