export interface Scores {
  readonly accuracy: number;
  /** Mean recall over the classes that occur. */
  readonly balancedAccuracy: number;
  /** Mean F1 over the classes that occur or are decided. */
  readonly macroF1: number;
}

export interface Metrics extends Scores {
  readonly windows: number;
  /** [true class][decided class] counts. */
  readonly confusion: readonly (readonly number[])[];
}

export function metricsOf(labels: ArrayLike<number>, decided: ArrayLike<number>, classes: number): Metrics {
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (let index = 0; index < labels.length; index++) confusion[labels[index]][decided[index]]++;
  const right = confusion.map((row, index) => row[index]);
  const actual = confusion.map((row) => row.reduce((a, b) => a + b, 0));
  const claimed = confusion.map((_, column) => confusion.reduce((sum, row) => sum + row[column], 0));
  const mean = (values: number[]) => (values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length);
  const occurring = right.map((_, index) => index).filter((index) => actual[index] > 0);
  const seen = right.map((_, index) => index).filter((index) => actual[index] + claimed[index] > 0);
  return {
    windows: labels.length,
    accuracy: labels.length === 0 ? 0 : right.reduce((a, b) => a + b, 0) / labels.length,
    balancedAccuracy: mean(occurring.map((index) => right[index] / actual[index])),
    macroF1: mean(seen.map((index) => (2 * right[index]) / (actual[index] + claimed[index]))),
    confusion,
  };
}

/** Index of the largest of `classes` numbers in each row. */
export function argmaxRows(values: Float32Array, classes: number): Int32Array {
  const decided = new Int32Array(values.length / classes);
  for (let row = 0; row < decided.length; row++) {
    let best = 0;
    for (let column = 1; column < classes; column++) if (values[row * classes + column] > values[row * classes + best]) best = column;
    decided[row] = best;
  }
  return decided;
}

/** Metrics by recording: the class with the largest summed log-probability over all windows of a recording. */
export function recordingMetrics(labels: Int32Array, recordings: Int32Array, probabilities: Float32Array, classes: number): Metrics {
  const sums = new Map<number, { label: number; sum: Float64Array }>();
  recordings.forEach((recording, row) => {
    const entry = sums.get(recording) ?? { label: labels[row], sum: new Float64Array(classes) };
    for (let column = 0; column < classes; column++) entry.sum[column] += Math.log(probabilities[row * classes + column] + 1e-12);
    sums.set(recording, entry);
  });
  const entries = [...sums.values()];
  const decided = entries.map(({ sum }) => sum.indexOf(Math.max(...sum)));
  return metricsOf(
    entries.map(({ label }) => label),
    decided,
    classes,
  );
}
