import { Random } from '../../models/networks/random.ts';
import type { Recording } from './recording-set.ts';
import { drawRuns, LEARNING_SAMPLE, shareOut, shareOutByLabel, type WindowRun, type WindowSample } from './window-sample.ts';

/** The same windows of a set every time, whatever is trained on them. */
const SAMPLE_SEED = 1;
/** Windows that are in memory at a time where recordings are gone through. */
const PART = 2048;

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

/** Windows of a recording of `length` samples. */
function windowCount(length: number, window: number, stride: number): number {
  return length < window ? 0 : Math.floor((length - window) / stride) + 1;
}

/** Samples of a snapshot where a recording consists of such; undefined where it is one stretch of time. */
export function snapshotLength({ snapshot_len: length }: Recording['entry']): number | undefined {
  return Number.isInteger(length) && (length as number) > 0 ? (length as number) : undefined;
}

/** Windows of a recording, none of which crosses from one snapshot (`snapshot_len`) to the next: how many, and where each begins. */
export function windowGrid({ entry, length }: Pick<Recording, 'entry' | 'length'>, window: number, stride: number) {
  const snapshot = Math.max(1, Math.min(length, snapshotLength(entry) ?? length));
  const each = windowCount(snapshot, window, stride);
  return {
    count: Math.floor(length / snapshot) * each + windowCount(length % snapshot, window, stride),
    start: (index: number) => Math.floor(index / each) * snapshot + (index % each) * stride,
  };
}

/** Start of every window of a recording; none crosses from one snapshot to the next. */
export function recordingStarts(recording: Pick<Recording, 'entry' | 'length'>, window: number, stride: number): number[] {
  const { count, start } = windowGrid(recording, window, stride);
  return Array.from({ length: count }, (_, index) => start(index));
}

/**
 * Cuts recordings into windows, or takes a sample of these where there are more than memory is given for. Recordings without a label, or with
 * one that is not in `classes`, are left out.
 */
export function cutWindows(
  recordings: readonly Recording[],
  classes: readonly string[],
  window: number,
  stride: number,
  { budgetBytes, balanced, run }: WindowSample = LEARNING_SAMPLE,
): Windows {
  const counts = recordings.map((recording) =>
    recording.label === null || !classes.includes(recording.label) ? 0 : windowGrid(recording, window, stride).count,
  );
  const channels = recordings[0]?.channels.length ?? 1;
  const most = Math.floor(budgetBytes / (Float32Array.BYTES_PER_ELEMENT * window * channels));
  const labels = recordings.map(({ label }) => label);
  const wanted = balanced ? shareOutByLabel(counts, labels, most) : shareOut(counts, most);
  const random = new Random(SAMPLE_SEED);
  const rows = recordings.flatMap((_, index) => drawRuns(counts[index], wanted[index], run, random).map((some) => ({ index, ...some })));
  return fillWindows(recordings, classes, rows, window, stride);
}

/** Windows of one recording, {@link PART} at a time at the most. @param runs all of them where absent */
export function* windowParts(
  recording: Recording,
  classes: readonly string[],
  window: number,
  stride: number,
  runs: readonly WindowRun[] = [{ first: 0, count: windowGrid(recording, window, stride).count }],
): Generator<Windows> {
  if (recording.label === null || !classes.includes(recording.label)) return;
  for (const run of runs) {
    for (let done = 0; done < run.count; done += PART) {
      const part = { index: 0, first: run.first + done, count: Math.min(PART, run.count - done) };
      yield fillWindows([recording], classes, [part], window, stride);
    }
  }
}

/** @param runs neighbouring windows of the recording `index` */
function fillWindows(
  recordings: readonly Recording[],
  classes: readonly string[],
  runs: readonly (WindowRun & { readonly index: number })[],
  window: number,
  stride: number,
): Windows {
  const count = runs.reduce((sum, run) => sum + run.count, 0);
  const size = window * (recordings[0]?.channels.length ?? 0);
  const windows = { samples: new Float32Array(count * size), labels: new Int32Array(count), recordings: new Int32Array(count), count };
  let row = 0;
  for (const { index, first, count: here } of runs) {
    const { label, read } = recordings[index];
    const { start } = windowGrid(recordings[index], window, stride);
    windows.labels.fill(classes.indexOf(label!), row, row + here);
    windows.recordings.fill(index, row, row + here);
    for (let at = 0; at < here; at++) windows.samples.set(read(start(first + at), window), (row + at) * size);
    row += here;
  }
  const known = count > 0 && recordings[windows.recordings[0]].commissioning;
  return known ? { ...windows, commissioning: commissioningOf(recordings, windows.recordings, known.references, window, stride) } : windows;
}

function commissioningOf(
  recordings: readonly Recording[],
  indices: Int32Array,
  known: NonNullable<Recording['commissioning']>['references'],
  window: number,
  stride: number,
): Commissioning {
  const machines = indices.map((index) => recordings[index].commissioning!.machine);
  const healthy = known.map(({ recording }) => ({ ...recording, label: '', commissioning: undefined }));
  const cut = cutWindows(healthy, [''], window, stride);
  const own = { machines: cut.recordings.map((index) => known[index].machine), references: cut };
  return { machines, references: { ...cut, commissioning: own } };
}
