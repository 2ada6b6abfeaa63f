import type { SampleFrame } from '../../firmware-bridge/codec/frame.ts';

/** What can be wrong with a stream that arrives. */
export type StreamTrouble = 'silent' | 'stuck' | 'saturated' | 'offRate' | 'channels' | 'rate' | 'full';

/** Since the start, over all streams. */
export interface SignalCounters {
  /** Jumps of a device's clock against its own sample count, by more than 50 ms. */
  clockJumps: number;
  /** Values at the end of the sensor's range, in samples of any channel. */
  saturatedSamples: number;
  /** Times that a channel had not moved by one code for two seconds. */
  stuck: number;
  /** Times that samples came at another rate than the device announces, by more than 5 % over 20 s. */
  offRate: number;
  /** Times that a stream fell silent. */
  silent: number;
}

/** Called when a stream gets a trouble that it had not, or its clock jumps. `detail` in words. */
export type OnTrouble = (kind: StreamTrouble | 'clockJump', stream: string, detail: string) => void;

/** The largest code; -32,768 and -32,767 are the smallest of different sensors. */
const RAIL = 32_767;
const STUCK_S = 2;
const JUMP_US = 50_000;
const RATE_MS = 20_000;
const RATE_TOLERANCE = 0.05;
const SILENT_MS = 5_000;
/** A trouble that comes in bursts stands this long after the last. */
const LINGER_MS = 10_000;

class Watched {
  lastMs = 0;
  silent = false;
  epoch = -1;
  nextSequence = 0;
  nextDeviceUs = 0;
  last = new Int16Array(0);
  /** Samples in a row without a change, a channel. */
  still = new Int32Array(0);
  stuck = false;
  saturatedMs = Number.NEGATIVE_INFINITY;
  rateFromMs = Number.NaN;
  rateSamples = 0;
  offRate = false;
  refusal: 'channels' | 'rate' | 'full' | undefined;
  refusedMs = Number.NEGATIVE_INFINITY;
}

/**
 * Watches what streams send for what a broken sensor, cable or clock does, before any model sees it. It judges and counts; samples pass all the same,
 * for a machine at standstill looks like a stuck sensor.
 *
 * Is wrong where a good signal touches the end of its range, or keeps one code for two seconds (a digital sensor with a coarse step). The rate is
 * measured on arrival, so a broker that holds back and then sends all at once looks like a wrong rate: `interrupted` says so. No I/O, no clock of
 * its own.
 */
export class SignalWatch {
  readonly counters: SignalCounters = { clockJumps: 0, saturatedSamples: 0, stuck: 0, offRate: 0, silent: 0 };
  readonly #streams = new Map<string, Watched>();
  readonly #largestStreams: number;
  readonly #onTrouble: OnTrouble;

  constructor(largestStreams: number, onTrouble: OnTrouble) {
    this.#largestStreams = largestStreams;
    this.#onTrouble = onTrouble;
  }

  /** A frame has come. `refusal`: why the gateway does not take it. `nowMs`: a monotonic clock, milliseconds. */
  observe(name: string, frame: SampleFrame, nowMs: number, refusal?: 'channels' | 'rate' | 'full'): void {
    const stream = this.#streams.get(name) ?? this.#open(name);
    if (!stream) return;
    stream.lastMs = nowMs;
    stream.silent = false;
    if (refusal) {
      if (stream.refusal !== refusal || nowMs - stream.refusedMs > LINGER_MS) this.#onTrouble(refusal, name, refusalText(refusal, frame));
      stream.refusal = refusal;
      stream.refusedMs = nowMs;
      return;
    }
    stream.refusal = undefined;
    const ahead = (frame.sequence - stream.nextSequence) | 0;
    const continues = stream.epoch === frame.epoch;
    // Late or doubled: says nothing new.
    if (continues && ahead < 0) return;
    this.#watchClock(name, stream, frame, continues ? ahead : -1);
    this.#watchRate(name, stream, frame, continues ? ahead : -1, nowMs);
    this.#watchValues(name, stream, frame, nowMs);
  }

  /** The path was interrupted: what was not received tells nothing of the sensors. */
  interrupted(): void {
    for (const stream of this.#streams.values()) stream.rateFromMs = Number.NaN;
  }

  /** A stream is gone for good. */
  forget(name: string): void {
    this.#streams.delete(name);
  }

  /** Notices silence. To be called about every second. */
  check(nowMs: number): void {
    for (const [name, stream] of this.#streams) {
      if (stream.silent || nowMs - stream.lastMs <= SILENT_MS) continue;
      stream.silent = true;
      stream.rateFromMs = Number.NaN;
      this.counters.silent++;
      this.#onTrouble('silent', name, `nothing has come for ${SILENT_MS / 1000} s: cable, power, or a device that stopped`);
    }
  }

  /** The streams that have troubles now, at most so many. */
  troubled(nowMs: number, most: number): Record<string, StreamTrouble[]> {
    const found: Record<string, StreamTrouble[]> = {};
    let count = 0;
    for (const [name, stream] of this.#streams) {
      const troubles = troublesOf(stream, nowMs);
      if (troubles.length === 0) continue;
      found[name] = troubles;
      if (++count === most) break;
    }
    return found;
  }

  #open(name: string): Watched | undefined {
    // Names that the gateway has no room for are seen by its own counter.
    if (this.#streams.size >= 2 * this.#largestStreams) return undefined;
    const stream = new Watched();
    this.#streams.set(name, stream);
    return stream;
  }

  #watchClock(name: string, stream: Watched, frame: SampleFrame, ahead: number): void {
    const periodUs = 1e6 / frame.sampleRateHz;
    if (ahead >= 0) {
      const jumpUs = frame.deviceTimeUs - stream.nextDeviceUs - ahead * periodUs;
      // Crystals may differ by 2000 ppm from the rate that they announce; over a long gap that adds up.
      if (Math.abs(jumpUs) > JUMP_US + 2e-3 * ahead * periodUs) {
        this.counters.clockJumps++;
        this.#onTrouble('clockJump', name, `the device's clock jumped by ${(jumpUs / 1e6).toFixed(3)} s; its sample count goes on`);
      }
    }
    stream.epoch = frame.epoch;
    stream.nextSequence = (frame.sequence + frame.samplesPerChannel) >>> 0;
    stream.nextDeviceUs = frame.deviceTimeUs + frame.samplesPerChannel * periodUs;
  }

  #watchRate(name: string, stream: Watched, frame: SampleFrame, ahead: number, nowMs: number): void {
    if (ahead < 0 || Number.isNaN(stream.rateFromMs)) {
      stream.rateFromMs = nowMs;
      stream.rateSamples = 0;
      return;
    }
    stream.rateSamples += ahead + frame.samplesPerChannel;
    const elapsedMs = nowMs - stream.rateFromMs;
    if (elapsedMs < RATE_MS) return;
    const measuredHz = (1000 * stream.rateSamples) / elapsedMs;
    const off = Math.abs(measuredHz / frame.sampleRateHz - 1) > RATE_TOLERANCE;
    if (off && !stream.offRate) {
      this.counters.offRate++;
      this.#onTrouble('offRate', name, `${measuredHz.toFixed(1)} samples a second come, ${frame.sampleRateHz} are announced`);
    }
    stream.offRate = off;
    stream.rateFromMs = nowMs;
    stream.rateSamples = 0;
  }

  /** frame.samples: [samplesPerChannel, channelCount] */
  #watchValues(
    name: string,
    stream: Watched,
    { samples, channelCount, samplesPerChannel, sampleRateHz }: SampleFrame,
    nowMs: number,
  ): void {
    if (stream.last.length !== channelCount) {
      stream.last = samples.slice(0, channelCount);
      stream.still = new Int32Array(channelCount);
    }
    const { last, still } = stream;
    const count = channelCount * samplesPerChannel;
    let [saturated, stuckChannel] = [0, -1];
    for (let at = 0; at < count; at++) if (samples[at] >= RAIL || samples[at] <= -RAIL) saturated++;
    for (let channel = 0; channel < channelCount; channel++) {
      // From the newest sample back to the last change: most often one step.
      const newest = samples[count - channelCount + channel];
      let at = count - channelCount + channel;
      let same = 0;
      for (; at >= 0 && samples[at] === newest; at -= channelCount) same++;
      still[channel] = at < 0 && last[channel] === newest ? still[channel] + same : same - 1;
      last[channel] = newest;
      if (still[channel] >= STUCK_S * sampleRateHz) stuckChannel = channel;
    }
    if (saturated > 0) {
      this.counters.saturatedSamples += saturated;
      if (nowMs - stream.saturatedMs > LINGER_MS)
        this.#onTrouble('saturated', name, 'values stand at the end of the range: use a larger one');
      stream.saturatedMs = nowMs;
    }
    if (stuckChannel >= 0 && !stream.stuck) {
      this.counters.stuck++;
      this.#onTrouble('stuck', name, `channel ${stuckChannel} has not moved by one code for ${STUCK_S} s`);
    }
    stream.stuck = stuckChannel >= 0;
  }
}

function troublesOf(stream: Watched, nowMs: number): StreamTrouble[] {
  const troubles: StreamTrouble[] = [];
  if (stream.silent) troubles.push('silent');
  if (stream.refusal && nowMs - stream.refusedMs < LINGER_MS) troubles.push(stream.refusal);
  if (stream.stuck) troubles.push('stuck');
  if (nowMs - stream.saturatedMs < LINGER_MS) troubles.push('saturated');
  if (stream.offRate) troubles.push('offRate');
  return troubles;
}

function refusalText(refusal: 'channels' | 'rate' | 'full', { channelCount, sampleRateHz }: SampleFrame): string {
  if (refusal === 'channels') return `it sends ${channelCount} channels, the bundle reads another number`;
  if (refusal === 'rate') return `it announces ${sampleRateHz} Hz, the bundle reads another rate`;
  return 'there are more streams than largestStreams allows';
}
