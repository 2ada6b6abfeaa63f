import type { ShadowReport, Thresholds } from '../contracts/update.ts';
import { UpdateRefusalError } from './refusal.ts';

/** What the warm-up measured of a candidate on this CPU. */
export interface WarmUpReport {
  /** p99 of a batch-1 run, milliseconds. */
  readonly latencyMs: number;
  /** Growth of resident memory, bytes. */
  readonly memoryBytes: number;
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** @throws UpdateRefusalError update/latency, update/memory */
export function checkWarmUp({ latencyMs, memoryBytes }: WarmUpReport, limits: Thresholds): void {
  if (!(latencyMs <= limits.latencyMs))
    throw new UpdateRefusalError(
      'update/latency',
      `p99 of a run is ${latencyMs.toFixed(2)} ms on this CPU where ${limits.latencyMs} are allowed`,
    );
  if (!(memoryBytes <= limits.memoryBytes))
    throw new UpdateRefusalError('update/memory', `takes ${memoryBytes} bytes of memory where ${limits.memoryBytes} are allowed`);
}

/** @throws UpdateRefusalError update/latency, update/memory, update/agreement, update/alarm-share */
export function checkShadow(report: ShadowReport, limits: Thresholds): void {
  checkWarmUp(report, limits);
  if (!(report.agreement >= limits.agreement))
    throw new UpdateRefusalError(
      'update/agreement',
      `decides ${percent(report.agreement)} of ${report.windows} live windows as the active model does, where ${percent(limits.agreement)} are asked for`,
    );
  if (!(report.alarmShareChange <= limits.alarmShareChange))
    throw new UpdateRefusalError(
      'update/alarm-share',
      `changes the share of faulty windows by ${percent(report.alarmShareChange)}, where ${percent(limits.alarmShareChange)} are allowed`,
    );
}
