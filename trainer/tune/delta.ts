import { argmaxRows } from '../evaluate/metrics.ts';
import { Refusal } from '../refusal.ts';

/** How far the logits of a merged and requantised graph lie from those of the base with the adapter beside it. */
export interface MergeDelta {
  readonly windows: number;
  /** Mean and largest |difference| of a logit. */
  readonly mean: number;
  readonly largest: number;
  /** The mean as a share of the logits' standard deviation. */
  readonly relative: number;
  /** Windows that are decided otherwise. */
  readonly changed: number;
}

/** Rounding weights anew moves every logit a little; more than this is no rounding. */
const LARGEST_RELATIVE_DELTA = 0.1;
/** Share of the windows that may be decided otherwise. */
const LARGEST_CHANGED_SHARE = 0.01;

/** Both: [windows, classes]. */
export function mergeDelta(merged: Float32Array, reference: Float32Array, classes: number): MergeDelta {
  let [sum, square, absolute, largest] = [0, 0, 0, 0];
  reference.forEach((value, index) => {
    const difference = Math.abs(merged[index] - value);
    sum += value;
    square += value * value;
    absolute += difference;
    // NaN is the largest difference there is.
    if (!(difference <= largest)) largest = difference;
  });
  const count = reference.length;
  const deviation = Math.sqrt(Math.max(0, square / count - (sum / count) ** 2));
  const [a, b] = [argmaxRows(merged, classes), argmaxRows(reference, classes)];
  const changed = a.reduce((total, decided, row) => total + (decided === b[row] ? 0 : 1), 0);
  const mean = absolute / count;
  return { windows: a.length, mean, largest, relative: mean / Math.max(deviation, 1e-12), changed };
}

/** @throws Refusal tune/merge where the merged graph is not what was measured */
export function refuseDelta({ windows, mean, relative, changed }: MergeDelta): void {
  const share = changed / windows;
  if (relative <= LARGEST_RELATIVE_DELTA && share <= LARGEST_CHANGED_SHARE) return;
  throw new Refusal(
    'tune/merge',
    `the merged int8 graph decides ${changed} of ${windows} windows otherwise than base and adapter (logits differ by ${mean.toFixed(3)} on average, ` +
      `${(100 * relative).toFixed(1)} % of their spread; allowed ${100 * LARGEST_CHANGED_SHARE} % and ${100 * LARGEST_RELATIVE_DELTA} %); ` +
      'give recordings of what the bundle knew with --source-where, or more --shots',
  );
}
