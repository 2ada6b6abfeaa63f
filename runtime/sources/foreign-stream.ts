import type { SampleFrame } from '../../firmware-bridge/codec/frame.ts';
import { type ForeignBlock, type ForeignHealth, type ForeignRefusal, LARGEST_BLOCK } from './foreign-block.ts';
import { createForeignDecoder, type ForeignDecoder } from './foreign-decoder.ts';
import type { ForeignFormat } from './foreign-format.ts';

const LARGEST_CODE = 32_767;

/** Silence that is longer than this, and than two more of the last arrival, is a gap. Drivers and brokers hold data back for less. */
const LARGEST_PAUSE_US = 1_000_000;

/**
 * A foreign source as a stream of sample frames, so that all that lies behind sees one kind of stream.
 *
 * What such a sensor does not say, this says for it: the sequence counts the samples that came and those that were refused, the device's clock is
 * that count at the configured rate, and the epoch changes when the source was interrupted. A silence counts as a gap of its length. It cannot see
 * a message that the broker lost or delivered twice; where that matters, a sensor must speak frames.
 *
 * Values other than int16 become counts of `range` / 32,767; those beyond are clipped, and counted.
 */
export class ForeignStream {
  /** Values that were beyond the configured range. */
  clippedValues = 0;

  readonly #decoder: ForeignDecoder;
  readonly #onFrame: (frame: SampleFrame) => void;
  readonly #frame: SampleFrame;
  readonly #codes: Int16Array;
  /** Counts per unit of the source's numbers, a channel. */
  readonly #countsPerUnit: Float64Array;
  /** Index of the next sample in this epoch. */
  #next = 0;
  #arrivedUs = Number.NaN;
  #lastSpanUs = 0;
  /** Of the arrival in hand: samples missed by the silence before it, and samples that it brought. */
  #paused = 0;
  #came = 0;

  /** @param onFrame gets frames that are valid during the call. @param epoch of the first frame: a number that the last run did not have */
  constructor(format: ForeignFormat, onFrame: (frame: SampleFrame) => void, streamId = 0, epoch = 0) {
    const { channels, sampleRateHz } = format;
    const scale = perChannel(format.scale, channels);
    const step = 'range' in format ? perChannel(format.range, channels).map((range) => range / LARGEST_CODE) : undefined;
    this.#countsPerUnit = scale.map((one, channel) => (step ? one / step[channel] : 1));
    this.#decoder = createForeignDecoder(format, (block) => this.#take(block));
    this.#onFrame = onFrame;
    this.#codes = new Int16Array(LARGEST_BLOCK * channels);
    this.#frame = {
      kind: 'samples',
      streamId,
      epoch,
      sequence: 0,
      deviceTimeUs: 0,
      sampleRateHz,
      shaftSpeedRpm: undefined,
      channelCount: channels,
      samplesPerChannel: 0,
      scales: Float32Array.from(step ?? scale),
      samples: this.#codes,
    };
  }

  get health(): ForeignHealth {
    return this.#decoder.health;
  }

  /** Takes the next bytes of a stream, cut anywhere. `nowUs`: a monotonic clock, microseconds. */
  push(chunk: Uint8Array, nowUs: number): void {
    this.#arrive(nowUs, () => this.#decoder.push(chunk));
  }

  /** Takes a whole message. `nowUs`: a monotonic clock, microseconds. @returns why a part of it was refused, undefined where it is all samples */
  message(payload: Uint8Array, nowUs: number): ForeignRefusal | undefined {
    const { malformed, wrongChannels, notFinite, tooLong } = this.health;
    this.#arrive(nowUs, () => this.#decoder.message(payload));
    if (this.health.malformed > malformed) return 'malformed';
    if (this.health.wrongChannels > wrongChannels) return 'wrongChannels';
    if (this.health.notFinite > notFinite) return 'notFinite';
    return this.health.tooLong > tooLong ? 'tooLong' : undefined;
  }

  /** The port was opened again, or the broker was away: how much is missing is not known, so another epoch begins. */
  interrupted(): void {
    this.#decoder.reset();
    if (this.#next === 0) return;
    this.#next = 0;
    this.#arrivedUs = Number.NaN;
    this.#frame.epoch = (this.#frame.epoch + 1) & 0xffff;
  }

  #arrive(nowUs: number, decode: () => void): void {
    const periodUs = 1e6 / this.#frame.sampleRateHz;
    const missingUs = nowUs - this.#arrivedUs - this.#lastSpanUs;
    this.#paused = missingUs > LARGEST_PAUSE_US + 2 * this.#lastSpanUs ? Math.round(missingUs / periodUs) : 0;
    this.#came = 0;
    decode();
    // Half a line is no arrival: whether there was a pause is seen when the sample is whole.
    if (this.#came === 0) return;
    this.#arrivedUs = nowUs;
    this.#lastSpanUs = this.#came * periodUs;
  }

  #take({ samples, values, lostBefore }: ForeignBlock): void {
    const frame = this.#frame;
    // What was refused during the pause is a part of it.
    this.#next += Math.max(lostBefore, this.#paused);
    this.#paused = 0;
    this.#came += samples;
    frame.sequence = this.#next >>> 0;
    frame.deviceTimeUs = Math.round((this.#next * 1e6) / frame.sampleRateHz);
    frame.samplesPerChannel = samples;
    frame.samples = values instanceof Int16Array ? values : this.#quantise(values, samples);
    this.#next += samples;
    this.#onFrame(frame);
  }

  /** values: [samples, channels], in the source's units */
  #quantise(values: Float32Array, samples: number): Int16Array {
    const channels = this.#frame.channelCount;
    for (let at = 0, channel = 0; at < samples * channels; at++) {
      let code = Math.round(values[at] * this.#countsPerUnit[channel]);
      if (code > LARGEST_CODE || code < -LARGEST_CODE) {
        this.clippedValues++;
        code = code > 0 ? LARGEST_CODE : -LARGEST_CODE;
      }
      this.#codes[at] = code;
      channel = channel + 1 === channels ? 0 : channel + 1;
    }
    return this.#codes;
  }
}

function perChannel(value: number | readonly number[], channels: number): Float64Array {
  return typeof value === 'number' ? new Float64Array(channels).fill(value) : Float64Array.from(value);
}
