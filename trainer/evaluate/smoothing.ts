/** Added to a probability before its logarithm, as where recordings are decided. */
const EPSILON = 1e-12;
/** Windows a vote. */
const VOTE = 8;

/** Probabilities decided together: one row for every run of windows. */
export interface Smoothed {
  /** Row-major [rows, classes], each row's sum 1. */
  readonly probabilities: Float32Array;
  /** Class index of each row. */
  readonly labels: Int32Array;
  /** Recording of each row. */
  readonly recordings: Int32Array;
}

/** Windows `from` to `to` (exclusive) of one recording and one label. */
type Run = readonly [from: number, to: number];

/**
 * Votes of 8: runs of 8 windows within a recording that do not overlap, each decided by the sum of its log-probabilities. What is left
 * at the end of a recording is left out, unless the recording has fewer than 8 windows: then it is one run.
 *
 * @param labels class index of each window; windows of a recording lie side by side in order of time
 * @param probabilities row-major [windows, classes]
 */
export function vote8(labels: Int32Array, recordings: Int32Array, probabilities: Float32Array, classes: number): Smoothed {
  const runs = stretches(labels, recordings).flatMap(([from, to]): Run[] => {
    if (to - from < VOTE) return [[from, to]];
    return Array.from({ length: Math.floor((to - from) / VOTE) }, (_, index) => [from + VOTE * index, from + VOTE * (index + 1)]);
  });
  return decideRuns(runs, labels, recordings, probabilities, classes);
}

/**
 * Sliding smoothing, as a stream is decided: each window together with up to `length - 1` windows before it in the same recording. As
 * many rows as windows.
 */
export function slidingVote(
  labels: Int32Array,
  recordings: Int32Array,
  probabilities: Float32Array,
  classes: number,
  length: number = VOTE,
): Smoothed {
  const runs = stretches(labels, recordings).flatMap(([from, to]) =>
    Array.from({ length: to - from }, (_, index): Run => [Math.max(from, from + index - length + 1), from + index + 1]),
  );
  return decideRuns(runs, labels, recordings, probabilities, classes);
}

/** Longest runs of one recording and one label. */
function stretches(labels: Int32Array, recordings: Int32Array): Run[] {
  const runs: Run[] = [];
  for (let from = 0, row = 1; row <= labels.length; row++) {
    if (row < labels.length && recordings[row] === recordings[from] && labels[row] === labels[from]) continue;
    runs.push([from, row]);
    from = row;
  }
  return runs;
}

function decideRuns(
  runs: readonly Run[],
  labels: Int32Array,
  recordings: Int32Array,
  probabilities: Float32Array,
  classes: number,
): Smoothed {
  const smoothed = new Float32Array(runs.length * classes);
  runs.forEach(([from, to], index) => {
    const sums = new Float64Array(classes);
    for (let row = from; row < to; row++) {
      for (let column = 0; column < classes; column++) sums[column] += Math.log(probabilities[row * classes + column] + EPSILON);
    }
    const largest = Math.max(...sums);
    const shares = sums.map((sum) => Math.exp(sum - largest));
    const total = shares.reduce((a, b) => a + b, 0);
    for (let column = 0; column < classes; column++) smoothed[index * classes + column] = shares[column] / total;
  });
  return {
    probabilities: smoothed,
    labels: Int32Array.from(runs, ([from]) => labels[from]),
    recordings: Int32Array.from(runs, ([from]) => recordings[from]),
  };
}
