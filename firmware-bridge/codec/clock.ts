import type { TimeSyncReply } from './frame.ts';

/** Device time that shares one minimum. */
const BUCKET_US = 4_000_000;

/** Buckets looked back on: 256 s, short against the warming of a crystal, long against the jitter of USB and TCP. */
const BUCKETS = 64;

/** Below this span jitter decides the slope, so the drift stays 0: 1 ms of jitter over 30 s is 33 ppm, what a crystal may have. */
const MIN_SPAN_US = 30_000_000;

/** Crystals stay within 100 ppm, ceramic and RC oscillators of small boards often not. A steeper slope is jitter. */
const MAX_DRIFT = 2e-3;

/** A pair that comes this much earlier than the line allows, or later for LATE_US long, means that a clock was set. */
const JUMP_US = 250_000;
const LATE_US = 10_000_000;

export interface ClockEstimate {
  /** Host time minus device time at the newest pair, in microseconds. */
  offsetUs: number;
  /** How much faster the device's clock runs than the host's, in parts per million; 0 until the pairs span 30 s. */
  driftPpm: number;
  /** Device time that the estimate rests on, in microseconds. */
  spanUs: number;
  /** Smallest round trip seen, in microseconds: the offset is wrong by at most half of it. Infinity without replies to time syncs. */
  roundTripUs: number;
}

/**
 * Estimates what a device's clock shows against the host's, from pairs of device time (when bytes left) and host time (when they arrived).
 *
 * A byte is never early, so the differences lie above the true line by their delay. The estimate is the line below all pairs (the quickest of
 * each 4 s) with the least total distance to them: an edge of their lower convex hull (Moon, Skelly and Towsley, "Estimation and removal of
 * clock skew from network delay measurements", INFOCOM 1999). Replies to time syncs, where a device gives them, take half of the smallest round
 * trip off the offset (RFC 5905 section 10's minimum filter).
 *
 * With pairs every 128 ms behind 3 ms of exponential jitter it is within 0.1 ms and 2 ppm after two minutes.
 *
 * It is wrong by the smallest one-way delay where there are no replies, and by half of the difference of both ways' delays where there are. A
 * clock that is set is followed at once where the device's jumps forward or its time goes back by a quarter of a second or more, after 10 s
 * where pairs only seem to come late, and after 256 s where the step is smaller. Without I/O and without a clock of its own.
 */
export class ClockEstimator {
  /** x: device time, y: host - device time, both relative to the first pair: small numbers keep the products in the hull exact. */
  readonly #x = new Float64Array(BUCKETS);
  readonly #y = new Float64Array(BUCKETS);
  readonly #hull = new Int32Array(BUCKETS);
  #count = 0;
  #originDeviceUs = 0;
  #originOffsetUs = 0;
  #bucket = 0;
  #newestX = 0;
  #lateSinceUs = -1;
  #intercept = 0;
  #slope = 0;
  #roundTripUs = Number.POSITIVE_INFINITY;

  /** Adds one pair, both in microseconds: `frameEndUs` of a frame and the host's time when it arrived. The host's clock should be monotonic. */
  observe(deviceUs: number, hostUs: number): void {
    const x = deviceUs - this.#originDeviceUs;
    const y = hostUs - deviceUs - this.#originOffsetUs;
    const late = y - this.#line(x);
    if (this.#count === 0 || late < -JUMP_US || x < this.#newestX - JUMP_US) {
      this.#restart(deviceUs, hostUs);
      return;
    }
    if (late > JUMP_US) {
      if (this.#lateSinceUs < 0) this.#lateSinceUs = hostUs;
      else if (hostUs - this.#lateSinceUs > LATE_US) this.#restart(deviceUs, hostUs);
      return;
    }
    this.#lateSinceUs = -1;
    this.#newestX = Math.max(this.#newestX, x);
    this.#add(x, y);
  }

  /** Adds the answer to a time sync that arrived at `hostReceiveUs`. */
  observeReply(reply: TimeSyncReply, hostReceiveUs: number): void {
    const roundTripUs = hostReceiveUs - reply.hostTimeUs - (reply.deviceSendUs - reply.deviceReceiveUs);
    // Negative where a clock was set in between.
    if (roundTripUs >= 0) this.#roundTripUs = Math.min(this.#roundTripUs, roundTripUs);
    this.observe(reply.deviceSendUs, hostReceiveUs);
  }

  /** Host time at `deviceUs` in microseconds, or undefined before the first pair. */
  toHostUs(deviceUs: number): number | undefined {
    if (this.#count === 0) return undefined;
    return deviceUs + this.#originOffsetUs + this.#line(deviceUs - this.#originDeviceUs) - this.#oneWayUs();
  }

  /** The estimate now, or undefined before the first pair. */
  get estimate(): ClockEstimate | undefined {
    if (this.#count === 0) return undefined;
    return {
      offsetUs: this.#originOffsetUs + this.#line(this.#newestX) - this.#oneWayUs(),
      driftPpm: (1 / (1 + this.#slope) - 1) * 1e6,
      spanUs: this.#span(),
      roundTripUs: this.#roundTripUs,
    };
  }

  /** Forgets everything. To be called where the path changed, such as another port or another broker. */
  reset(): void {
    this.#count = 0;
    this.#roundTripUs = Number.POSITIVE_INFINITY;
  }

  #restart(deviceUs: number, hostUs: number): void {
    this.#originDeviceUs = deviceUs;
    this.#originOffsetUs = hostUs - deviceUs;
    this.#x[0] = 0;
    this.#y[0] = 0;
    this.#count = 1;
    this.#bucket = 0;
    this.#newestX = 0;
    this.#lateSinceUs = -1;
    this.#intercept = 0;
    this.#slope = 0;
  }

  #line(x: number): number {
    return this.#intercept + this.#slope * x;
  }

  #oneWayUs(): number {
    return Number.isFinite(this.#roundTripUs) ? this.#roundTripUs / 2 : 0;
  }

  #span(): number {
    return this.#x[this.#count - 1] - this.#x[0];
  }

  /** Keeps the quickest pair of each bucket, and the latest BUCKETS of them. A pair that an older bucket would want has come too late. */
  #add(x: number, y: number): void {
    const bucket = Math.floor(x / BUCKET_US);
    if (bucket < this.#bucket) return;
    const last = this.#count - 1;
    if (bucket === this.#bucket) {
      // Which of the two came quicker: by its distance to the line, since a drift alone makes y fall or rise within the bucket.
      if (y - this.#line(x) >= this.#y[last] - this.#line(this.#x[last])) return;
      this.#x[last] = x;
      this.#y[last] = y;
    } else {
      if (this.#count === BUCKETS) {
        this.#x.copyWithin(0, 1);
        this.#y.copyWithin(0, 1);
        this.#count--;
      }
      this.#x[this.#count] = x;
      this.#y[this.#count] = y;
      this.#count++;
      this.#bucket = bucket;
    }
    this.#fit();
  }

  #fit(): void {
    const slope = this.#span() < MIN_SPAN_US ? 0 : this.#hullSlope();
    this.#slope = Math.max(-MAX_DRIFT, Math.min(MAX_DRIFT, slope));
    // Touches the points from below, also where the slope was bounded.
    let intercept = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#count; i++) intercept = Math.min(intercept, this.#y[i] - this.#slope * this.#x[i]);
    this.#intercept = intercept;
  }

  /** Slope of the lower hull's edge over the mean x: of all lines below the points, that one's total distance to them is least. */
  #hullSlope(): number {
    const x = this.#x;
    const y = this.#y;
    const hull = this.#hull;
    let size = 0;
    let sum = 0;
    for (let i = 0; i < this.#count; i++) {
      sum += x[i];
      // Andrew's monotone chain: the last point goes while it lies on or above the line from the one before it to the new one.
      while (size >= 2) {
        const a = hull[size - 2];
        const b = hull[size - 1];
        if ((x[b] - x[a]) * (y[i] - y[a]) > (y[b] - y[a]) * (x[i] - x[a])) break;
        size--;
      }
      hull[size++] = i;
    }
    const mean = sum / this.#count;
    let right = 1;
    while (right < size - 1 && x[hull[right]] < mean) right++;
    const from = hull[right - 1];
    const to = hull[right];
    return (y[to] - y[from]) / (x[to] - x[from]);
  }
}
