import type { Manifest } from '../../models/bundle/schema/manifest.ts';

/** How the windows of a stream become a decision and an alarm. Probabilities and p-values from 0 to 1, delays in windows. */
export interface DecisionSettings {
  /** Class index of the healthy condition; -1 where the bundle has none, and then nothing is an alarm. */
  readonly normal: number;
  /** 1 - P(normal) of healthy calibration windows, ascending; empty where the bundle has none. */
  readonly healthyScores: Float64Array;
  /** Windows that are decided together. */
  readonly smoothingWindows: number;
  /** Smoothed P(normal) below which a stream is in alarm, and from which it is healthy again. Between them nothing changes. */
  readonly alarmBelow: number;
  readonly clearFrom: number;
  /** p-value at or below which a window may raise an alarm: the share of healthy windows that would be as bad. */
  readonly significance: number;
  /** Windows in a row that raise an alarm, and that clear it. */
  readonly onDelay: number;
  readonly offDelay: number;
  /** Largest smoothed probability below which the answer is "unknown". */
  readonly unknownBelow: number;
  /** Mean novelty score above which the answer is "unknown"; infinity where the bundle has none. */
  readonly noveltyAbove: number;
  /** Healthy windows that make a machine's reference, and the p-value from which a window counts as healthy. */
  readonly commissioningWindows: number;
  readonly healthyFrom: number;
}

/** The settings of a bundle, with defaults for what its manifest leaves out. */
export function decisionSettings({ classes, decision = {} }: Pick<Manifest, 'classes' | 'decision'>): DecisionSettings {
  return {
    normal: classes.indexOf(decision.normal ?? 'normal'),
    healthyScores: Float64Array.from(decision.healthyScores ?? []).sort(),
    smoothingWindows: decision.smoothingWindows ?? 8,
    alarmBelow: decision.alarmBelow ?? 0.5,
    clearFrom: decision.clearFrom ?? 0.8,
    significance: decision.significance ?? 0.01,
    onDelay: decision.onDelay ?? 3,
    offDelay: decision.offDelay ?? 8,
    unknownBelow: decision.unknownBelow ?? 0.5,
    noveltyAbove: decision.noveltyAbove ?? Number.POSITIVE_INFINITY,
    commissioningWindows: decision.commissioningWindows ?? 20,
    healthyFrom: decision.healthyFrom ?? 0.1,
  };
}
