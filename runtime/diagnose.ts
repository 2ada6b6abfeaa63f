import { type Diagnosis, UNKNOWN } from './contracts/messages.ts';
import type { Decisions, WindowAnswer } from './decide/decisions.ts';
import type { WindowJob } from './stream/stream-gateway.ts';

/** By what a window was decided, and when. */
export interface DecidedBy {
  readonly classes: readonly string[];
  readonly decisions: Decisions;
  readonly model: Diagnosis['model'];
  /** First digits of the bundle's digest. */
  readonly bundle: string;
  /** ISO 8601 in UTC, and on the clock of `WindowJob.arrivedMs`. */
  readonly at: string;
  readonly nowMs: number;
}

/** Decides a window that the model has answered, and makes the message of it. */
export function diagnose(job: WindowJob, answer: WindowAnswer, { classes, decisions, model, bundle, at, nowMs }: DecidedBy): Diagnosis {
  const { decision, confidence, windows, pValue, alarm } = decisions.decide(job, answer);
  const best = largestIndex(answer.probabilities);
  const own: number[] = [];
  for (let column = 0; column < classes.length; column++) own.push(roundedShare(answer.probabilities[column]));
  return {
    stream: job.name,
    epoch: job.epoch,
    endSequence: job.endSequence,
    endDeviceUs: job.endDeviceUs,
    at,
    decision: classes[best],
    confidence: own[best],
    probabilities: own,
    smoothed: { decision: classes[decision] ?? UNKNOWN, confidence: roundedShare(confidence), windows },
    pValue,
    alarm,
    novelty: answer.novelty,
    commissioning: decisions.commissioning(job.name),
    model,
    latencyMs: Math.max(0, Math.round((nowMs - job.arrivedMs) * 1e3) / 1e3),
    bundle,
    adapter: job.adapter,
  };
}

/** Column of the largest number. */
function largestIndex(values: Float32Array): number {
  let best = 0;
  for (let column = 1; column < values.length; column++) if (values[column] > values[best]) best = column;
  return best;
}

/** Five digits are more than a calibrated probability is worth, and half the bytes of the message. */
function roundedShare(value: number): number {
  return Math.round(value * 1e5) / 1e5;
}
