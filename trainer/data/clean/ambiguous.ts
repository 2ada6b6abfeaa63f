import type { CleaningRow, CleaningWindows } from './cleaning.ts';

export interface AmbiguityOptions {
  /** Neighbours that are asked. Default 10. */
  readonly neighbours?: number;
  readonly onProgress?: (share: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Stage 2: windows whose neighbours in an embedding contradict their label, by the rule of confident learning (Northcutt, Jiang and Chuang
 * 2021): the probability of a class is its share of the k nearest neighbours; a window counts as class j where that share is at least the
 * mean share which windows labelled j have of their own class, rounded down to whole neighbours. It is ambiguous where it counts as
 * another class, and that has the larger share and at least half. A window that has fewer windows of its own class to ask than neighbours is not
 * judged: it could not be outvoted fairly.
 *
 * Neighbours come from other recordings: windows of one recording carry one label, right or wrong, and lie close. Only where a class has
 * no second recording do its windows ask their own recording, except for windows that overlap.
 *
 * @param embedding row-major [count, width]; columns are scaled to unit deviation
 * @param classes names
 */
export async function findAmbiguous(
  windows: CleaningWindows,
  window: number,
  embedding: Float32Array,
  classes: readonly string[],
  { neighbours = 10, onProgress, signal }: AmbiguityOptions = {},
): Promise<CleaningRow[]> {
  const { labels, recordings, starts, count } = windows;
  const points = scaledColumns(embedding, count);
  const width = points.length / count;
  const alone = classes.map((_, label) => new Set(recordings.filter((_, row) => labels[row] === label)).size < 2);
  const mayAsk = (row: number, other: number) =>
    recordings[row] !== recordings[other] ||
    (alone[labels[row]] && labels[row] === labels[other] && Math.abs(starts[row] - starts[other]) >= window);

  const shares = new Float32Array(count * classes.length);
  const distances = new Float64Array(neighbours);
  const nearest = new Int32Array(neighbours);
  for (let row = 0; row < count; row++) {
    let [found, ofOwnClass] = [0, 0];
    for (let other = 0; other < count; other++) {
      if (!mayAsk(row, other)) continue;
      if (labels[other] === labels[row]) ofOwnClass++;
      const limit = found < neighbours ? Number.POSITIVE_INFINITY : distances[found - 1];
      const distance = squaredDistance(points, row * width, other * width, width, limit);
      if (distance >= limit) continue;
      if (found < neighbours) found++;
      let place = found - 1;
      for (; place > 0 && distances[place - 1] > distance; place--) {
        distances[place] = distances[place - 1];
        nearest[place] = nearest[place - 1];
      }
      [distances[place], nearest[place]] = [distance, other];
    }
    // Nobody's share is above 0 then, so nothing contradicts the label.
    if (ofOwnClass < neighbours) found = 0;
    for (let place = 0; place < found; place++) shares[row * classes.length + labels[nearest[place]]] += 1 / found;
    if (row % 64 !== 0) continue;
    signal?.throwIfAborted();
    onProgress?.(row / count);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return contradicted(windows, shares, neighbours, classes);
}

/** shares: [count, classes] of neighbours */
function contradicted(
  { labels, recordings, starts, count }: CleaningWindows,
  shares: Float32Array,
  neighbours: number,
  classes: readonly string[],
): CleaningRow[] {
  const share = (row: number, label: number) => shares[row * classes.length + label];
  const confident = classes.map((_, label) => {
    const own = Array.from(labels.keys()).filter((row) => labels[row] === label);
    const mean = own.reduce((sum, row) => sum + share(row, label), 0) / Math.max(1, own.length);
    return Math.floor(mean * neighbours) / neighbours - 1e-6;
  });
  const rows: CleaningRow[] = [];
  for (let row = 0; row < count; row++) {
    const own = labels[row];
    let counted = own;
    classes.forEach((_, label) => {
      if (label !== own && share(row, label) >= Math.max(0.5 - 1e-6, confident[label]) && share(row, label) > share(row, counted))
        counted = label;
    });
    if (counted === own) continue;
    const percent = (value: number) => `${Math.round(100 * value)} %`;
    const why = `labelled ${classes[own]}, but ${percent(share(row, counted))} of its neighbours are ${classes[counted]} and ${percent(share(row, own))} ${classes[own]}`;
    rows.push({ recording: recordings[row], start: starts[row], stage: 'ambiguous', reason: `like-${classes[counted]}`, why });
  }
  return rows;
}

/** Columns with zero mean and unit deviation; one that never changes becomes zero. x: [count, width] -> the same */
function scaledColumns(x: Float32Array, count: number): Float32Array {
  const width = x.length / count;
  const scaled = new Float32Array(x.length);
  for (let column = 0; column < width; column++) {
    let [mean, variance] = [0, 0];
    for (let row = 0; row < count; row++) mean += x[row * width + column] / count;
    for (let row = 0; row < count; row++) variance += (x[row * width + column] - mean) ** 2 / count;
    const inverse = variance < 1e-12 ? 0 : 1 / Math.sqrt(variance);
    for (let row = 0; row < count; row++) scaled[row * width + column] = (x[row * width + column] - mean) * inverse;
  }
  return scaled;
}

/** Squared distance of two points, or any number of at least `limit` as soon as it is reached. */
function squaredDistance(points: Float32Array, a: number, b: number, width: number, limit: number): number {
  let sum = 0;
  for (let column = 0; column < width; column++) {
    const difference = points[a + column] - points[b + column];
    sum += difference * difference;
    if (sum >= limit) return sum;
  }
  return sum;
}
