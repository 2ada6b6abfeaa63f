import { Random } from '../../../models/networks/random.ts';
import { signalFeatures } from '../../evaluate/signal-features.ts';
import { Refusal } from '../../refusal.ts';
import { channelNames, type Recording, type RecordingEntry, type RecordingSet, readRecording } from '../recording-set.ts';
import { drawRuns, shareOutByLabel } from '../window-sample.ts';
import { recordingStarts } from '../windows.ts';
import { findAmbiguous } from './ambiguous.ts';
import {
  type CleaningRow,
  type CleaningStage,
  type CleaningSummary,
  type Cut,
  type CutRecording,
  className,
  STAGES,
  summarizeCleaning,
} from './cleaning.ts';
import { commonestRate, findInvalid } from './invalid.ts';
import { COMPARED_WINDOWS, findNearDuplicates } from './near-duplicates.ts';

/**
 * Share of a class that a judgement by likeness may take. Where more of a class is like another class, or like itself, that is how it sounds and
 * no mistake: nothing of it is proposed, and the report says so. A quarter leaves room for one wrong recording of four (the valve faults of phmap2023,
 * which this embedding cannot tell apart, lie at 33 to 58 %); faults that repeat with every turn lie above a fifth (cwru12 OR007: 57 %).
 */
const LARGEST_SHARE = { ambiguous: 1 / 4, 'near-duplicate': 1 / 5 } as const;

/**
 * Windows whose labels are judged by each other, as many of each class as there are while others have more: every one is held against every other,
 * so twice as many take four times as long. The real sets of benchmarks/README.md have fewer.
 */
const MOST_JUDGED = 16_384;
/** Windows that are in memory at a time while copies are looked for. */
const PART = 512;

export interface CleaningOptions {
  /** Samples a window; windows do not overlap. Default 512. */
  readonly window?: number;
  /** Channels to look at; all where absent. */
  readonly channels?: readonly string[];
  /** The rate that recordings should have; the commonest one where absent. */
  readonly rateHz?: number;
  readonly onProgress?: (share: number, note: string) => void;
  readonly signal?: AbortSignal;
}

/** Something to take out. */
export interface Finding {
  readonly file: string;
  readonly label: string | null;
  /** First sample; null for the whole recording. */
  readonly start: number | null;
  readonly samples: number;
  readonly stage: CleaningStage;
  readonly reason: string;
  readonly why: string;
}

/** A judgement that would take so much of a class that it is not made. */
export interface HeldBack {
  readonly label: string;
  readonly stage: CleaningStage;
  readonly windows: number;
  readonly share: number;
}

export interface CleaningReport {
  readonly name: string;
  readonly window: number;
  readonly recordings: number;
  readonly summary: readonly CleaningSummary[];
  readonly findings: readonly Finding[];
  readonly heldBack: readonly HeldBack[];
  /** Labelled windows whose label was held against their neighbours', out of so many. */
  readonly judged: { readonly windows: number; readonly of: number };
}

/**
 * Looks through a set in three stages, window by window: memory does not grow with recordings, and by 1 % of what the set grows. Invalid windows are judged no further. Changes nothing.
 *
 * The embedding of the second stage is, per channel, five statistics and the log powers of 32 bands, each column scaled to unit deviation.
 *
 * @throws Refusal data/channels, data/mixed where recordings have different channels
 */
export async function surveySet(set: RecordingSet, options: CleaningOptions = {}): Promise<CleaningReport> {
  const { window = 512, signal, onProgress } = options;
  const cut = { window, stride: window };
  const rateHz = options.rateHz ?? commonestRate(set.recordings.map((entry) => entry.sample_rate_hz));
  refuseMixedChannels(set.recordings, options.channels);
  const rows: CleaningRow[] = [];
  const cuts: CutRecording[] = [];
  const described: Described[] = [];
  const sameContent = copiesIn(set.recordings);
  const judge = judgedWindows(set.recordings, cut);
  for (const [index, entry] of set.recordings.entries()) {
    signal?.throwIfAborted();
    onProgress?.((0.8 * index) / set.recordings.length, entry.file);
    const starts = recordingStarts({ entry, length: entry.n_samples }, cut.window, cut.stride);
    cuts.push({ label: entry.label, starts });
    const recording = await readOrReject(set, entry, options.channels);
    if ('problem' in recording) {
      rows.push({ recording: index, start: null, stage: 'invalid', reason: 'broken-file', why: recording.problem });
      continue;
    }
    const invalid = findInvalid([recording], cut, { sampleRateHz: rateHz });
    rows.push(...invalid.map((row) => ({ ...row, recording: index })));
    if (invalid.some(({ start }) => start === null)) continue;
    const original = sameContent.get(entry);
    if (original !== undefined) {
      const why = `the same content as ${original}, by sha256`;
      rows.push({ recording: index, start: null, stage: 'near-duplicate', reason: 'same-content', why });
      continue;
    }
    const bad = new Set(invalid.map(({ start }) => start));
    const valid = starts.filter((start) => !bad.has(start));
    if (entry.label !== null) {
      const own = judge(index, starts).filter((start) => !bad.has(start));
      const features = signalFeatures(windowsAt(recording, own, window), [window, recording.channels.length]);
      described.push({ index, label: entry.label, starts: own, features });
    }
    rows.push(...(await nearDuplicatesIn(recording, index, valid, window, signal)));
  }
  const ambiguous = await ambiguousAmong(described, window, { signal, onProgress: (share) => onProgress?.(0.8 + 0.2 * share, 'labels') });
  const { proposed, heldBack } = holdBack([...rows, ...ambiguous], cuts);
  const findings = proposed.map(({ recording, start, stage, reason, why }) => {
    const { file, label, n_samples: length } = set.recordings[recording];
    return { file, label, start, samples: start === null ? length : window, stage, reason, why };
  });
  return {
    name: set.name,
    window,
    recordings: set.recordings.length,
    summary: summarizeCleaning(proposed, cuts),
    findings: findings.sort((a, b) => STAGES.indexOf(a.stage) - STAGES.indexOf(b.stage)),
    heldBack,
    judged: {
      windows: described.reduce((sum, { starts }) => sum + starts.length, 0),
      of: cuts.reduce((sum, { label, starts }) => sum + (label === null ? 0 : starts.length), 0),
    },
  };
}

/** Which windows of a recording are judged by their neighbours. */
function judgedWindows(entries: readonly RecordingEntry[], cut: Cut): (index: number, starts: readonly number[]) => number[] {
  const counts = entries.map((entry) =>
    entry.label === null ? 0 : recordingStarts({ entry, length: entry.n_samples }, cut.window, cut.stride).length,
  );
  const wanted = shareOutByLabel(
    counts,
    entries.map(({ label }) => label),
    MOST_JUDGED,
  );
  const random = new Random(1);
  return (index, starts) =>
    drawRuns(starts.length, wanted[index], 1, random).flatMap(({ first, count }) => starts.slice(first, first + count));
}

/** Copies within a recording, a part of its windows after the other; each part knows the windows before it that windows are compared with. */
async function nearDuplicatesIn(
  recording: Recording,
  index: number,
  starts: readonly number[],
  window: number,
  signal: AbortSignal | undefined,
): Promise<CleaningRow[]> {
  const rows: CleaningRow[] = [];
  let latest: number[] = [];
  for (let from = 0; from < starts.length; from += PART) {
    const fresh = starts.slice(from, from + PART);
    const all = [...latest, ...fresh];
    const windows = {
      samples: windowsAt(recording, all, window),
      recordings: all.map(() => index),
      starts: all,
      settled: latest.length,
    };
    const found = await findNearDuplicates(windows, [window, recording.channels.length], { signal });
    const gone = new Set(found.map(({ start }) => start));
    latest = all.filter((start) => !gone.has(start)).slice(-COMPARED_WINDOWS);
    rows.push(...found);
  }
  return rows;
}

async function readOrReject(
  set: RecordingSet,
  entry: RecordingEntry,
  channels?: readonly string[],
): Promise<Recording | { problem: string }> {
  try {
    return await readRecording(set, entry, channels, undefined, { mayLackNumbers: true });
  } catch (error) {
    if (error instanceof Refusal && error.code === 'data/file') return { problem: error.message };
    throw error;
  }
}

function refuseMixedChannels(recordings: readonly RecordingEntry[], wanted?: readonly string[]): void {
  if (wanted) return;
  const [first] = recordings;
  const odd = recordings.find((entry) => channelNames(entry).join() !== channelNames(first).join());
  if (!odd) return;
  throw new Refusal(
    'data/mixed',
    `${odd.file} has ${channelNames(odd)}, ${first.file} has ${channelNames(first)}; choose with --where and --channels`,
  );
}

/** Recordings whose content an earlier one has, and its file. */
function copiesIn(recordings: readonly RecordingEntry[]): Map<RecordingEntry, string> {
  const first = new Map<string, RecordingEntry>();
  const copies = new Map<RecordingEntry, string>();
  for (const entry of recordings) {
    if (typeof entry.sha256 !== 'string') continue;
    const original = first.get(entry.sha256);
    if (original && original.label === entry.label) copies.set(entry, original.file);
    else if (!original) first.set(entry.sha256, entry);
  }
  return copies;
}

/** -> row-major [starts, window, channels] */
function windowsAt({ read, channels: { length: channels } }: Recording, starts: readonly number[], window: number): Float32Array {
  const windows = new Float32Array(starts.length * window * channels);
  starts.forEach((start, row) => {
    windows.set(read(start, window), row * window * channels);
  });
  return windows;
}

/** Valid windows of a labelled recording, those that are judged by their neighbours. */
interface Described {
  readonly index: number;
  readonly label: string;
  readonly starts: readonly number[];
  /** Row-major [starts, width]. */
  readonly features: Float32Array;
}

async function ambiguousAmong(
  described: readonly Described[],
  window: number,
  options: { signal?: AbortSignal; onProgress: (share: number) => void },
): Promise<CleaningRow[]> {
  const classes = [...new Set(described.map(({ label }) => label))].sort();
  if (classes.length < 2) return [];
  const count = described.reduce((sum, { starts }) => sum + starts.length, 0);
  const embedding = new Float32Array(described.reduce((sum, { features }) => sum + features.length, 0));
  let at = 0;
  for (const { features } of described) {
    embedding.set(features, at);
    at += features.length;
  }
  const each = <T>(of: (one: Described) => T) => described.flatMap((one) => one.starts.map(() => of(one)));
  const windows = {
    count,
    labels: Int32Array.from(each(({ label }) => classes.indexOf(label))),
    recordings: Int32Array.from(each(({ index }) => index)),
    starts: Int32Array.from(described.flatMap(({ starts }) => starts)),
  };
  return findAmbiguous(windows, window, embedding, classes, options);
}

/** Rows that may be proposed, and the judgements that would take too much of a class: see {@link LARGEST_SHARE}. */
function holdBack(rows: readonly CleaningRow[], cuts: readonly CutRecording[]): { proposed: CleaningRow[]; heldBack: HeldBack[] } {
  const heldBack = summarizeCleaning(rows, cuts).flatMap(({ label, windows, removed }) =>
    (['ambiguous', 'near-duplicate'] as const).flatMap((stage) => {
      const byLikeness = rows.filter(
        (row) => row.stage === stage && row.reason !== 'same-content' && className(cuts[row.recording].label) === label,
      ).length;
      const judged = windows - removed.invalid;
      return byLikeness > LARGEST_SHARE[stage] * judged ? [{ label, stage, windows: byLikeness, share: byLikeness / judged }] : [];
    }),
  );
  const isHeld = (row: CleaningRow) =>
    row.reason !== 'same-content' &&
    heldBack.some(({ label, stage }) => stage === row.stage && label === className(cuts[row.recording].label));
  return { proposed: rows.filter((row) => !isHeld(row)), heldBack };
}
