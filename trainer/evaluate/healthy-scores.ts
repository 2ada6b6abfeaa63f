import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import type { RecordingEntry } from '../data/recording-set.ts';
import { NORMAL } from './evaluate.ts';

/** Scores that a manifest carries at the most. */
const MOST = 256;
/** Decimal places that are written. */
const ROUNDING = 1e6;

/**
 * What a gateway takes p-values from: 1 - P(normal) of healthy calibration windows, ascending; where there are more than `most`, upper
 * quantiles that stand for equal shares of them. Rounded up, as the quantiles are taken: p-values come out too large rather than too small.
 *
 * @param normal P(normal) of healthy windows that the model was not trained on
 */
export function healthyQuantiles(normal: Float32Array, most = MOST): number[] {
  const scores = Array.from(normal, (p) => Math.min(1, Math.ceil(Math.max(0, 1 - p) * ROUNDING) / ROUNDING)).sort((a, b) => a - b);
  if (scores.length <= most) return scores;
  return Array.from({ length: most }, (_, index) => scores[Math.ceil(((index + 1) * scores.length) / most) - 1]);
}

/** What a manifest says of healthy machines. */
export type HealthyDecision = Pick<NonNullable<Manifest['decision']>, 'normal' | 'healthyScores'>;

/** The class of healthy machines: `normal`, or what was relabelled from it and from nothing else. Undefined where there is none. */
export function healthyClass(classes: readonly string[], entries: readonly RecordingEntry[]): string | undefined {
  if (classes.includes(NORMAL)) return NORMAL;
  const recordedAs = (name: string) => entries.filter(({ label }) => label === name).map(({ recorded_label }) => recorded_label);
  return classes.find((name) => recordedAs(name).length > 0 && recordedAs(name).every((recorded) => recorded === NORMAL));
}

/**
 * How a gateway knows healthy windows. Without a healthy window there are no scores, and the gateway has no p-values.
 *
 * @param name of the healthy class
 * @param labels of windows that the model was not trained on
 * @param probabilities of them, [labels.length, classes.length]
 */
export function healthyDecision(
  name: string | undefined,
  classes: readonly string[],
  labels: Int32Array,
  probabilities: Float32Array,
): HealthyDecision | undefined {
  if (name === undefined) return undefined;
  const normal = classes.indexOf(name);
  const rows = [...labels.keys()].filter((row) => labels[row] === normal);
  const scores = healthyQuantiles(Float32Array.from(rows, (row) => probabilities[row * classes.length + normal]));
  return { normal: name, ...(scores.length > 0 && { healthyScores: scores }) };
}
