import { SlidingCorrelation } from '../evaluate/sliding-correlation.ts';
import { Refusal } from '../refusal.ts';
import { type ReadPiece, spread } from './pieces.ts';
import type { Recording } from './recording-set.ts';

/** Training windows of a class that tell how alike its recordings are by nature. */
const USUAL_PROBES = 8;
/** Most windows of a part that are looked for. */
const MOST_PROBES = 4;
/** Samples of training, times channels, times windows looked for in them: about 9 s of one core of a 2020s x86 server. */
const COMPARISONS = 3.5e8;

export interface LeakOptions {
  /** Samples a window. */
  readonly window: number;
  /** Correlation above which two windows are the same. Default 0.95. */
  readonly threshold?: number;
  /**
   * Windows of each test part that are looked for in training, spread evenly from its first to its last. Default 4, fewer where that would take
   * more than some ten seconds; where even one a part would, parts are sampled evenly.
   */
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
  /** Correlation at which half of the sampled training windows are found in another training recording of their class. */
  readonly usualLikeness: number;
  /** Whether that is above the threshold, so that signals were not compared. */
  readonly signalsRepeat: boolean;
}

/**
 * Looks for what would let a model recognise the test instead of understanding it: a recording on both sides (by file name, by `sha256`, or
 * pieces of one file that lie closer than a gap), and stretches of signal of recordings that training has nothing of, under another name.
 *
 * Signals are compared by the correlation of z-scored windows at every lag: sampled windows of each test part against every place of every
 * training part. A copied stretch shorter than the distance of two probes can be missed. How alike recordings are by nature is measured between
 * training recordings of a class (as recorded: coarser ones mix what is unlike), and a leak must lie well above it. Where that is above the threshold itself (a simulation without noise, a pure
 * tone), likeness proves nothing: then only recordings are compared, and the report says so.
 *
 * Takes up to about ten seconds of one core, whatever the size of the set: cwru12 and uet_motor1k have two windows a part looked for.
 */
export async function findLeaks(train: readonly ReadPiece[], test: readonly ReadPiece[], options: LeakOptions): Promise<LeakReport> {
  const { window, threshold = 0.95, gap = window } = options;
  const named = test.flatMap((one) => train.flatMap((other) => sameRecording(one, other, gap) ?? []));
  const settled = new Set(named.map((leak) => pairKey(leak.train, leak.test)));
  const search = new SlidingCorrelation(window, train[0]?.channels.length ?? 1);
  const progress = (from: number, to: number) => ({
    ...options,
    onProgress: (done: number) => options.onProgress?.(from + (to - from) * done),
  });

  const labels = [...new Set(train.map(recordedClass))];
  const sampled = labels.flatMap((label) => {
    const own = train.filter((part) => recordedClass(part) === label);
    return spread(own, USUAL_PROBES).flatMap((part) => probesOf(search, part, window, 1));
  });
  await lookThrough(search, train, sampled, (part, probe) => probe.label === recordedClass(part), threshold, progress(0, 0.1));
  const usualLikeness = quantile(likenesses(sampled), 0.5);
  if (usualLikeness > threshold) return { leaks: named, usualLikeness, signalsRepeat: true };

  const size = train.reduce((sum, { length, channels }) => sum + length * channels.length, 0);
  // A later part of a recording that trains is as like training as it can be; the gap between the two is all that can be asked of it.
  const trained = new Set(train.map(({ entry }) => entry.file));
  const strange = test.filter(({ entry }) => !trained.has(entry.file));
  const affordable = Math.floor(COMPARISONS / Math.max(1, size));
  const count = options.probes ?? Math.max(1, Math.min(MOST_PROBES, Math.floor(affordable / Math.max(1, strange.length))));
  const looked = options.probes === undefined ? spread(strange, Math.max(MOST_PROBES, affordable)) : strange;
  const tested = looked.flatMap((part) => probesOf(search, part, window, count));
  const isOpen = ({ entry: { file } }: ReadPiece, probe: TestProbe) => !settled.has(pairKey(file, probe.file));
  const matches = await lookThrough(search, train, tested, isOpen, threshold, progress(0.1, 1));
  const signals = new Map<string, Leak>();
  for (const label of labels) {
    const own = likenesses(sampled.filter((probe) => probe.label === label));
    const limit = leakLimit(own.length < 3 ? likenesses(sampled) : own, threshold);
    for (const { part, probe, start, correlation } of matches) {
      const key = pairKey(part.entry.file, probe.file);
      if (recordedClass(part) !== label || correlation <= limit || signals.has(key)) continue;
      const why = `the ${window} samples of ${probe.file} from ${probe.start} on are those of ${part.entry.file} from ${start} on (correlation ${correlation.toFixed(3)})`;
      signals.set(key, { kind: 'signal', train: part.entry.file, test: probe.file, why });
    }
  }
  return { leaks: [...named, ...signals.values()], usualLikeness, signalsRepeat: false };
}

/** A recording's label before it was made coarser. */
function recordedClass({ entry: { recorded_label: recorded }, label }: ReadPiece): string | null {
  return typeof recorded === 'string' ? recorded : label;
}

/** A window to look for. */
interface TestProbe {
  readonly file: string;
  /** The class as recorded. */
  readonly label: string | null;
  /** First sample in the file. */
  readonly start: number;
  readonly probe: ReturnType<SlidingCorrelation['probe']>;
  /** The best correlation found so far. */
  likeness: number;
}

/** So many windows of a part, evenly from its first to its last. */
function probesOf(search: SlidingCorrelation, part: ReadPiece, window: number, count: number): TestProbe[] {
  const channels = part.channels.length;
  return probeStarts(part.length, window, count).map((start) => ({
    file: part.entry.file,
    label: recordedClass(part),
    start: placeInFile(part, start),
    probe: search.probe(part.samples.subarray(start * channels, (start + window) * channels)),
    likeness: 0,
  }));
}

const likenesses = (probes: readonly TestProbe[]) => probes.map(({ likeness }) => likeness);

/**
 * The best place of each probe in each part of another file, of those pairs that `isAsked`, where it is above a threshold; the probes keep the best
 * of all.
 */
async function lookThrough(
  search: SlidingCorrelation,
  parts: readonly ReadPiece[],
  probes: readonly TestProbe[],
  isAsked: (part: ReadPiece, probe: TestProbe) => boolean,
  threshold: number,
  { signal, onProgress }: Pick<LeakOptions, 'signal' | 'onProgress'>,
): Promise<{ part: ReadPiece; probe: TestProbe; start: number; correlation: number }[]> {
  const found: { part: ReadPiece; probe: TestProbe; start: number; correlation: number }[] = [];
  for (const [index, part] of parts.entries()) {
    signal?.throwIfAborted();
    const sought = probes.filter((probe) => probe.file !== part.entry.file && isAsked(part, probe));
    const matches = search.bestMatches(
      sought.map(({ probe }) => probe),
      part.samples,
    );
    matches.forEach(({ correlation, start }, which) => {
      sought[which].likeness = Math.max(sought[which].likeness, correlation);
      if (correlation > threshold) found.push({ part, probe: sought[which], start: placeInFile(part, start), correlation });
    });
    onProgress?.((index + 1) / parts.length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return found;
}

/**
 * Correlation above which a test window is a copy: half way from what recordings of the class have in common to one. The upper quartile of that, so
 * that a few copies within training do not hide copies in the test.
 */
function leakLimit(likenesses: readonly number[], threshold: number): number {
  const usual = quantile(likenesses, 0.75);
  return usual > threshold ? Number.POSITIVE_INFINITY : Math.max(threshold, (1 + usual) / 2);
}

function quantile(values: readonly number[], share: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? 0;
}

const pairKey = (train: string, test: string) => JSON.stringify([train, test]);

/** Samples of the file that one sample of a part stands for: other than 1 where it was resampled. */
function fileStep({ entry, sampleRateHz }: Recording): number {
  return typeof entry.resampled_from_hz === 'number' ? entry.resampled_from_hz / sampleRateHz : 1;
}

function placeInFile(part: ReadPiece, at: number): number {
  return (part.range?.start ?? 0) + Math.round(at * fileStep(part));
}

/** @throws Refusal data/leak that names the first leaks, where there are any */
export function refuseLeaks({ leaks }: LeakReport): void {
  if (leaks.length === 0) return;
  const shown = leaks.slice(0, 3).map(({ why }) => why);
  const more = leaks.length > shown.length ? `; and ${leaks.length - shown.length} more` : '';
  throw new Refusal('data/leak', `training and test share data: ${shown.join('; ')}${more}. Split by recording, load, speed or machine`);
}

function sameRecording(test: ReadPiece, train: ReadPiece, gap: number): Leak | undefined {
  const [one, other] = [test.entry, train.entry];
  const leak = (why: string): Leak => ({ kind: 'recording', train: other.file, test: one.file, why });
  if (one.file !== other.file) {
    const same = typeof one.sha256 === 'string' && one.sha256 === other.sha256;
    return same ? leak(`${one.file} and ${other.file} have the same content`) : undefined;
  }
  if (!test.range || !train.range) return leak(`${one.file} is on both sides`);
  const [early, late] = test.range.start < train.range.start ? [test.range, train.range] : [train.range, test.range];
  const between = late.start - early.start - early.length;
  const needed = Math.floor(gap * fileStep(train));
  if (between >= needed) return undefined;
  const pieces = `pieces of ${one.file} on both sides`;
  if (between < 0) return leak(`${pieces} overlap by ${-between} samples`);
  return leak(`${pieces} are ${between} samples apart, where ${needed} must lie between them`);
}

/** Starts of `probes` windows from a recording's first to its last; of one window, its middle. */
function probeStarts(length: number, window: number, probes: number): number[] {
  if (length < window) return [];
  const last = length - window;
  const starts = Array.from({ length: probes }, (_, index) => Math.round(last * (probes === 1 ? 0.5 : index / (probes - 1))));
  return [...new Set(starts)];
}
