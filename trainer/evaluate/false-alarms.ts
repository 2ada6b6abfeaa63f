import type { Smoothed } from './smoothing.ts';

/** Share of faulty decisions that must be found. */
const FAULT_RECALL = 0.99;

export interface FalseAlarms {
  /** A decision is `normal` where P(normal) is at least this. */
  readonly threshold: number;
  /** Share of healthy decisions that are not `normal`; NaN where there are none. */
  readonly falseAlarmRate: number;
  /** Share of faulty decisions that are not `normal`; NaN where there are none. */
  readonly faultRecall: number;
}

/**
 * The lowest threshold on P(normal) at which at least `recall` of the faulty decisions are not `normal`: the fewest false alarms that such a
 * recall allows. Take it from validation data and measure with {@link falseAlarmsAt} on the test; on one and the same data it is the
 * operating point of that data's ROC curve, which flatters.
 *
 * @param smoothed of {@link vote8} or {@link slidingVote}
 * @param normal class index of `normal`
 * @throws RangeError where there is no faulty decision
 */
export function thresholdAtRecall({ probabilities, labels }: Smoothed, normal: number, recall = FAULT_RECALL): number {
  const faulty = scoresOf(probabilities, labels, normal, false).sort();
  if (faulty.length === 0) throw new RangeError('no faulty window, so no threshold finds a share of them');
  // The k lowest scores of faults must lie below the threshold, which is the next number above the k-th.
  const needed = Math.ceil(recall * faulty.length - 1e-9);
  return needed === 0 ? 0 : nextAbove(faulty[needed - 1]);
}

/** False alarms and found faults at a threshold on P(normal). */
export function falseAlarmsAt({ probabilities, labels }: Smoothed, normal: number, threshold: number): FalseAlarms {
  const below = (scores: Float32Array) => scores.filter((score) => score < threshold).length / scores.length;
  return {
    threshold,
    falseAlarmRate: below(scoresOf(probabilities, labels, normal, true)),
    faultRecall: below(scoresOf(probabilities, labels, normal, false)),
  };
}

/** False alarms at the threshold that finds `recall` of the same data's faults. */
export function falseAlarmsAtRecall(smoothed: Smoothed, normal: number, recall = FAULT_RECALL): FalseAlarms {
  return falseAlarmsAt(smoothed, normal, thresholdAtRecall(smoothed, normal, recall));
}

/** P(normal) of the healthy decisions, or of the faulty ones. */
function scoresOf(probabilities: Float32Array, labels: Int32Array, normal: number, healthy: boolean): Float32Array {
  const classes = probabilities.length / labels.length;
  const rows = Array.from(labels.keys()).filter((row) => (labels[row] === normal) === healthy);
  return Float32Array.from(rows, (row) => probabilities[row * classes + normal]);
}

/** The next float32 above a number from 0 to 1. */
function nextAbove(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0]++;
  return new Float32Array(bits.buffer)[0];
}
