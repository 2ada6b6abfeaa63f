import type { Recording } from '../recording-set.ts';
import { recordingStarts } from '../windows.ts';
import type { CleaningRow, Cut } from './cleaning.ts';

/** A channel that holds one value for so many samples was disconnected for a while. */
const DROP_OUT_SAMPLES = 32;
/** How many times as often as any value near it the largest (smallest) value must occur to be the end of the range: the top level of a sine, the
 * most peaked of usual signals, has 2.4 times the samples of the next. */
const PILE_UP = 5;
/** Values next to the largest that it is compared with. */
const NEIGHBOURS_OF_EXTREME = 7;
/** Samples read at a time where a whole recording is gone through. */
const STRETCH = 4096;

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
  cut: Cut,
  { sampleRateHz = commonestRate(recordings.map((recording) => recording.sampleRateHz)), clippedShare = 0.5 }: ValidityOptions = {},
): CleaningRow[] {
  const { window } = cut;
  return recordings.flatMap((recording, index) => {
    const whole = (reason: string, why: string): CleaningRow[] => [{ recording: index, start: null, stage: 'invalid', reason, why }];
    if (recording.sampleRateHz !== sampleRateHz)
      return whole('wrong-rate', `sampled at ${recording.sampleRateHz} Hz where ${sampleRateHz} Hz are expected`);
    if (recording.length < window) return whole('short', `${recording.length} samples, fewer than a window of ${window}`);
    const ranges = rangeEnds(recording);
    const starts = recordingStarts(recording, cut.window, cut.stride);
    const faults = starts.map((start) => faultOf(recording, start, window, ranges, clippedShare));
    const reasons = new Set(faults.map((fault) => fault?.reason));
    const [first] = faults;
    if (first && reasons.size === 1) return whole(first.reason, `every window: ${first.why}`);
    return faults.flatMap((fault, place) => (fault ? { recording: index, start: starts[place], stage: 'invalid', ...fault } : []));
  });
}

/** The rate that most recordings have, the first of several such; 0 where there are none. */
export function commonestRate(ratesHz: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const rateHz of ratesHz) counts.set(rateHz, (counts.get(rateHz) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 0;
}

/** Values at which a sensor's range ends; infinite where nothing shows it. */
type RangeEnds = readonly [lowest: number, highest: number];

/** The largest value is the end of the range where it piles up: far more samples than at any value near it. One of each channel. */
function rangeEnds({ read, channels, length }: Recording): RangeEnds[] {
  const ends = channels.map(() => ({ low: new LargestValues(), high: new LargestValues() }));
  for (let start = 0; start < length; start += STRETCH) {
    read(start, Math.min(STRETCH, length - start)).forEach((value, at) => {
      if (!Number.isFinite(value)) return;
      const { low, high } = ends[at % channels.length];
      high.add(value);
      low.add(-value);
    });
  }
  return ends.map(({ low, high }) => [
    low.pilesUp ? -low.largest : Number.NEGATIVE_INFINITY,
    high.pilesUp ? high.largest : Number.POSITIVE_INFINITY,
  ]);
}

/** The largest values of many and how often they occur. */
class LargestValues {
  /** From the largest down. */
  readonly #values: number[] = [];
  readonly #counts: number[] = [];

  add(value: number): void {
    const values = this.#values;
    if (values.length > NEIGHBOURS_OF_EXTREME && value < values[NEIGHBOURS_OF_EXTREME]) return;
    let place = 0;
    while (place < values.length && values[place] > value) place++;
    if (values[place] === value) this.#counts[place]++;
    else {
      values.splice(place, 0, value);
      this.#counts.splice(place, 0, 1);
      values.length = Math.min(values.length, 1 + NEIGHBOURS_OF_EXTREME);
      this.#counts.length = values.length;
    }
  }

  get largest(): number {
    return this.#values[0];
  }

  get pilesUp(): boolean {
    const [own, ...others] = this.#counts;
    return others.length > 0 && own >= PILE_UP && own >= PILE_UP * Math.max(...others);
  }
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
  const samples = recording.read(start, window);
  const states = ranges.map((range, channel) => stateOf(recording, samples, channel, start, range));
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

/** samples: the window, from sample `start` of the recording on */
function stateOf({ channels }: Recording, samples: Float32Array, channel: number, start: number, range: RangeEnds): ChannelState {
  const window = samples.length / channels.length;
  const at = (t: number) => samples[t * channels.length + channel];
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
