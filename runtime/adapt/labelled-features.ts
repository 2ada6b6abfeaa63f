/** Windows with their labels, as the front end describes them: what adaptation learns from, and what a bundle keeps for replay. */
export interface LabelledFeatures {
  /** Standardised, row-major [count, F]. */
  readonly features: Float32Array;
  /** Class index of each row, [count]. */
  readonly labels: Int32Array;
}

/** Rows of features, in the order given. */
export function takeRows({ features, labels }: LabelledFeatures, rows: readonly number[]): LabelledFeatures {
  const width = labels.length === 0 ? 0 : features.length / labels.length;
  const taken = new Float32Array(rows.length * width);
  rows.forEach((row, index) => {
    taken.set(features.subarray(row * width, (row + 1) * width), index * width);
  });
  return { features: taken, labels: Int32Array.from(rows, (row) => labels[row]) };
}

/** One after the other. */
export function joinFeatures(parts: readonly LabelledFeatures[]): LabelledFeatures {
  const features = new Float32Array(parts.reduce((sum, part) => sum + part.features.length, 0));
  let at = 0;
  for (const part of parts) {
    features.set(part.features, at);
    at += part.features.length;
  }
  return { features, labels: Int32Array.from(parts.flatMap(({ labels }) => [...labels])) };
}

/** Row numbers of each class that occurs, classes in ascending order. */
export function rowsByClass(labels: Int32Array): number[][] {
  const rows = new Map<number, number[]>();
  labels.forEach((label, row) => {
    const own = rows.get(label);
    if (own) own.push(row);
    else rows.set(label, [row]);
  });
  return [...rows.entries()].sort(([a], [b]) => a - b).map(([, own]) => own);
}
