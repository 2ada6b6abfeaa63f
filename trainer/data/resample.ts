import { Refusal } from '../refusal.ts';
import { pagedReader, type ReadSamples } from './pages.ts';
import type { Recording, RecordingEntry } from './recording-set.ts';

/** Suppression of everything from half the lower rate upwards, in decibels. */
const STOP_BAND_DB = 80;
/** Where the pass band ends, as a share of half the lower rate. */
const PASS_BAND = 0.9;
/** Bound on both terms of the ratio of rates: a table of filters has a row for each of the first. */
const LARGEST_TERM = 10_000;
/** Values of a page of what was resampled: fewer than of a file's, for a value costs a hundred times as much to make. */
const PAGE_VALUES = 1024;

/** `up / down` = new rate / old rate, in lowest terms. */
export interface RateRatio {
  readonly up: number;
  readonly down: number;
}

/**
 * The ratio of two rates as a fraction of whole numbers of at most 10 000, by continued fractions. Exact for whole rates with a common
 * measure (12 000 → 1 000 is 1/12, 44 100 → 48 000 is 160/147); otherwise within 0.01 %, less than sensor clocks differ.
 *
 * @throws Refusal usage/rate where a rate is not a positive number, or they lie more than 10 000 apart
 */
export function rateRatio(fromHz: number, toHz: number): RateRatio {
  if (!(toHz > 0 && Number.isFinite(toHz))) throw new Refusal('usage/rate', `a rate of ${toHz} Hz is not possible; give a positive number`);
  const ratio = toHz / fromHz;
  if (!(ratio >= 1 / LARGEST_TERM && ratio <= LARGEST_TERM)) {
    throw new Refusal('usage/rate', `from ${fromHz} to ${toHz} Hz is too far; give a rate within a factor of ${LARGEST_TERM}`);
  }
  let [up, down, lastUp, lastDown] = [Math.floor(ratio), 1, 1, 0];
  let rest = ratio - up;
  // Below 1e-9 what remains of the fraction is rounding noise of the division.
  while (rest > 1e-9 && Math.abs(up / down - ratio) > 1e-12 * ratio) {
    const inverse = 1 / rest;
    const term = Math.floor(inverse + 1e-9);
    const [nextUp, nextDown] = [term * up + lastUp, term * down + lastDown];
    if (nextUp > LARGEST_TERM || nextDown > LARGEST_TERM) break;
    [lastUp, lastDown, up, down] = [up, down, nextUp, nextDown];
    rest = Math.max(0, inverse - term);
  }
  return { up, down };
}

/** Modified Bessel function of the first kind, order zero, by its series. */
function besselI0(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** Polyphase branches: the output at phase p is the sum over k of `taps[p * width + k]` times the input `k - half` samples away. */
interface Polyphase {
  readonly taps: Float64Array;
  readonly width: number;
  readonly half: number;
}

/** By ratio: the recordings of a set have few rates, and a design with thousands of branches takes a while. */
const designs = new Map<number, Polyphase>();

/**
 * The low-pass of a resampler: an ideal low-pass times a Kaiser window, cut into `up` branches.
 *
 * Design (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.5.3; Kaiser 1974), with f = half the lower rate: pass band to 0.9 f,
 * stop band from f at 80 dB, so the cut-off lies at 0.95 f, beta = 0.1102 (80 - 8.7) = 7.857, and the impulse response spans
 * (80 - 7.95) / (2.285 * 0.1 pi) = 100.4 samples of the lower rate. A Kaiser design has the same ripple in the pass band: 0.001 dB.
 */
function designPolyphase({ up, down }: RateRatio): Polyphase {
  const known = designs.get(up / down);
  if (known) return known;
  const beta = 0.1102 * (STOP_BAND_DB - 8.7);
  const span = (STOP_BAND_DB - 7.95) / (2.285 * Math.PI * (1 - PASS_BAND));
  // Time in samples of the input; the lower rate is `lower` of the input's.
  const lower = Math.min(1, up / down);
  const radius = span / 2 / lower;
  const half = Math.ceil(radius);
  const width = 2 * half + 1;
  const cutoff = (lower * (1 + PASS_BAND)) / 2;
  const taps = new Float64Array(up * width);
  const peak = besselI0(beta);
  for (let phase = 0; phase < up; phase++) {
    let sum = 0;
    for (let k = 0; k < width; k++) {
      const time = k - half - phase / up;
      if (Math.abs(time) > radius) continue;
      const sinc = time === 0 ? cutoff : Math.sin(Math.PI * cutoff * time) / (Math.PI * time);
      const tap = (sinc * besselI0(beta * Math.sqrt(1 - (time / radius) ** 2))) / peak;
      taps[phase * width + k] = tap;
      sum += tap;
    }
    // Every branch passes a constant unchanged, so that a large offset (gravity, pressure) makes no tone at the phases' rhythm.
    for (let k = 0; k < width; k++) taps[phase * width + k] /= sum;
  }
  const polyphase = { taps, width, half };
  designs.set(up / down, polyphase);
  return polyphase;
}

/** The index that a place outside of [0, length) has when the signal is mirrored at its first and last sample. */
function mirror(index: number, length: number): number {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const folded = ((index % period) + period) % period;
  return folded < length ? folded : period - folded;
}

/**
 * Band-limited resampling by a rational factor: a polyphase FIR with zero delay (output n lies at time n / new rate, as input m at m / old
 * rate). What lies below 0.9 of half the lower rate keeps its amplitude within 0.01 dB and its phase; what lies above half the lower rate is
 * suppressed by 80 dB. Beyond its ends the signal is mirrored, so a constant stays constant; the first and the last 50 samples at the lower
 * rate rest partly on mirrored values. Costs about 100 multiplications a channel and sample of the higher rate of input and output.
 *
 * @param samples row-major [n, channels]
 * @returns row-major [ceil(n * up / down), channels]
 */
export function resample(samples: Float32Array, channels: number, ratio: RateRatio): Float32Array {
  const length = samples.length / channels;
  const read: ReadSamples = (start, count) => samples.subarray(start * channels, (start + count) * channels);
  return resampleStretch(designPolyphase(ratio), ratio, { read, length, channels }, 0, resampledLength(length, ratio));
}

function resampledLength(length: number, { up, down }: RateRatio): number {
  return Math.ceil((length * up) / down);
}

/** A signal of one stretch of time. */
interface Signal {
  readonly read: ReadSamples;
  readonly length: number;
  readonly channels: number;
}

/** Outputs `from` to `from + count` of a resampled signal, of which no more is read than the filter spans: [count, channels]. */
function resampleStretch(
  { taps, width, half }: Polyphase,
  { up, down }: RateRatio,
  { read, length, channels }: Signal,
  from: number,
  count: number,
): Float32Array {
  const output = new Float32Array(count * channels);
  if (count === 0) return output;
  const baseOf = (n: number) => Math.floor((n * down) / up);
  const [lowest, highest] = [baseOf(from) - half, baseOf(from + count - 1) - half + width];
  // Where the filter reaches beyond an end, it reads as far back from there.
  const start = Math.max(0, Math.min(lowest, highest > length ? 2 * (length - 1) - (highest - 1) : lowest));
  const end = Math.min(length, Math.max(highest, lowest < 0 ? 1 - lowest : highest));
  const samples = read(start, end - start);
  const sums = new Float64Array(channels);
  for (let n = from; n < from + count; n++) {
    const branch = ((n * down) % up) * width;
    const first = baseOf(n) - half;
    const inside = first >= 0 && first + width <= length;
    sums.fill(0);
    for (let k = 0; k < width; k++) {
      const tap = taps[branch + k];
      const at = ((inside ? first + k : mirror(first + k, length)) - start) * channels;
      for (let channel = 0; channel < channels; channel++) sums[channel] += tap * samples[at + channel];
    }
    for (let channel = 0; channel < channels; channel++) output[(n - from) * channels + channel] = sums[channel];
  }
  return output;
}

/**
 * A recording at another rate; the same object where it has that rate already. A recording of snapshots (`snapshot_len`) is resampled one
 * snapshot at a time, since its snapshots are not contiguous, and `snapshot_len` becomes theirs. Samples are made when they are read, bit by bit
 * those that the whole recording would give.
 *
 * @param rateHz the new rate, at least a 10 000th of the old
 * @returns ceil(length * new / old) samples; the entry tells the old rate as `resampled_from_hz`
 * @throws Refusal usage/rate
 */
export function resampleRecording(recording: Recording, rateHz: number): Recording {
  if (recording.sampleRateHz === rateHz) return recording;
  const { entry, length } = recording;
  const channels = recording.channels.length;
  const ratio = rateRatio(recording.sampleRateHz, rateHz);
  const polyphase = designPolyphase(ratio);
  const snapshot = Number.isInteger(entry.snapshot_len) ? Math.min(length, entry.snapshot_len as number) : length;
  const resampledSnapshot = resampledLength(snapshot, ratio);
  const rest = length % Math.max(1, snapshot);
  const made = Math.floor(length / Math.max(1, snapshot)) * resampledSnapshot + resampledLength(rest, ratio);
  /** Outputs of one snapshot. */
  const within = (from: number, count: number): Float32Array => {
    const first = Math.floor(from / resampledSnapshot) * snapshot;
    const signal: Signal = {
      read: (start, wanted) => recording.read(first + start, wanted),
      length: Math.min(snapshot, length - first),
      channels,
    };
    return resampleStretch(polyphase, ratio, signal, from % resampledSnapshot, count);
  };
  const load: ReadSamples = (start, count) => {
    const samples = new Float32Array(count * channels);
    for (let at = start; at < start + count; ) {
      const here = Math.min(start + count - at, resampledSnapshot - (at % resampledSnapshot));
      samples.set(within(at, here), (at - start) * channels);
      at += here;
    }
    return samples;
  };
  const { scale: _, dtype: __, ...kept } = entry;
  const resampled: RecordingEntry = {
    ...kept,
    dtype: 'float32',
    n_samples: made,
    sample_rate_hz: rateHz,
    resampled_from_hz: recording.sampleRateHz,
    ...(snapshot < length && { snapshot_len: resampledSnapshot }),
  };
  const read = pagedReader([made, channels], load, PAGE_VALUES);
  return { ...recording, entry: resampled, sampleRateHz: rateHz, length: made, read };
}
