import type { Windows } from '../data/windows.ts';

/** Some of the windows, in the order of `rows`. */
export function pickWindows(windows: Windows, rows: readonly number[]): Windows {
  const size = windows.count === 0 ? 0 : windows.samples.length / windows.count;
  const samples = new Float32Array(rows.length * size);
  rows.forEach((row, index) => {
    samples.set(windows.samples.subarray(row * size, (row + 1) * size), index * size);
  });
  return {
    samples,
    labels: Int32Array.from(rows, (row) => windows.labels[row]),
    recordings: Int32Array.from(rows, (row) => windows.recordings[row]),
    count: rows.length,
    ...(windows.commissioning && {
      commissioning: { ...windows.commissioning, machines: Int32Array.from(rows, (row) => windows.commissioning!.machines[row]) },
    }),
  };
}

/** Some neighbouring windows; a view. */
export function sliceWindows(windows: Windows, from: number, count: number): Windows {
  const size = windows.samples.length / windows.count;
  return {
    samples: windows.samples.subarray(from * size, (from + count) * size),
    labels: windows.labels.subarray(from, from + count),
    recordings: windows.recordings.subarray(from, from + count),
    count,
    ...(windows.commissioning && {
      commissioning: { ...windows.commissioning, machines: windows.commissioning.machines.subarray(from, from + count) },
    }),
  };
}

/** At most `count` of the items, evenly spread, in their order. */
export function spreadEvenly<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  return Array.from({ length: count }, (_, index) => items[Math.floor(((index + 0.5) * items.length) / count)]);
}

/** Some windows of every class, spread evenly over those that there are. */
export function spreadOverClasses(windows: Windows, perClass: number): Windows {
  const rows: number[] = [];
  const classes = windows.labels.reduce((largest, label) => Math.max(largest, label), 0) + 1;
  for (let label = 0; label < classes; label++) {
    const own = Array.from(windows.labels.keys()).filter((row) => windows.labels[row] === label);
    const count = Math.min(perClass, own.length);
    for (let index = 0; index < count; index++) rows.push(own[Math.floor(((index + 0.5) * own.length) / count)]);
  }
  return pickWindows(windows, rows);
}

/**
 * At most `most` windows, as many of each class as there are while others have more, evenly spread over those of the class and in their order:
 * windows of a recording stay side by side.
 */
export function balancedSample(windows: Windows, most: number): Windows {
  const byClass = new Map<number, number[]>();
  windows.labels.forEach((label, row) => {
    const rows = byClass.get(label);
    if (rows) rows.push(row);
    else byClass.set(label, [row]);
  });
  let left = most;
  const chosen = [...byClass.values()]
    .sort((a, b) => a.length - b.length)
    .flatMap((rows, index, all) => {
      // The smallest class first: what it cannot fill goes to the others.
      const own = spreadEvenly(rows, Math.floor(left / (all.length - index)));
      left -= own.length;
      return own;
    });
  return pickWindows(
    windows,
    chosen.sort((a, b) => a - b),
  );
}

/** Windows of several recordings or sets one after another; recordings keep their numbers. */
export function joinWindows(parts: readonly Windows[]): Windows {
  const total = (of: (part: Windows) => number) => parts.reduce((sum, part) => sum + of(part), 0);
  const joined = {
    samples: new Float32Array(total(({ samples }) => samples.length)),
    labels: new Int32Array(total(({ count }) => count)),
    recordings: new Int32Array(total(({ count }) => count)),
    count: total(({ count }) => count),
  };
  let [row, at] = [0, 0];
  for (const { samples, labels, recordings, count } of parts) {
    joined.samples.set(samples, at);
    joined.labels.set(labels, row);
    joined.recordings.set(recordings, row);
    [row, at] = [row + count, at + samples.length];
  }
  const known = parts.flatMap(({ commissioning }) => commissioning ?? []);
  if (known.length === 0 || known.length < parts.length) return joined;
  const machines = Int32Array.from(known.flatMap((one) => [...one.machines]));
  return { ...joined, commissioning: { machines, references: known[0].references } };
}

/** Rows of several runs one after the other. */
export function joinRows(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
