import { SlidingCorrelation } from '../evaluate/sliding-correlation.ts';
import { Refusal } from '../refusal.ts';
import { originOf, type ReadPiece, spread, startInOrigin } from './pieces.ts';
import type { Recording } from './recording-set.ts';

/** Training windows of a class that tell how alike its recordings are by nature. */
const USUAL_PROBES = 8;
/** Most windows of a part that are looked for. */
const MOST_PROBES = 4;
/** Samples of training, times channels, times windows looked for in them: about 9 s of one core of a 2020s x86 server. */
const COMPARISONS = 3.5e8;
/** Values of training that are searched for test windows, and that tell how alike recordings are; of a larger set stretches, evenly spread. */
const MOST_SEARCHED = 1e8;
const MOST_COMPARED = 2e7;
/** Samples searched at a time. */
const STRETCH = 1 << 16;
/** Windows of a recording's training part that tell whether it is like another one as a copy is, or by nature. */
const OWN_PROBES = 4;

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
  /** Share of the training part's samples in which test windows were looked for; below 1 where the set is too large for all. */
  readonly searched: number;
}

/**
 * Looks for what would let a model recognise the test instead of understanding it: a recording on both sides (by file name, by `sha256`, or
 * pieces of one file that lie closer than a gap), and stretches of signal that are on both sides under another name.
 *
 * Signals are compared by the correlation of z-scored windows at every lag: sampled windows of each test part against every place of every
 * training part of another file. A copied stretch shorter than the distance of two probes can be missed. How alike recordings are by nature is
 * measured between training recordings of a class (as recorded: coarser ones mix what is unlike), and a leak must lie well above it. Where that is
 * above the threshold itself (a simulation without noise, a pure tone), likeness proves nothing: then only recordings are compared, and the report
 * says so.
 *
 * A time block of a recording whose other blocks train is looked for in the other recordings alone; of its own recording the gap is all that can be
 * asked. Where it is found in another recording, the training part of its own is looked for there as well: if that is as like the other one, but every
 * window at a lag of its own (most at least), the two are alike by nature (the same shaft turns in both) and it is no leak; a copy has one lag.
 *
 * Takes up to about ten seconds of one core for sets like cwru12 and uet_motor1k, of which two windows a part are looked for, and a minute
 * for larger ones, of which {@link LeakReport.searched} tells how much was searched. Samples are read by stretches.
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
  const isOfClass = (part: ReadPiece, probe: TestProbe) => probe.label === recordedClass(part);
  await lookThrough(search, stretchesOf(train, window, MOST_COMPARED).stretches, sampled, isOfClass, threshold, progress(0, 0.1));
  const usualLikeness = quantile(likenesses(sampled), 0.5);
  const { stretches, share: searched } = stretchesOf(train, window, MOST_SEARCHED);
  if (usualLikeness > threshold) return { leaks: named, usualLikeness, signalsRepeat: true, searched };

  const size = stretches.reduce((sum, { part, length }) => sum + length * part.channels.length, 0);
  const affordable = Math.floor(COMPARISONS / Math.max(1, size));
  const count = options.probes ?? Math.max(1, Math.min(MOST_PROBES, Math.floor(affordable / Math.max(1, test.length))));
  const looked = options.probes === undefined ? spread(test, Math.max(MOST_PROBES, affordable)) : test;
  const tested = looked.flatMap((part) => probesOf(search, part, window, count));
  const isOpen = ({ entry: { file } }: ReadPiece, probe: TestProbe) => !settled.has(pairKey(file, probe.file));
  const matches = await lookThrough(search, stretches, tested, isOpen, threshold, progress(0.1, 1));
  const signals = new Map<string, Leak>();
  for (const label of labels) {
    const own = likenesses(sampled.filter((probe) => probe.label === label));
    const limit = leakLimit(own.length < 3 ? likenesses(sampled) : own, threshold);
    for (const match of matches) {
      const { part, probe, start, correlation } = match;
      const key = pairKey(part.entry.file, probe.file);
      if (recordedClass(part) !== label || correlation <= limit || signals.has(key)) continue;
      if (await areAlikeByNature(search, train, match, limit, options)) continue;
      const why = `the ${window} samples of ${probe.file} from ${probe.start} on are those of ${part.entry.file} from ${start} on (correlation ${correlation.toFixed(3)})`;
      signals.set(key, { kind: 'signal', train: part.entry.file, test: probe.file, why });
    }
  }
  return { leaks: [...named, ...signals.values()], usualLikeness, signalsRepeat: false, searched };
}

/**
 * Whether what a test window was found in resembles its recording's own training part as well, most windows at another lag. Never where nothing of its
 * recording trains.
 */
async function areAlikeByNature(
  search: SlidingCorrelation,
  train: readonly ReadPiece[],
  { part, probe, start }: Found,
  limit: number,
  { window, signal }: LeakOptions,
): Promise<boolean> {
  const own = train.filter(({ entry }) => entry.file === probe.file).flatMap((one) => probesOf(search, one, window, OWN_PROBES));
  const { stretches } = stretchesOf([part], window, Number.POSITIVE_INFINITY);
  const found = await lookThrough(search, stretches, own, () => true, limit, { signal });
  const alike = own.filter(({ likeness }) => likeness > limit);
  if (2 * alike.length <= own.length || own.length === 0) return false;
  const lag = start - probe.start;
  const isMoved = (one: Found) => Math.abs(one.start - one.probe.start - lag) <= 2 * fileStep(part);
  const moved = found.filter((one) => one.correlation === one.probe.likeness && isMoved(one));
  return 2 * moved.length < alike.length;
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
  return probeStarts(part.length, window, count).map((start) => ({
    file: part.entry.file,
    label: recordedClass(part),
    start: placeInFile(part, start),
    probe: search.probe(part.read(start, window)),
    likeness: 0,
  }));
}

const likenesses = (probes: readonly TestProbe[]) => probes.map(({ likeness }) => likeness);

/** Where a probe fits best in a stretch. */
interface Found {
  readonly part: ReadPiece;
  readonly probe: TestProbe;
  /** First sample in the file. */
  readonly start: number;
  readonly correlation: number;
}

/** Samples of a part that are searched in one go. */
interface Stretch {
  readonly part: ReadPiece;
  readonly start: number;
  readonly length: number;
}

/** Parts by stretches, which overlap by a window less one sample; evenly spread ones of `most` values where there are more. */
function stretchesOf(parts: readonly ReadPiece[], window: number, most: number): { stretches: Stretch[]; share: number } {
  const values = parts.reduce((sum, { length, channels }) => sum + length * channels.length, 0);
  const share = Math.min(1, most / Math.max(1, values));
  const all = parts.flatMap((part) =>
    Array.from({ length: Math.ceil(Math.max(0, part.length - window + 1) / STRETCH) }, (_, index) => ({
      part,
      start: index * STRETCH,
      length: Math.min(STRETCH + window - 1, part.length - index * STRETCH),
    })),
  );
  return { stretches: share < 1 ? spread(all, Math.max(1, Math.floor(share * all.length))) : all, share };
}

/** The best place of each probe in each stretch of another file, of those pairs that `isAsked`, where it is above a threshold; the probes keep the best of all. */
async function lookThrough(
  search: SlidingCorrelation,
  stretches: readonly Stretch[],
  probes: readonly TestProbe[],
  isAsked: (part: ReadPiece, probe: TestProbe) => boolean,
  threshold: number,
  { signal, onProgress }: Pick<LeakOptions, 'signal' | 'onProgress'>,
): Promise<Found[]> {
  const found: Found[] = [];
  for (const [index, { part, start: from, length }] of stretches.entries()) {
    signal?.throwIfAborted();
    const sought = probes.filter((probe) => probe.file !== part.entry.file && isAsked(part, probe));
    const matches = search.bestMatches(
      sought.map(({ probe }) => probe),
      part.read(from, length),
    );
    matches.forEach(({ correlation, start }, which) => {
      sought[which].likeness = Math.max(sought[which].likeness, correlation);
      if (correlation > threshold) found.push({ part, probe: sought[which], start: placeInFile(part, from + start), correlation });
    });
    onProgress?.((index + 1) / stretches.length);
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
  if (one.file !== other.file && typeof one.sha256 === 'string' && one.sha256 === other.sha256) {
    return leak(`${one.file} and ${other.file} have the same content`);
  }
  if (originOf(one) !== originOf(other)) return undefined;
  if (one.file === other.file && (!test.range || !train.range)) return leak(`${one.file} is on both sides`);
  const [early, late] = [inOrigin(test), inOrigin(train)].sort((a, b) => a.start - b.start);
  const between = late.start - early.start - early.length;
  const needed = Math.floor(gap * fileStep(train));
  if (between >= needed) return undefined;
  const pieces = `pieces of ${originOf(one)} on both sides`;
  if (between < 0) return leak(`${pieces} overlap by ${-between} samples`);
  return leak(`${pieces} are ${between} samples apart, where ${needed} must lie between them`);
}

/** Where a piece lies in the recording as it was before cleaning cut it. */
function inOrigin(piece: ReadPiece): { start: number; length: number } {
  const { start, length } = piece.range ?? { start: 0, length: Math.round(piece.length * fileStep(piece)) };
  return { start: startInOrigin(piece.entry) + start, length };
}

/** Starts of `probes` windows from a recording's first to its last; of one window, its middle. */
function probeStarts(length: number, window: number, probes: number): number[] {
  if (length < window) return [];
  const last = length - window;
  const starts = Array.from({ length: probes }, (_, index) => Math.round(last * (probes === 1 ? 0.5 : index / (probes - 1))));
  return [...new Set(starts)];
}
