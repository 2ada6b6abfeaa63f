import type { Recording } from './recording-set.ts';

/** Labelled windows of equal length, cut out of recordings. */
export interface Windows {
  /** Row-major [count, window, channels]. */
  readonly samples: Float32Array;
  /** Class index of each window. */
  readonly labels: Int32Array;
  /** Index of the recording that each window comes from. */
  readonly recordings: Int32Array;
  readonly count: number;
  /** Where features are taken relative to a machine's commissioning reference. */
  readonly commissioning?: Commissioning;
}

/** Which machine each window is of, and what the references are made of. */
export interface Commissioning {
  /** Row of the reference bank of each window, from 1 on. */
  readonly machines: Int32Array;
  /** Healthy windows of all machines; `machines` of their own commissioning says whose. */
  readonly references: Windows;
}

/** Class names in order: `normal` first where it is there, then alphabetical. */
export function classesOf(recordings: readonly Recording[]): string[] {
  const names = [...new Set(recordings.flatMap(({ label }) => (label === null ? [] : [label])))].sort();
  return [...names.filter((name) => name === 'normal'), ...names.filter((name) => name !== 'normal')];
}

/** Start of every window of a recording of `length` samples. */
export function windowStarts(length: number, window: number, stride: number): number[] {
  const count = length < window ? 0 : Math.floor((length - window) / stride) + 1;
  return Array.from({ length: count }, (_, index) => index * stride);
}

/** Samples of a snapshot where a recording consists of such; undefined where it is one stretch of time. */
export function snapshotLength({ snapshot_len: length }: Recording['entry']): number | undefined {
  return Number.isInteger(length) && (length as number) > 0 ? (length as number) : undefined;
}

/** Start of every window of a recording; none crosses from one snapshot (`snapshot_len`) to the next. */
export function recordingStarts({ entry, length }: Pick<Recording, 'entry' | 'length'>, window: number, stride: number): number[] {
  const snapshot = snapshotLength(entry) ?? length;
  const starts: number[] = [];
  for (let first = 0; first < length; first += snapshot) {
    for (const start of windowStarts(Math.min(snapshot, length - first), window, stride)) starts.push(first + start);
  }
  return starts;
}

/** Cuts recordings into windows, none of which crosses a snapshot's border. Recordings without a label, or with one that is not in `classes`, are left out. */
export function cutWindows(recordings: readonly Recording[], classes: readonly string[], window: number, stride: number): Windows {
  const places = recordings.flatMap((recording, index) =>
    recording.label === null || !classes.includes(recording.label)
      ? []
      : recordingStarts(recording, window, stride).map((start) => ({ recording, index, start })),
  );
  const channels = recordings[0]?.channels.length ?? 0;
  const samples = new Float32Array(places.length * window * channels);
  places.forEach(({ recording, start }, row) => {
    samples.set(recording.samples.subarray(start * channels, (start + window) * channels), row * window * channels);
  });
  return {
    samples,
    labels: Int32Array.from(places, ({ recording }) => classes.indexOf(recording.label!)),
    recordings: Int32Array.from(places, ({ index }) => index),
    count: places.length,
    ...(places.length > 0 && places[0].recording.commissioning && { commissioning: commissioningOf(places, window, stride) }),
  };
}

function commissioningOf(places: readonly { readonly recording: Recording }[], window: number, stride: number): Commissioning {
  const machines = Int32Array.from(places, ({ recording }) => recording.commissioning!.machine);
  const known = places[0].recording.commissioning!.references;
  const healthy = known.map(({ recording }) => ({ ...recording, label: '', commissioning: undefined }));
  const cut = cutWindows(healthy, [''], window, stride);
  const own = { machines: cut.recordings.map((index) => known[index].machine), references: cut };
  return { machines, references: { ...cut, commissioning: own } };
}
