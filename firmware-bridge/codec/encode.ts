import { cobsEncode } from './cobs.ts';
import { crc32c } from './crc32c.ts';
import {
  ALL_STREAMS,
  CRC_BYTES,
  type Description,
  type Frame,
  FrameType,
  HEADER_BYTES,
  HeartbeatFlag,
  MARK,
  MAX_CHANNELS,
  MAX_FRAME_BYTES,
  SAMPLES_FIXED_BYTES,
  type SampleFrame,
  SamplesFlag,
  VERSION,
} from './frame.ts';

/**
 * Encodes a frame as it travels in an MQTT payload. The result is a new array.
 *
 * Throws a RangeError that names the field where the frame is one that `decodeFrame` would refuse, or a number does not fit its field:
 * a sender's programming error.
 */
export function encodeFrame(frame: Frame): Uint8Array {
  const writer = new Writer(frame);
  switch (frame.kind) {
    case 'samples':
      writeSamples(writer, frame);
      break;
    case 'heartbeat':
      writer.time('deviceTimeUs', frame.deviceTimeUs);
      writer.uint32('nextSequence', frame.nextSequence);
      writer.uint32('droppedSamples', frame.droppedSamples);
      writer.rate('sampleRateHz', frame.sampleRateHz);
      break;
    case 'description':
      writeDescription(writer, frame);
      break;
    case 'timeSyncReply':
      writer.time('hostTimeUs', frame.hostTimeUs);
      writer.time('deviceReceiveUs', frame.deviceReceiveUs);
      writer.time('deviceSendUs', frame.deviceSendUs);
      break;
    case 'rate':
      writer.rate('sampleRateHz', frame.sampleRateHz);
      break;
    case 'timeSync':
      writer.time('hostTimeUs', frame.hostTimeUs);
      break;
  }
  return writer.finish();
}

/** Encodes a frame as it travels on a serial line: COBS, then the delimiter 0x00. Throws as `encodeFrame` does. */
export function encodeSerialFrame(frame: Frame): Uint8Array {
  const encoded = cobsEncode(encodeFrame(frame));
  const out = new Uint8Array(encoded.length + 1);
  out.set(encoded);
  return out;
}

function writeSamples(writer: Writer, frame: SampleFrame): void {
  const { channelCount, samplesPerChannel, shaftSpeedRpm } = frame;
  check(frame.scales.length >= channelCount, 'scales.length', frame.scales.length);
  check(frame.samples.length >= channelCount * samplesPerChannel, 'samples.length', frame.samples.length);
  writer.uint32('sequence', frame.sequence);
  writer.time('deviceTimeUs', frame.deviceTimeUs);
  writer.rate('sampleRateHz', frame.sampleRateHz);
  writer.uint16('samplesPerChannel', samplesPerChannel);
  for (let channel = 0; channel < channelCount; channel++) {
    check(Math.fround(frame.scales[channel]) !== 0, 'scales', frame.scales[channel]);
    writer.float32('scales', frame.scales[channel]);
  }
  if (shaftSpeedRpm !== undefined) writer.float32('shaftSpeedRpm', shaftSpeedRpm);
  for (let i = 0; i < channelCount * samplesPerChannel; i++) writer.int16(frame.samples[i]);
}

function writeDescription(writer: Writer, frame: Description): void {
  writer.rate('sampleRateHz', frame.sampleRateHz);
  writer.rate('maxSampleRateHz', frame.maxSampleRateHz);
  writer.text('deviceId', frame.deviceId);
  writer.text('model', frame.model);
  writer.text('firmware', frame.firmware);
  for (const channel of frame.channels) {
    writer.text('channels.name', channel.name);
    writer.text('channels.unit', channel.unit);
  }
}

/** Writes the header when made, then fields in order, then the CRC. The caller's `frame` gives the exact length in advance. */
class Writer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = HEADER_BYTES;

  constructor(frame: Frame) {
    const channelCount = checkedChannelCount(frame);
    const length = HEADER_BYTES + bodyLength(frame) + CRC_BYTES;
    check(length <= MAX_FRAME_BYTES, 'frame length', length);
    this.#bytes = new Uint8Array(length);
    this.#view = new DataView(this.#bytes.buffer);
    const isCommand = FrameType[frame.kind] >= FrameType.start;
    checkInteger(frame.streamId, 'streamId', isCommand ? ALL_STREAMS : ALL_STREAMS - 1);
    this.#bytes[0] = MARK | VERSION;
    this.#bytes[1] = FrameType[frame.kind];
    this.#bytes[2] = flagsOf(frame);
    this.#bytes[3] = channelCount;
    this.#view.setUint16(4, frame.streamId, true);
    if ('epoch' in frame) {
      checkInteger(frame.epoch, 'epoch', 0xffff);
      this.#view.setUint16(6, frame.epoch, true);
    }
  }

  uint16(field: string, value: number): void {
    checkInteger(value, field, 0xffff);
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
  }

  int16(value: number): void {
    this.#view.setInt16(this.#at, value, true);
    this.#at += 2;
  }

  uint32(field: string, value: number): void {
    checkInteger(value, field, 0xffff_ffff);
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  /** Microseconds as a uint64, exact up to 2^53 - 1. */
  time(field: string, value: number): void {
    checkInteger(value, field, Number.MAX_SAFE_INTEGER);
    this.#view.setUint32(this.#at, value % 0x1_0000_0000, true);
    this.#view.setUint32(this.#at + 4, Math.floor(value / 0x1_0000_0000), true);
    this.#at += 8;
  }

  float32(field: string, value: number): void {
    check(Number.isFinite(Math.fround(value)), field, value);
    this.#view.setFloat32(this.#at, value, true);
    this.#at += 4;
  }

  rate(field: string, value: number): void {
    check(Math.fround(value) > 0, field, value);
    this.float32(field, value);
  }

  text(field: string, value: string): void {
    check(value.length <= 255 && /^[\x20-\x7e]*$/.test(value), field, value);
    this.#bytes[this.#at++] = value.length;
    for (let i = 0; i < value.length; i++) this.#bytes[this.#at++] = value.charCodeAt(i);
  }

  finish(): Uint8Array {
    this.#view.setUint32(this.#at, crc32c(this.#bytes, 0, this.#at), true);
    return this.#bytes;
  }
}

function bodyLength(frame: Frame): number {
  switch (frame.kind) {
    case 'samples':
      return (
        SAMPLES_FIXED_BYTES -
        HEADER_BYTES +
        4 * frame.channelCount +
        (frame.shaftSpeedRpm === undefined ? 0 : 4) +
        2 * frame.channelCount * frame.samplesPerChannel
      );
    case 'heartbeat':
      return 20;
    case 'description': {
      const texts = [frame.deviceId, frame.model, frame.firmware, ...frame.channels.flatMap(({ name, unit }) => [name, unit])];
      return 8 + texts.reduce((sum, text) => sum + 1 + text.length, 0);
    }
    case 'timeSyncReply':
      return 24;
    case 'rate':
      return 4;
    case 'timeSync':
      return 8;
    default:
      return 0;
  }
}

function flagsOf(frame: Frame): number {
  if (frame.kind === 'samples' && frame.shaftSpeedRpm !== undefined) return SamplesFlag.shaftSpeed;
  if (frame.kind === 'heartbeat' && frame.running) return HeartbeatFlag.running;
  return 0;
}

/** The header's count. Checked first, with all that the length depends on. */
function checkedChannelCount(frame: Frame): number {
  if (frame.kind !== 'samples' && frame.kind !== 'description') return 0;
  const count = frame.kind === 'samples' ? frame.channelCount : frame.channels.length;
  checkInteger(count, 'channelCount', MAX_CHANNELS, 1);
  if (frame.kind === 'samples') checkInteger(frame.samplesPerChannel, 'samplesPerChannel', 0xffff, 1);
  return count;
}

function check(holds: boolean, field: string, value: number | string): void {
  if (!holds) throw new RangeError(`frame field ${field} cannot be ${JSON.stringify(value)}`);
}

function checkInteger(value: number, field: string, max: number, min = 0): void {
  check(Number.isInteger(value) && value >= min && value <= max, field, value);
}
