/**
 * States of an alarm after ANSI/ISA-18.2-2016 (IEC 62682): normal, unacknowledged, acknowledged, returned to normal but unacknowledged, and
 * shelved by an operator. Suppression by design and out-of-service belong to the plant's alarm system, not to a gateway.
 */
export const ALARM_STATES = ['normal', 'unacknowledged', 'acknowledged', 'returned', 'shelved'] as const;
export type AlarmState = (typeof ALARM_STATES)[number];
