import { STATISTICS, type StatisticName } from '../contracts/drift.ts';
import { BaselineSum } from './baseline.ts';
import { FEATURES } from './features.ts';
import { QuietLearning } from './quiet-learning.ts';
import type { DriftStatistics } from './statistics.ts';

/** Windows of one machine in one state, in pieces that follow each other without a gap: row-major [windows, FEATURES] each. */
export type CalibrationStream = readonly Float64Array[];

/** What a statistic must exceed for one false alarm in `runLength` windows of all streams together. */
export interface Thresholds {
  /** Windows, of one stream. */
  readonly runLength: number;
  readonly novelty: number;
  readonly shift: number;
}

export interface DriftReference {
  /** Windows from which a stream's first baseline is taken: the thresholds hold for just so many. It goes on learning while nothing is wrong. */
  readonly referenceWindows: number;
  /** Ascending run lengths. */
  readonly thresholds: readonly Thresholds[];
}

export interface CalibrationOptions {
  readonly runLengths?: readonly number[];
  /** Default 256. */
  readonly referenceWindows?: number;
  /** Virtual streams. Default 1,000: chance adds 4 % to what the windows themselves leave open, and 15 % at a run length of 100,000. */
  readonly runs?: number;
  readonly below: (bound: number) => number;
}

/** A minute of windows at 256 ms. Half as many make baselines that are wrong by so much that run lengths scatter over decades. */
export const REFERENCE_WINDOWS = 256;
/** Run lengths that are calibrated where there are windows enough. */
const RUN_LENGTHS = [500, 2000, 20_000, 100_000];
/** Windows of calibration streams that there must be for each of a run length: fewer hold hardly an alarm, and promise nothing. */
const WINDOWS_A_WINDOW = 2.5;
/** Mean length of the blocks that are drawn, in baselines: most baselines are of one block where the pieces are long enough. */
const BLOCK = 4;
/**
 * A stream of one piece of so many baselines is not drawn from but taken as it came, once around. On 106 simulated machines of half an hour and more, blocks
 * of it promised 1.3 times what the streams kept: what is drawn a second time was learned the first time.
 */
const WHOLE = 8;
const RUNS = 1000;
/**
 * Runs end after so many times the asked run length, alarm or not: one in 20 does. And after 35 minutes at 256 ms, when a baseline remembers no more than
 * it forgets: what comes later is as what came before.
 */
const LONGEST = 3;
const LIFE = 8192;
/** Least threshold: that of a statistic which never moved, as novelty where a bundle has none. */
const LEAST = 1;
/** Halvings of a share of runs. */
const ROUNDS = 20;

/** The values of a statistic that exceeded all before them, with the window at which they came. */
class Records {
  readonly #windows: number[] = [];
  readonly #values: number[] = [];

  add(window: number, value: number): void {
    if (value <= (this.#values.at(-1) ?? 0)) return;
    this.#windows.push(window);
    this.#values.push(value);
  }

  /** Windows until the threshold was exceeded; `otherwise` where it never was. */
  passage(threshold: number, otherwise: number): number {
    let [low, high] = [0, this.#values.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#values[middle] > threshold) high = middle;
      else low = middle + 1;
    }
    return this.#windows[low] ?? otherwise;
  }

  /** The largest value up to a window. */
  peak(window: number): number {
    let at = this.#windows.length - 1;
    while (at >= 0 && this.#windows[at] > window) at--;
    return this.#values[at] ?? 0;
  }
}

/**
 * Draws windows in blocks (stationary bootstrap: lengths are geometric), so that neighbours stay neighbours.
 *
 * Politis and Romano (1994), The stationary bootstrap.
 */
export class BlockDraw {
  readonly #pieces: CalibrationStream;
  readonly #ends: Float64Array;
  readonly #block: number;
  readonly #below: (bound: number) => number;
  #piece = 0;
  #left = 0;
  #row = -1;

  /** @param block mean length; infinity for a stream of one piece that is taken as it came, around from its end to its beginning */
  constructor(stream: CalibrationStream, block: number, below: (bound: number) => number) {
    this.#pieces = stream;
    let sum = 0;
    this.#ends = Float64Array.from(stream, (piece) => {
      sum += piece.length / FEATURES;
      return sum;
    });
    if (sum === 0) throw new RangeError('a stream without windows cannot be drawn from');
    this.#block = block;
    this.#below = below;
  }

  /** Moves on to the next window: `piece` holds it from `from` on. */
  next(): void {
    if (this.#block === Number.POSITIVE_INFINITY && this.#row >= 0) {
      this.#row = (this.#row + 1) % this.#ends[0];
      return;
    }
    if (this.#left > 0 && this.#below(this.#block) > 0) {
      this.#left--;
      this.#row++;
      return;
    }
    let at = this.#below(this.#ends[this.#ends.length - 1]);
    this.#piece = 0;
    while (at >= this.#ends[this.#piece]) this.#piece++;
    at -= this.#piece === 0 ? 0 : this.#ends[this.#piece - 1];
    this.#row = at;
    this.#left = this.#pieces[this.#piece].length / FEATURES - at - 1;
  }

  get piece(): Float64Array {
    return this.#pieces[this.#piece];
  }

  get from(): number {
    return this.#row * FEATURES;
  }
}

/**
 * One virtual stream: a baseline, then the statistics of the windows that follow until `length`, or until `each` says so.
 *
 * @returns windows until `each` said so; otherwise -1 times those that there were
 */
function virtualStream(
  stream: CalibrationStream,
  { referenceWindows, below }: Required<Pick<CalibrationOptions, 'referenceWindows' | 'below'>>,
  length: number,
  each: (window: number, statistics: DriftStatistics) => boolean,
): number {
  const windows = stream[0].length / FEATURES;
  const whole = stream.length === 1 && windows >= WHOLE * referenceWindows;
  const draw = new BlockDraw(stream, whole ? Number.POSITIVE_INFINITY : BLOCK * referenceWindows, below);
  const life = whole ? Math.min(length, windows - referenceWindows) : length;
  draw.next();
  const sum = BaselineSum.from(draw.piece, draw.from);
  for (let window = 0; window < referenceWindows; window++) {
    sum.add(draw.piece, draw.from);
    draw.next();
  }
  const learning = new QuietLearning(sum);
  for (let window = 1; window <= life; window++) {
    learning.update(draw.piece, draw.from);
    if (each(window, learning.statistics)) return window;
    draw.next();
  }
  return -life;
}

/** The run lengths that streams can be calibrated for, ascending; the last is the longest that so many windows support. */
export function supportedRunLengths(streams: readonly CalibrationStream[]): number[] {
  const windows = streams.flat().reduce((sum, piece) => sum + piece.length / FEATURES, 0);
  const most = Math.floor(windows / WINDOWS_A_WINDOW);
  const supported = RUN_LENGTHS.filter((runLength) => runLength <= most);
  return supported.length === RUN_LENGTHS.length ? supported : [...supported.filter((runLength) => 2 * runLength <= most), most];
}

const longestRun = (runLength: number) => Math.min(LONGEST * runLength, LIFE);

/**
 * Thresholds at which streams like those given have a false alarm every `runLength` windows. A virtual stream takes its baseline and its windows in
 * blocks from one stream, so that autocorrelation and the error of a young baseline are in the promise. The run length is that of all streams together,
 * windows by alarms, so that a machine that never alarms does not hide one that often does.
 *
 * Is wrong for a machine that goes through more states than its calibration stream did, or more slowly than the blocks are long.
 *
 * @throws RangeError without streams
 */
export function calibrateDrift(streams: readonly CalibrationStream[], options: CalibrationOptions): DriftReference {
  if (streams.length === 0) throw new RangeError('thresholds need a stream to be calibrated on');
  const { runLengths = supportedRunLengths(streams), referenceWindows = REFERENCE_WINDOWS, runs = RUNS, below } = options;
  const ascending = [...runLengths].sort((a, b) => a - b);
  const recorded = Array.from({ length: runs }, (_, run) => {
    const records = { novelty: new Records(), shift: new Records() };
    const length = longestRun(ascending[ascending.length - 1]);
    const life = -virtualStream(streams[run % streams.length], { referenceWindows, below }, length, (window, statistics) => {
      for (const name of STATISTICS) records[name].add(window, statistics[name]);
      return false;
    });
    return { ...records, life };
  });
  const thresholds = ascending.map((runLength) => {
    const longest = longestRun(runLength);
    const peaks = STATISTICS.map((name) => Float64Array.from(recorded, (run) => run[name].peak(longest)).sort());
    // Both statistics get the same share of runs that they end.
    const at = (share: number) => peaks.map((sorted) => Math.max(LEAST, sorted[Math.min(runs - 1, Math.floor((1 - share) * runs))]));
    const length = (limits: readonly number[]) =>
      runLengthOf(
        recorded.map((run) => {
          const passage = Math.min(...STATISTICS.map((name, index) => run[name].passage(limits[index], longest + 1)));
          return passage <= longest ? passage : -Math.min(longest, run.life);
        }),
      );
    let [low, high] = [0, 1];
    for (let round = 0; round < ROUNDS; round++) {
      const middle = (low + high) / 2;
      if (length(at(middle)) > runLength) low = middle;
      else high = middle;
    }
    const [novelty, shift] = at(low);
    return { runLength, novelty, shift };
  });
  return { referenceWindows, thresholds };
}

/** All windows by all alarms. @param passages windows to the alarm; of runs without one, -1 times their windows */
function runLengthOf(passages: readonly number[]): number {
  const windows = passages.reduce((sum, passage) => sum + Math.abs(passage), 0);
  return windows / Math.max(1, passages.filter((passage) => passage > 0).length);
}

/** Windows to an alarm of streams drawn from those given, where nothing has changed. */
export function measureRunLength(
  streams: readonly CalibrationStream[],
  thresholds: Thresholds,
  options: Omit<CalibrationOptions, 'runLengths'>,
): number {
  const { referenceWindows = REFERENCE_WINDOWS, runs = RUNS, below } = options;
  const longest = longestRun(thresholds.runLength);
  const passages = Array.from({ length: runs }, (_, run) =>
    virtualStream(
      streams[run % streams.length],
      { referenceWindows, below },
      longest,
      (_window, statistics) => exceeds(statistics, thresholds) !== undefined,
    ),
  );
  return runLengthOf(passages);
}

/** Whether a statistic speaks for a drift, and which says so most clearly. */
export function exceeds(statistics: Pick<DriftStatistics, StatisticName>, thresholds: Thresholds): StatisticName | undefined {
  const novelty = statistics.novelty / thresholds.novelty;
  const shift = statistics.shift / thresholds.shift;
  if (Math.max(novelty, shift) <= 1) return undefined;
  return novelty >= shift ? 'novelty' : 'shift';
}
