import { STATISTICS, type StatisticName } from '../contracts/drift.ts';
import { BaselineSum } from './baseline.ts';
import { DIRECTIONS, FEATURES } from './features.ts';
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
  /** Mean length of the blocks that are drawn, in windows. Default: as long as the streams remember, see {@link memoryOf}. */
  readonly block?: number;
  /** Virtual streams. Default 400: the run length is known to about 5 %. */
  readonly runs?: number;
  readonly below: (bound: number) => number;
}

/** A minute of windows at 256 ms. Half as many make baselines that are wrong by so much that run lengths scatter over decades. */
const REFERENCE_WINDOWS = 256;
/** Run lengths that are calibrated where there are windows enough. */
const RUN_LENGTHS = [500, 2000, 20_000];
/** Windows of calibration streams that there must be for each of a run length: fewer hold hardly an alarm, and promise nothing. */
const WINDOWS_A_WINDOW = 2.5;
const [SHORTEST_BLOCK, LONGEST_BLOCK] = [32, 512];
/** Autocorrelation that counts as none, and lags that are looked at. */
const UNRELATED = 0.1;
const LAGS = 256;
/** Mean length of the blocks of a baseline, in baselines: most are of one block where the pieces are long enough. */
const REFERENCE_BLOCKS = 4;
const RUNS = 400;
/**
 * Runs end after so many times the asked run length, alarm or not: one in 20 does. And after 35 minutes at 256 ms: baselines alarm most while they are
 * young, and a promise for long run lengths that counted on old ones would be broken after each restart.
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
  #row = 0;

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

/** One virtual stream: a baseline from drawn windows, then the statistics of others until `length`, or until `stop` says so. */
function virtualStream(
  stream: CalibrationStream,
  { referenceWindows, block, below }: Required<Pick<CalibrationOptions, 'referenceWindows' | 'block' | 'below'>>,
  length: number,
  each: (window: number, statistics: DriftStatistics) => boolean,
): void {
  // A real baseline is one piece of the stream: it has seen fewer states of the machine than as many windows from all over would have.
  const first = new BlockDraw(stream, REFERENCE_BLOCKS * referenceWindows, below);
  first.next();
  const sum = BaselineSum.from(first.piece, first.from);
  for (let window = 0; window < referenceWindows; window++) {
    sum.add(first.piece, first.from);
    first.next();
  }
  const draw = new BlockDraw(stream, block, below);
  const learning = new QuietLearning(sum);
  for (let window = 1; window <= length; window++) {
    draw.next();
    learning.update(draw.piece, draw.from);
    if (each(window, learning.statistics)) return;
  }
}

/** The run lengths that streams can be calibrated for, ascending; the last is the longest that so many windows support. */
export function supportedRunLengths(streams: readonly CalibrationStream[]): number[] {
  const windows = streams.flat().reduce((sum, piece) => sum + piece.length / FEATURES, 0);
  const most = Math.floor(windows / WINDOWS_A_WINDOW);
  const supported = RUN_LENGTHS.filter((runLength) => runLength <= most);
  return supported.length === RUN_LENGTHS.length ? supported : [...supported.filter((runLength) => 2 * runLength <= most), most];
}

/**
 * Windows for which streams remember where they were, as machines do that keep a load for a while: four times the integrated autocorrelation time of the
 * direction that remembers longest, 32 to 512.
 */
export function memoryOf(streams: readonly CalibrationStream[]): number {
  const products = Array.from({ length: DIRECTIONS }, () => new Float64Array(LAGS));
  for (const piece of streams.flat()) {
    const windows = piece.length / FEATURES;
    for (let direction = 0; direction < DIRECTIONS; direction++) {
      const values = Float64Array.from({ length: windows }, (_, row) => piece[row * FEATURES + 1 + direction]);
      const mean = values.reduce((sum, value) => sum + value / windows, 0);
      const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) + Number.EPSILON;
      for (let lag = 0; lag < Math.min(LAGS, windows); lag++) {
        let sum = 0;
        for (let row = lag; row < windows; row++) sum += (values[row] - mean) * (values[row - lag] - mean);
        products[direction][lag] += (sum / square) * windows;
      }
    }
  }
  const times = products.map((of) => {
    let time = 1;
    for (let lag = 1; lag < LAGS && of[lag] > UNRELATED * of[0]; lag++) time += (2 * of[lag]) / of[0];
    return time;
  });
  return Math.round(Math.max(SHORTEST_BLOCK, Math.min(LONGEST_BLOCK, 4 * Math.max(...times))));
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
  const block = options.block ?? memoryOf(streams);
  const ascending = [...runLengths].sort((a, b) => a - b);
  const recorded = Array.from({ length: runs }, (_, run) => {
    const records = { novelty: new Records(), shift: new Records() };
    const length = longestRun(ascending[ascending.length - 1]);
    virtualStream(streams[run % streams.length], { referenceWindows, block, below }, length, (window, statistics) => {
      for (const name of STATISTICS) records[name].add(window, statistics[name]);
      return false;
    });
    return records;
  });
  const thresholds = ascending.map((runLength) => {
    const longest = longestRun(runLength);
    const peaks = STATISTICS.map((name) => Float64Array.from(recorded, (run) => run[name].peak(longest)).sort());
    // Both statistics get the same share of runs that they end.
    const at = (share: number) => peaks.map((sorted) => Math.max(LEAST, sorted[Math.min(runs - 1, Math.floor((1 - share) * runs))]));
    const length = (limits: readonly number[]) =>
      runLengthOf(
        recorded.map((run) => Math.min(...STATISTICS.map((name, index) => run[name].passage(limits[index], longest)))),
        longest,
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

/** Windows to an alarm, of runs that ended with one or, without, after `longest`: all windows by all alarms. */
function runLengthOf(passages: readonly number[], longest: number): number {
  const windows = passages.reduce((sum, passage) => sum + Math.min(passage, longest), 0);
  return windows / Math.max(1, passages.filter((passage) => passage < longest).length);
}

/** Windows to an alarm of streams drawn from those given, where nothing has changed. */
export function measureRunLength(
  streams: readonly CalibrationStream[],
  thresholds: Thresholds,
  options: Omit<CalibrationOptions, 'runLengths'>,
): number {
  const { referenceWindows = REFERENCE_WINDOWS, block = memoryOf(streams), runs = RUNS, below } = options;
  const longest = longestRun(thresholds.runLength);
  const passages = Array.from({ length: runs }, (_, run) => {
    let passed = longest;
    virtualStream(streams[run % streams.length], { referenceWindows, block, below }, longest, (window, statistics) => {
      if (!exceeds(statistics, thresholds)) return false;
      passed = window;
      return true;
    });
    return passed;
  });
  return runLengthOf(passages, longest);
}

/** Whether a statistic speaks for a drift, and which says so most clearly. */
export function exceeds(statistics: Pick<DriftStatistics, StatisticName>, thresholds: Thresholds): StatisticName | undefined {
  const novelty = statistics.novelty / thresholds.novelty;
  const shift = statistics.shift / thresholds.shift;
  if (Math.max(novelty, shift) <= 1) return undefined;
  return novelty >= shift ? 'novelty' : 'shift';
}
