/** Weight that the past keeps with each run: about the last 50 count. */
const MEMORY = 0.98;

/** Time between the beginnings of two runs while few windows come, and the longest, milliseconds. */
const SPACING_MS = 2;
const LONGEST_SPACING_MS = 8;

/** A pause that is taken for so long at the most: streams that come back after an hour are no slow streams. */
const LONGEST_INTERVAL_MS = 1000;

/**
 * When to run waiting windows and how many at once, so that no window waits longer than a bound. All windows have the same bound, so the oldest
 * is the most urgent and the queue's order is that of the deadlines.
 *
 * A run costs much the same whether one window is in it or four. A thread that runs each window as it comes is busy with beginnings alone at
 * a few thousand windows a second; so runs begin some milliseconds apart, and what came meanwhile shares one. A window that comes alone does
 * not wait, and a full batch neither. The spacing grows with the windows that come, since each of them shares what a beginning costs: spacing =
 * shortest * (1 + windows a millisecond), up to the longest.
 *
 * A window that arrives just after a run began waits for that run and then for its own. So a run may take half of what the spacing leaves of the
 * bound, and the largest batch is the largest that, by the measured run times, does: t(n) = a + b n by least squares, the past fading.
 *
 * Is wrong when more windows come than can be run, as in a burst of all streams at once: then no batch keeps the bound, and the largest batch there is
 * gets through soonest.
 */
export class BatchPlanner {
  readonly #largest: number;
  readonly #boundMs: number;
  readonly #shortestMs: number;
  readonly #longestMs: number;
  #beganMs = Number.NEGATIVE_INFINITY;
  #meanIntervalMs = Number.POSITIVE_INFINITY;
  #weight = 0;
  #meanSize = 0;
  #meanMs = 0;
  #sizeVariance = 0;
  #covariance = 0;

  constructor(largest: number, boundMs: number, shortestSpacingMs = SPACING_MS, longestSpacingMs = LONGEST_SPACING_MS) {
    this.#largest = largest;
    this.#boundMs = boundMs;
    this.#shortestMs = shortestSpacingMs;
    this.#longestMs = longestSpacingMs;
  }

  /** Time from the beginning of a run to that of the next, milliseconds, unless a full batch waits. */
  get spacingMs(): number {
    const perMs = this.#meanSize / this.#meanIntervalMs;
    return Math.min(this.#longestMs, this.#shortestMs * (1 + perMs));
  }

  /** How long to let windows gather before the next run, milliseconds; 0 to run now. */
  pauseMs(waiting: number, nowMs: number): number {
    return waiting >= this.#largest ? 0 : Math.max(0, this.#beganMs + this.spacingMs - nowMs);
  }

  /** A run begins. */
  begin(nowMs: number): void {
    const intervalMs = Math.min(nowMs - this.#beganMs, LONGEST_INTERVAL_MS);
    this.#meanIntervalMs =
      this.#meanIntervalMs === Number.POSITIVE_INFINITY ? intervalMs : MEMORY * this.#meanIntervalMs + (1 - MEMORY) * intervalMs;
    this.#beganMs = nowMs;
  }

  /** A batch of `size` windows took so long, milliseconds. */
  observe(size: number, runMs: number): void {
    this.#weight = MEMORY * this.#weight + 1;
    const gain = 1 / this.#weight;
    const [offSize, offMs] = [size - this.#meanSize, runMs - this.#meanMs];
    this.#meanSize += gain * offSize;
    this.#meanMs += gain * offMs;
    this.#sizeVariance += gain * (offSize * (size - this.#meanSize) - this.#sizeVariance);
    this.#covariance += gain * (offSize * (runMs - this.#meanMs) - this.#covariance);
  }

  /** Expected run time of a batch, milliseconds; 0 before the first run. */
  expectedMs(size: number): number {
    if (this.#weight === 0) return 0;
    // Runs of one size alone, or times that fall with size, tell no slope: then all of the time is taken to come from the windows.
    const slope = this.#sizeVariance > 1e-6 ? this.#covariance / this.#sizeVariance : 0;
    if (!(slope > 0)) return (size * this.#meanMs) / this.#meanSize;
    return Math.max(0, this.#meanMs + slope * (size - this.#meanSize));
  }

  /** Windows to run now. @param oldestWaitMs how long the oldest has waited */
  size(waiting: number, oldestWaitMs: number): number {
    const most = Math.min(waiting, this.#largest);
    if (oldestWaitMs > this.#boundMs) return most;
    let size = most;
    while (size > 1 && this.expectedMs(size) > (this.#boundMs - this.spacingMs) / 2) size--;
    return size;
  }
}
