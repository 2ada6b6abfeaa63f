import { LaggedCorrelation } from '../evaluate/correlation.ts';
import type { Recording } from './recording-set.ts';
import { type Windows, windowStarts } from './windows.ts';

/**
 * Three stages of cleaning: each looks at recordings or windows and writes a row for everything that it would take out, with the reason.
 * Nothing is changed or deleted here.
 */
export type CleaningStage = 'invalid' | 'ambiguous' | 'near-duplicate';

export interface CleaningRow {
  /** Index of the recording. */
  readonly recording: number;
  /** First sample of the window; null for the whole recording. */
  readonly start: number | null;
  readonly stage: CleaningStage;
  /** What is wrong, in a word. */
  readonly reason: string;
  /** The same for people, with the numbers. */
  readonly why: string;
}

/** How recordings are cut into windows. */
export interface Cut {
  readonly window: number;
  readonly stride: number;
}

// --- Stage 1: invalid ---

/** A channel that holds one value for so many samples was disconnected for a while. */
const DROP_OUT_SAMPLES = 32;
/** How many times as often as any value near it the largest (smallest) value must occur to be the end of the range: the top level of a sine, the
 * most peaked of usual signals, has 2.4 times the samples of the next. */
const PILE_UP = 5;
/** Values next to the largest that it is compared with. */
const NEIGHBOURS_OF_EXTREME = 8;

export interface ValidityOptions {
  /** The rate that all recordings should have; the commonest one where absent. */
  readonly sampleRateHz?: number;
  /** Share of a window's numbers that may lie at the end of the sensor's range. Default 0.5. Strong faults drive real sensors into their limits:
   * in uet_motor1k a limit of 0.2 takes out nearly the whole faulty class, which still can be told from the other. */
  readonly clippedShare?: number;
}

/**
 * Stage 1: recordings of another rate or shorter than a window, and windows with a number that is none, a flat channel, clipping or a
 * drop-out (a channel holds one value for 32 samples). Where all windows of a recording have the same fault, there is one row for it.
 */
export function findInvalid(
  recordings: readonly Recording[],
  { window, stride }: Cut,
  { sampleRateHz = commonestRate(recordings), clippedShare = 0.5 }: ValidityOptions = {},
): CleaningRow[] {
  return recordings.flatMap((recording, index) => {
    const whole = (reason: string, why: string): CleaningRow[] => [{ recording: index, start: null, stage: 'invalid', reason, why }];
    if (recording.sampleRateHz !== sampleRateHz)
      return whole('wrong-rate', `sampled at ${recording.sampleRateHz} Hz where ${sampleRateHz} Hz are expected`);
    if (recording.length < window) return whole('short', `${recording.length} samples, fewer than a window of ${window}`);
    const ranges = recording.channels.map((_, channel) => rangeEnds(recording, channel));
    const faults = windowStarts(recording.length, window, stride).map((start) => faultOf(recording, start, window, ranges, clippedShare));
    const reasons = new Set(faults.map((fault) => fault?.reason));
    const [first] = faults;
    if (first && reasons.size === 1) return whole(first.reason, `every window: ${first.why}`);
    return faults.flatMap((fault, place) => (fault ? { recording: index, start: place * stride, stage: 'invalid', ...fault } : []));
  });
}

function commonestRate(recordings: readonly Recording[]): number {
  const counts = new Map<number, number>();
  for (const { sampleRateHz } of recordings) counts.set(sampleRateHz, (counts.get(sampleRateHz) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 0;
}

/** Values at which a sensor's range ends; infinite where nothing shows it. */
type RangeEnds = readonly [lowest: number, highest: number];

/** The largest value is the end of the range where it piles up: far more samples than at any value near it. */
function rangeEnds({ samples, channels, length }: Recording, channel: number): RangeEnds {
  const values = Float32Array.from({ length }, (_, t) => samples[t * channels.length + channel])
    .filter((value) => Number.isFinite(value))
    .sort();
  const pilesUp = (sorted: Float32Array) => {
    const counts: number[] = [];
    for (let at = 0; at < sorted.length && counts.length <= NEIGHBOURS_OF_EXTREME; at++) {
      if (at > 0 && sorted[at] === sorted[at - 1]) counts[counts.length - 1]++;
      else counts.push(1);
    }
    return counts.length > 1 && counts[0] >= PILE_UP && counts[0] >= PILE_UP * Math.max(...counts.slice(1, 1 + NEIGHBOURS_OF_EXTREME));
  };
  const lowest = pilesUp(values) ? values[0] : Number.NEGATIVE_INFINITY;
  values.reverse();
  return [lowest, pilesUp(values) ? values[0] : Number.POSITIVE_INFINITY];
}

interface Fault {
  readonly reason: string;
  readonly why: string;
}

/** What one channel of a window shows; sentences where something is wrong. */
interface ChannelState {
  readonly notFinite?: string;
  readonly flat?: string;
  readonly held?: string;
  /** Samples at the end of the range. */
  readonly clipped: number;
}

/** The gravest fault of a window. */
function faultOf(
  recording: Recording,
  start: number,
  window: number,
  ranges: readonly RangeEnds[],
  clippedShare: number,
): Fault | undefined {
  const states = ranges.map((range, channel) => stateOf(recording, channel, start, window, range));
  const notFinite = states.find((state) => state.notFinite)?.notFinite;
  if (notFinite) return { reason: 'not-finite', why: notFinite };
  const flat = states.find((state) => state.flat)?.flat;
  if (flat) return { reason: 'flat', why: flat };
  const share = states.reduce((sum, { clipped }) => sum + clipped, 0) / (window * states.length);
  if (share > clippedShare)
    return { reason: 'clipped', why: `${Math.round(100 * share)} % of the window lies at the end of the sensor's range` };
  const held = states.find((state) => state.held)?.held;
  return held ? { reason: 'drop-out', why: held } : undefined;
}

function stateOf({ samples, channels }: Recording, channel: number, start: number, window: number, range: RangeEnds): ChannelState {
  const at = (t: number) => samples[(start + t) * channels.length + channel];
  let [run, longest, longestValue, clipped] = [0, 0, 0, 0];
  for (let t = 0; t < window; t++) {
    const value = at(t);
    if (!Number.isFinite(value)) return { notFinite: `channel ${channels[channel]} holds ${value} at sample ${start + t}`, clipped };
    const atTheEnd = value <= range[0] || value >= range[1];
    if (atTheEnd) clipped++;
    run = t > 0 && value === at(t - 1) ? run + 1 : 1;
    // A value that is held at the end of the range is clipping, not a drop-out.
    if (run > longest && (!atTheEnd || run === window)) [longest, longestValue] = [run, value];
  }
  if (longest === window) return { flat: `channel ${channels[channel]} is ${longestValue} throughout`, clipped };
  return longest < DROP_OUT_SAMPLES
    ? { clipped }
    : { held: `channel ${channels[channel]} holds ${longestValue} for ${longest} samples`, clipped };
}

// --- Stage 2: ambiguous ---

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
 * another class, and that has the larger share.
 *
 * Neighbours come from other recordings: windows of one recording carry one label, right or wrong, and lie close. Only where a class has
 * no second recording do its windows ask their own recording, except for windows that overlap.
 *
 * @param windows in the order of `cutWindows`
 * @param embedding row-major [count, width]; columns are scaled to unit deviation
 * @param classes names
 */
export async function findAmbiguous(
  windows: Pick<Windows, 'labels' | 'recordings' | 'count'>,
  { window, stride }: Cut,
  embedding: Float32Array,
  classes: readonly string[],
  { neighbours = 10, onProgress, signal }: AmbiguityOptions = {},
): Promise<CleaningRow[]> {
  const { labels, recordings, count } = windows;
  const points = scaledColumns(embedding, count);
  const width = points.length / count;
  const overlap = Math.ceil(window / stride) - 1;
  const alone = classes.map((_, label) => new Set(recordings.filter((_, row) => labels[row] === label)).size < 2);
  const mayAsk = (row: number, other: number) =>
    recordings[row] !== recordings[other] || (alone[labels[row]] && labels[row] === labels[other] && Math.abs(row - other) > overlap);

  const shares = new Float32Array(count * classes.length);
  const distances = new Float64Array(neighbours);
  const nearest = new Int32Array(neighbours);
  for (let row = 0; row < count; row++) {
    let found = 0;
    for (let other = 0; other < count; other++) {
      if (!mayAsk(row, other)) continue;
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
    for (let place = 0; place < found; place++) shares[row * classes.length + labels[nearest[place]]] += 1 / found;
    if (row % 64 !== 0) continue;
    signal?.throwIfAborted();
    onProgress?.(row / count);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return contradicted(windows, shares, neighbours, classes, stride);
}

/** shares: [count, classes] of neighbours */
function contradicted(
  { labels, recordings, count }: Pick<Windows, 'labels' | 'recordings' | 'count'>,
  shares: Float32Array,
  neighbours: number,
  classes: readonly string[],
  stride: number,
): CleaningRow[] {
  const share = (row: number, label: number) => shares[row * classes.length + label];
  const confident = classes.map((_, label) => {
    const own = Array.from(labels.keys()).filter((row) => labels[row] === label);
    const mean = own.reduce((sum, row) => sum + share(row, label), 0) / Math.max(1, own.length);
    return Math.floor(mean * neighbours) / neighbours - 1e-6;
  });
  const places = placesOf(recordings, stride);
  const rows: CleaningRow[] = [];
  for (let row = 0; row < count; row++) {
    const own = labels[row];
    let counted = own;
    classes.forEach((_, label) => {
      if (label !== own && share(row, label) >= confident[label] && share(row, label) > share(row, counted)) counted = label;
    });
    if (counted === own) continue;
    const percent = (value: number) => `${Math.round(100 * value)} %`;
    const why = `labelled ${classes[own]}, but ${percent(share(row, counted))} of its neighbours are ${classes[counted]} and ${percent(share(row, own))} ${classes[own]}`;
    rows.push({ recording: recordings[row], start: places[row], stage: 'ambiguous', reason: `like-${classes[counted]}`, why });
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

// --- Stage 3: near-duplicates ---

/** The space in which likeness is measured: in others, 0.85 means something else altogether (reference/ml.md, trap 2). */
export const NEAR_DUPLICATE_SPACE = 'largest lagged cross-correlation of z-scored windows';

export interface NearDuplicateOptions {
  /** Likeness above which a window is a near-duplicate. Default 0.85. */
  readonly threshold?: number;
  /** Windows are compared within a recording (the default), or with all of their class: so much dearer as a class has recordings. */
  readonly within?: 'recording' | 'class';
  readonly onProgress?: (share: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Stage 3: windows that resemble an earlier one which stays, in {@link NEAR_DUPLICATE_SPACE}. The first of a family stays.
 *
 * @param windows in the order of `cutWindows`
 */
export async function findNearDuplicates(
  windows: Windows,
  { window, stride }: Cut,
  options: NearDuplicateOptions = {},
): Promise<CleaningRow[]> {
  const { threshold = 0.85, within = 'recording', onProgress, signal } = options;
  const channels = windows.samples.length / (windows.count * window);
  const places = placesOf(windows.recordings, stride);
  const groups = new Map<number, number[]>();
  for (let row = 0; row < windows.count; row++) {
    const key = within === 'recording' ? windows.recordings[row] : windows.labels[row];
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  const rows: CleaningRow[] = [];
  let done = 0;
  for (const members of groups.values()) {
    const samples = new Float32Array(members.length * window * channels);
    members.forEach((row, index) => {
      samples.set(windows.samples.subarray(row * window * channels, (row + 1) * window * channels), index * window * channels);
    });
    const space = new LaggedCorrelation(samples, [window, channels]);
    const kept: number[] = [];
    for (const [index, row] of members.entries()) {
      const twin = firstAlike(space, index, kept, threshold);
      if (!twin) kept.push(index);
      else {
        const original = members[twin.index];
        const why = `likeness ${twin.likeness.toFixed(3)} to the window at sample ${places[original]} of recording ${windows.recordings[original]} (${NEAR_DUPLICATE_SPACE})`;
        rows.push({ recording: windows.recordings[row], start: places[row], stage: 'near-duplicate', reason: 'near-duplicate', why });
      }
      if (++done % 16 !== 0) continue;
      signal?.throwIfAborted();
      onProgress?.(done / windows.count);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return rows;
}

/** The first kept window that is more alike than the threshold. */
function firstAlike(
  space: LaggedCorrelation,
  index: number,
  kept: readonly number[],
  threshold: number,
): { index: number; likeness: number } | undefined {
  for (let at = 0; at < kept.length; at += 2) {
    const pair = [kept[at], kept[at + 1] ?? kept[at]] as const;
    const likeness = space.likeness(index, ...pair);
    const which = likeness.findIndex((value) => value > threshold);
    if (which >= 0) return { index: pair[which], likeness: likeness[which] };
  }
  return undefined;
}

// --- Report ---

/** What cleaning would take out of one class, in windows; a window counts in the first stage that names it. */
export interface CleaningSummary {
  readonly label: string;
  readonly windows: number;
  readonly removed: Readonly<Record<CleaningStage, number>>;
  readonly kept: number;
}

/** One line a class, in alphabetical order; recordings without a label under `unlabelled`. */
export function summarizeCleaning(
  rows: readonly CleaningRow[],
  recordings: readonly Recording[],
  { window, stride }: Cut,
): CleaningSummary[] {
  const stages: readonly CleaningStage[] = ['invalid', 'ambiguous', 'near-duplicate'];
  const stageOf = new Map<string, CleaningStage>();
  const startsOf = ({ length }: Recording) => windowStarts(length, window, stride);
  for (const stage of stages) {
    for (const row of rows.filter((one) => one.stage === stage)) {
      const starts = row.start === null ? startsOf(recordings[row.recording]) : [row.start];
      for (const start of starts) {
        const key = `${row.recording}/${start}`;
        if (!stageOf.has(key)) stageOf.set(key, stage);
      }
    }
  }
  const summaries = new Map<string, { windows: number; removed: Record<CleaningStage, number> }>();
  recordings.forEach((recording, index) => {
    const label = recording.label ?? 'unlabelled';
    const summary = summaries.get(label) ?? { windows: 0, removed: { invalid: 0, ambiguous: 0, 'near-duplicate': 0 } };
    for (const start of startsOf(recording)) {
      summary.windows++;
      const stage = stageOf.get(`${index}/${start}`);
      if (stage) summary.removed[stage]++;
    }
    summaries.set(label, summary);
  });
  return [...summaries]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([label, { windows, removed }]) => ({
      label,
      windows,
      removed,
      kept: windows - stages.reduce((sum, stage) => sum + removed[stage], 0),
    }));
}

/** First sample of each window, as `cutWindows` places them. */
function placesOf(recordings: Int32Array, stride: number): Int32Array {
  const places = new Int32Array(recordings.length);
  for (let row = 1; row < recordings.length; row++) places[row] = recordings[row] === recordings[row - 1] ? places[row - 1] + stride : 0;
  return places;
}
