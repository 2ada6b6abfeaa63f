import { STATISTICS, type StatisticName } from '../contracts/drift.ts';
import { BaselineSum } from './baseline.ts';
import { FEATURES } from './features.ts';
import { DriftStatistics } from './statistics.ts';

/** Windows of one machine in one state, in pieces that follow each other without a gap: row-major [windows, FEATURES] each. */
export type CalibrationStream = readonly Float64Array[];

/** What a statistic must exceed, by the mean number of windows to a false alarm. */
export interface Thresholds {
  /** Windows, of one stream. */
  readonly runLength: number;
  readonly novelty: number;
  readonly shift: number;
}

export interface DriftReference {
  /** Windows from which a stream's baseline is taken: the thresholds hold for baselines of just so many. */
  readonly referenceWindows: number;
  /** Ascending run lengths. */
  readonly thresholds: readonly Thresholds[];
}

export interface CalibrationOptions {
  readonly runLengths?: readonly number[];
  /** Default 256. */
  readonly referenceWindows?: number;
  /** Mean length of the blocks that are drawn, in windows. Default 32. */
  readonly block?: number;
  /** Virtual streams. Default 400: the mean run length is known to about 5 %. */
  readonly runs?: number;
  readonly below: (bound: number) => number;
}

/** A minute of windows at 256 ms. Half as many make baselines that are wrong by so much that run lengths scatter over decades. */
const REFERENCE_WINDOWS = 256;
const BLOCK = 32;
/** Mean length of the blocks of a baseline, in baselines: most are of one block where the pieces are long enough. */
const REFERENCE_BLOCKS = 4;
const RUNS = 400;
/** Runs end after so many times the asked run length, alarm or not: one in 150 does. */
const LONGEST = 5;
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
  const sum = new BaselineSum();
  for (let window = 0; window < referenceWindows; window++) {
    first.next();
    sum.add(first.piece, first.from);
  }
  const draw = new BlockDraw(stream, block, below);
  const statistics = new DriftStatistics(sum.baseline());
  for (let window = 1; window <= length; window++) {
    draw.next();
    statistics.update(draw.piece, draw.from);
    if (each(window, statistics)) return;
  }
}

/**
 * Thresholds at which a stream like those given has a false alarm every `runLength` windows in the mean. A virtual stream takes its baseline and its
 * windows in blocks from one stream, so that autocorrelation and the error of a baseline of few windows are in the promise.
 *
 * Is wrong for a machine that goes through more states than its calibration stream did, or more slowly than the blocks are long.
 *
 * @throws RangeError without streams
 */
export function calibrateDrift(streams: readonly CalibrationStream[], options: CalibrationOptions): DriftReference {
  const { runLengths = [500, 2000], referenceWindows = REFERENCE_WINDOWS, block = BLOCK, runs = RUNS, below } = options;
  if (streams.length === 0) throw new RangeError('thresholds need a stream to be calibrated on');
  const ascending = [...runLengths].sort((a, b) => a - b);
  const longest = LONGEST * ascending[ascending.length - 1];
  const recorded = Array.from({ length: runs }, (_, run) => {
    const records = { novelty: new Records(), shift: new Records() };
    virtualStream(streams[run % streams.length], { referenceWindows, block, below }, longest, (window, statistics) => {
      for (const name of STATISTICS) records[name].add(window, statistics[name]);
      return false;
    });
    return records;
  });
  const thresholds = ascending.map((runLength) => {
    const peaks = STATISTICS.map((name) => Float64Array.from(recorded, (run) => run[name].peak(runLength)).sort());
    // Both statistics get the same share of runs that they end within the asked length.
    const at = (share: number) => peaks.map((sorted) => Math.max(LEAST, sorted[Math.min(runs - 1, Math.floor((1 - share) * runs))]));
    const mean = (limits: readonly number[]) => {
      const passages = recorded.map((run) => Math.min(...STATISTICS.map((name, index) => run[name].passage(limits[index], longest))));
      return passages.reduce((sum, passage) => sum + Math.min(passage, LONGEST * runLength), 0) / runs;
    };
    let [low, high] = [0, 1];
    for (let round = 0; round < ROUNDS; round++) {
      const middle = (low + high) / 2;
      if (mean(at(middle)) > runLength) low = middle;
      else high = middle;
    }
    const [novelty, shift] = at(low);
    return { runLength, novelty, shift };
  });
  return { referenceWindows, thresholds };
}

/** Mean number of windows to an alarm of streams drawn from those given, where nothing has changed. */
export function measureRunLength(
  streams: readonly CalibrationStream[],
  thresholds: Thresholds,
  options: Omit<CalibrationOptions, 'runLengths'>,
): number {
  const { referenceWindows = REFERENCE_WINDOWS, block = BLOCK, runs = RUNS, below } = options;
  const longest = LONGEST * thresholds.runLength;
  let sum = 0;
  for (let run = 0; run < runs; run++) {
    let passed = longest;
    virtualStream(streams[run % streams.length], { referenceWindows, block, below }, longest, (window, statistics) => {
      if (!exceeds(statistics, thresholds)) return false;
      passed = window;
      return true;
    });
    sum += passed;
  }
  return sum / runs;
}

/** Whether a statistic speaks for a drift, and which says so most clearly. */
export function exceeds(statistics: Pick<DriftStatistics, StatisticName>, thresholds: Thresholds): StatisticName | undefined {
  const novelty = statistics.novelty / thresholds.novelty;
  const shift = statistics.shift / thresholds.shift;
  if (Math.max(novelty, shift) <= 1) return undefined;
  return novelty >= shift ? 'novelty' : 'shift';
}
