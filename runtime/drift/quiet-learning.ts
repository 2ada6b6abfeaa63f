import { type Baseline, type BaselineSum, distance } from './baseline.ts';
import { DriftStatistics } from './statistics.ts';

/** Windows that are learned together: about a minute at 256 ms. */
const BLOCK = 256;
/** Windows that a baseline remembers: 35 minutes at 256 ms, a hundred changes of a machine's set points. */
const MOST = 8192;
/**
 * How far the mean may go from that of the first windows, in deviations of these. Machines that change load and speed all the time stay within 1.2
 * (measured: 26 of them, 45 minutes each); what goes farther is a drift too slow for the statistics, and is followed no longer.
 */
const FARTHEST = 2;

/**
 * The statistics of a stream against a baseline that goes on learning while nothing is wrong, so that it comes to know states that the first minute did
 * not have. Guarded: a block is learned only when the next one, too, has passed without an alarm, and never farther than {@link FARTHEST}.
 */
export class QuietLearning {
  readonly statistics: DriftStatistics;
  /** Of the windows before any were learned in quiet. */
  readonly first: Baseline;
  readonly firstSum: BaselineSum;
  sum: BaselineSum;
  baseline: Baseline;
  #fresh: BaselineSum;
  #held: BaselineSum;

  /** @param firstSum where the sum has learned in quiet already */
  constructor(sum: BaselineSum, firstSum = sum) {
    this.sum = sum;
    this.baseline = sum.baseline();
    this.firstSum = firstSum;
    this.first = firstSum.baseline();
    this.statistics = new DriftStatistics(this.baseline);
    this.#fresh = sum.beside();
    this.#held = sum.beside();
  }

  /** A window in which nothing is known to be wrong. features: [FEATURES] from `from` on. */
  update(features: ArrayLike<number>, from = 0): void {
    this.statistics.update(features, from);
    this.#fresh.add(features, from);
    if (this.#fresh.count === BLOCK) this.#learn();
  }

  /** An alarm, or a sensor out of order: windows that were not learned yet never are. */
  disturbed(): void {
    this.#fresh.clear();
    this.#held.clear();
  }

  #learn(): void {
    const trusted = this.#held;
    this.#held = this.#fresh;
    this.#fresh = trusted;
    if (trusted.count > 0) {
      const learned = this.sum.with(trusted, MOST);
      const baseline = learned.baseline();
      if (distance(baseline.mean, this.first) <= FARTHEST) {
        this.sum = learned;
        this.baseline = baseline;
        this.statistics.rebase(baseline);
      }
    }
    trusted.clear();
  }
}
