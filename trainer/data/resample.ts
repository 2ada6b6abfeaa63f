import { Refusal } from '../refusal.ts';
import type { Recording, RecordingEntry } from './recording-set.ts';

/** Suppression of everything from half the lower rate upwards, in decibels. */
export const STOP_BAND_DB = 80;
/** Where the pass band ends, as a share of half the lower rate. */
export const PASS_BAND = 0.9;
/** Bound on both terms of the ratio of rates: a table of filters has a row for each of the first. */
const LARGEST_TERM = 10_000;

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

/** The last design: the recordings of a set have one rate as a rule, and a design with thousands of branches takes a while. */
let latest: (RateRatio & { readonly polyphase: Polyphase }) | undefined;

/**
 * The low-pass of a resampler: an ideal low-pass times a Kaiser window, cut into `up` branches.
 *
 * Design (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.5.3; Kaiser 1974), with f = half the lower rate: pass band to 0.9 f,
 * stop band from f at 80 dB, so the cut-off lies at 0.95 f, beta = 0.1102 (80 - 8.7) = 7.857, and the impulse response spans
 * (80 - 7.95) / (2.285 * 0.1 pi) = 100.4 samples of the lower rate. A Kaiser design has the same ripple in the pass band: 0.001 dB.
 */
function designPolyphase({ up, down }: RateRatio): Polyphase {
  if (latest?.up === up && latest.down === down) return latest.polyphase;
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
  latest = { up, down, polyphase: { taps, width, half } };
  return latest.polyphase;
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
  return resampleWith(designPolyphase(ratio), samples, channels, ratio);
}

function resampleWith({ taps, width, half }: Polyphase, samples: Float32Array, channels: number, { up, down }: RateRatio): Float32Array {
  const length = samples.length / channels;
  const output = new Float32Array(Math.ceil((length * up) / down) * channels);
  const sums = new Float64Array(channels);
  for (let n = 0; n * channels < output.length; n++) {
    const base = Math.floor((n * down) / up);
    const branch = ((n * down) % up) * width;
    const first = base - half;
    const inside = first >= 0 && first + width <= length;
    sums.fill(0);
    for (let k = 0; k < width; k++) {
      const tap = taps[branch + k];
      const at = (inside ? first + k : mirror(first + k, length)) * channels;
      for (let channel = 0; channel < channels; channel++) sums[channel] += tap * samples[at + channel];
    }
    for (let channel = 0; channel < channels; channel++) output[n * channels + channel] = sums[channel];
  }
  return output;
}

/**
 * A recording at another rate; the same object where it has that rate already. A recording of snapshots (`snapshot_len`) is resampled one
 * snapshot at a time, since its snapshots are not contiguous, and `snapshot_len` becomes theirs.
 *
 * @param rateHz the new rate, at least a 10 000th of the old
 * @returns samples [ceil(length * new / old), channels]; the entry tells the old rate as `resampled_from_hz`
 * @throws Refusal usage/rate
 */
export function resampleRecording(recording: Recording, rateHz: number): Recording {
  if (recording.sampleRateHz === rateHz) return recording;
  const { entry, samples, length } = recording;
  const channels = recording.channels.length;
  const ratio = rateRatio(recording.sampleRateHz, rateHz);
  const polyphase = designPolyphase(ratio);
  const snapshot = Number.isInteger(entry.snapshot_len) ? (entry.snapshot_len as number) : length;
  const parts: Float32Array[] = [];
  for (let start = 0; start < length; start += snapshot) {
    const part = samples.subarray(start * channels, Math.min(length, start + snapshot) * channels);
    parts.push(resampleWith(polyphase, part, channels, ratio));
  }
  const resampled = parts.length === 1 ? parts[0] : concatenate(parts);
  const { scale: _, dtype: __, ...kept } = entry;
  const made: RecordingEntry = {
    ...kept,
    dtype: 'float32',
    n_samples: resampled.length / channels,
    sample_rate_hz: rateHz,
    resampled_from_hz: recording.sampleRateHz,
    ...(snapshot < length && { snapshot_len: Math.ceil((snapshot * ratio.up) / ratio.down) }),
  };
  return { ...recording, entry: made, sampleRateHz: rateHz, samples: resampled, length: made.n_samples };
}

function concatenate(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
