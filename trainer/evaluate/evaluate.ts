import { calibrationOf, type ReliabilityBin } from './calibration.ts';
import { falseAlarmsAt, falseAlarmsAtRecall } from './false-alarms.ts';
import { argmaxRows, type Metrics, metricsOf, recordingMetrics } from './metrics.ts';
import { slidingVote, vote8 } from './smoothing.ts';

/** Class that stands for a healthy machine. */
export const NORMAL = 'normal';

export interface Decisions {
  /** Class index of each window; windows of a recording lie side by side in order of time. */
  readonly labels: Int32Array;
  /** Recording of each window. */
  readonly recordings: Int32Array;
  /** Row-major [windows, classes]. */
  readonly probabilities: Float32Array;
  readonly classes: readonly string[];
  /**
   * A smoothed decision is `normal` where P(normal) is at least this, as chosen on validation data. Absent: the threshold that finds 99 % of the
   * faults of these very windows, which flatters a little.
   */
  readonly normalThreshold?: number;
}

/** What is said of decisions on a test part, all shares from 0 to 1. */
export interface TestFigures {
  readonly windows: number;
  readonly accuracy: number;
  /** Mean recall over the classes that occur. */
  readonly balancedAccuracy: number;
  /** Mean F1 over the classes that occur or are decided. */
  readonly macroF1: number;
  /** By recording: the class with the largest summed log-probability. */
  readonly recordingAccuracy: number;
  /** Accuracy of runs of 8 windows within a recording that do not overlap. */
  readonly vote8: number;
  /** Expected calibration error in 15 bins, of single windows. */
  readonly ece: number;
  /**
   * Share of the healthy windows that are not decided `normal` after smoothing over 8 windows, where 99 % of the faulty ones are not. `null`
   * where there is no class normal, or no healthy or no faulty window.
   */
  readonly falseAlarmRate: number | null;
}

export interface Evaluation {
  readonly test: TestFigures;
  /** [true class][decided class] counts. */
  readonly confusion: Metrics['confusion'];
  /** Share of a class's windows decided right; `null` for a class that does not occur. */
  readonly recall: readonly (number | null)[];
  /** 15 bins by confidence, for a reliability diagram. */
  readonly reliability: { readonly bins: readonly ReliabilityBin[] };
}

/**
 * Tier (a): how right and how honest decisions are.
 *
 * @throws RangeError where there is no window
 */
export function evaluateDecisions({ labels, recordings, probabilities, classes, normalThreshold }: Decisions): Evaluation {
  if (labels.length === 0) throw new RangeError('no window to evaluate on');
  const count = classes.length;
  const { windows, accuracy, balancedAccuracy, macroF1, confusion } = metricsOf(labels, argmaxRows(probabilities, count), count);
  const voted = vote8(labels, recordings, probabilities, count);
  const { ece, bins } = calibrationOf(probabilities, labels, count);
  return {
    test: {
      windows,
      accuracy,
      balancedAccuracy,
      macroF1,
      recordingAccuracy: recordingMetrics(labels, recordings, probabilities, count).accuracy,
      vote8: metricsOf(voted.labels, argmaxRows(voted.probabilities, count), count).accuracy,
      ece,
      falseAlarmRate: falseAlarmRate(labels, recordings, probabilities, classes, normalThreshold),
    },
    confusion,
    recall: confusion.map((row, index) => {
      const total = row.reduce((a, b) => a + b, 0);
      return total === 0 ? null : row[index] / total;
    }),
    reliability: { bins },
  };
}

function falseAlarmRate(
  labels: Int32Array,
  recordings: Int32Array,
  probabilities: Float32Array,
  classes: readonly string[],
  threshold: number | undefined,
): number | null {
  const normal = classes.indexOf(NORMAL);
  const healthy = labels.filter((label) => label === normal).length;
  if (healthy === 0 || healthy === labels.length) return null;
  const smoothed = slidingVote(labels, recordings, probabilities, classes.length);
  return (threshold === undefined ? falseAlarmsAtRecall(smoothed, normal) : falseAlarmsAt(smoothed, normal, threshold)).falseAlarmRate;
}
