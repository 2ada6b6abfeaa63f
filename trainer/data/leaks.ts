import { SlidingCorrelation } from '../evaluate/sliding-correlation.ts';
import { Refusal } from '../refusal.ts';
import type { Recording, SampleRange } from './recording-set.ts';

/** Training windows that tell how alike recordings are by nature. */
const USUAL_PROBES = 24;

/** A recording on one side of a split, or the piece of it that lies there. */
export interface SplitPart {
  readonly recording: Recording;
  /** Where the samples of `recording` lie in its file; the whole file where absent. */
  readonly range?: SampleRange;
}

export interface LeakOptions {
  /** Samples a window. */
  readonly window: number;
  /** Correlation above which two windows are the same. Default 0.95. */
  readonly threshold?: number;
  /** Windows of each test part that are looked for in training, spread evenly from its first to its last. Default 4. */
  readonly probes?: number;
  /** Samples that must lie between pieces of one recording. Default one window. */
  readonly gap?: number;
  readonly onProgress?: (share: number) => void;
  readonly signal?: AbortSignal;
}

/** Something that is on both sides of a split. */
export interface Leak {
  readonly kind: 'recording' | 'signal';
  readonly train: string;
  readonly test: string;
  /** What is on both sides, for people. */
  readonly why: string;
}

export interface LeakReport {
  readonly leaks: readonly Leak[];
  /** Correlation at which half of the sampled training windows are found in another training recording. */
  readonly usualLikeness: number;
  /** Whether that is above the threshold, so that signals were not compared. */
  readonly signalsRepeat: boolean;
}

/**
 * Looks for what would let a model recognise the test instead of understanding it: a recording on both sides (by file name, by `sha256`, or
 * pieces of one file that lie closer than a gap), and stretches of signal that are on both sides under another name.
 *
 * Signals are compared by the correlation of z-scored windows at every lag: sampled windows of each test part against every place of every
 * training part. A copied stretch shorter than the distance of two probes can be missed. Where the training recordings themselves are alike by
 * nature (a simulation without noise, a pure tone), likeness proves nothing: then only recordings are compared, and the report says so.
 */
export async function findLeaks(train: readonly SplitPart[], test: readonly SplitPart[], options: LeakOptions): Promise<LeakReport> {
  const { window, threshold = 0.95, probes = 4, gap = window } = options;
  const named = test.flatMap((one) => train.flatMap((other) => sameRecording(one, other, gap) ?? []));
  const settled = new Set(named.map((leak) => pairKey(leak.train, leak.test)));
  const channels = train[0]?.recording.channels.length ?? 1;
  const search = new SlidingCorrelation(window, channels);
  const probesOf = (parts: readonly SplitPart[], count: number) =>
    parts.flatMap(({ recording, range }) =>
      probeStarts(recording.length, window, count).map((start) => ({
        file: recording.entry.file,
        start: start + (range?.start ?? 0),
        probe: search.probe(recording.samples.subarray(start * channels, (start + window) * channels)),
      })),
    );
  const tested = probesOf(test, probes);
  const usual = probesOf(spread(train, USUAL_PROBES), 1).map((one) => ({ ...one, likeness: 0 }));
  const signals = new Map<string, Leak>();
  for (const [index, { recording, range }] of train.entries()) {
    options.signal?.throwIfAborted();
    const { file } = recording.entry;
    const others = tested.filter((one) => one.file !== file && !settled.has(pairKey(file, one.file)));
    const own = usual.filter((one) => one.file !== file);
    const matches = search.bestMatches(
      [...others, ...own].map(({ probe }) => probe),
      recording.samples,
    );
    own.forEach((one, which) => {
      one.likeness = Math.max(one.likeness, matches[others.length + which].correlation);
    });
    others.forEach((one, which) => {
      const { correlation, start } = matches[which];
      if (correlation <= threshold || signals.has(pairKey(file, one.file))) return;
      const trainStart = start + (range?.start ?? 0);
      const why = `the ${window} samples of ${one.file} from ${one.start} on are those of ${file} from ${trainStart} on (correlation ${correlation.toFixed(3)})`;
      signals.set(pairKey(file, one.file), { kind: 'signal', train: file, test: one.file, why });
    });
    options.onProgress?.((index + 1) / train.length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const usualLikeness = usual.map(({ likeness }) => likeness).sort((a, b) => a - b)[Math.floor((usual.length - 1) / 2)] ?? 0;
  const signalsRepeat = usualLikeness > threshold;
  return { leaks: [...named, ...(signalsRepeat ? [] : signals.values())], usualLikeness, signalsRepeat };
}

const pairKey = (train: string, test: string) => JSON.stringify([train, test]);

/** At most `count` of the items, evenly spread. */
function spread<T>(items: readonly T[], count: number): T[] {
  return items.filter((_, index) => Math.floor((index * count) / items.length) !== Math.floor(((index - 1) * count) / items.length));
}

/** @throws Refusal data/leak that names the first leaks, where there are any */
export function refuseLeaks({ leaks }: LeakReport): void {
  if (leaks.length === 0) return;
  const shown = leaks.slice(0, 3).map(({ why }) => why);
  const more = leaks.length > shown.length ? `; and ${leaks.length - shown.length} more` : '';
  throw new Refusal('data/leak', `training and test share data: ${shown.join('; ')}${more}. Split by recording, load, speed or machine`);
}

function sameRecording(test: SplitPart, train: SplitPart, gap: number): Leak | undefined {
  const [one, other] = [test.recording.entry, train.recording.entry];
  const leak = (why: string): Leak => ({ kind: 'recording', train: other.file, test: one.file, why });
  if (one.file !== other.file) {
    const same = typeof one.sha256 === 'string' && one.sha256 === other.sha256;
    return same ? leak(`${one.file} and ${other.file} have the same content`) : undefined;
  }
  if (!test.range || !train.range) return leak(`${one.file} is on both sides`);
  const [early, late] = test.range.start < train.range.start ? [test.range, train.range] : [train.range, test.range];
  const between = late.start - early.start - early.length;
  if (between >= gap) return undefined;
  const pieces = `pieces of ${one.file} on both sides`;
  if (between < 0) return leak(`${pieces} overlap by ${-between} samples`);
  return leak(`${pieces} are ${between} samples apart, where ${gap} must lie between them`);
}

/** Starts of `probes` windows from a recording's first to its last; of one window, its middle. */
function probeStarts(length: number, window: number, probes: number): number[] {
  if (length < window) return [];
  const last = length - window;
  const starts = Array.from({ length: probes }, (_, index) => Math.round(last * (probes === 1 ? 0.5 : index / (probes - 1))));
  return [...new Set(starts)];
}
