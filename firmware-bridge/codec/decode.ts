import { crc32c } from './crc32c.ts';
import {
  ALL_STREAMS,
  type ChannelDescription,
  CRC_BYTES,
  createSampleFrame,
  type Description,
  type Frame,
  FrameType,
  HEADER_BYTES,
  type Heartbeat,
  HeartbeatFlag,
  MARK,
  MAX_CHANNELS,
  MAX_FRAME_BYTES,
  REFUSALS,
  type Refusal,
  type RefusalCode,
  SAMPLES_FIXED_BYTES,
  type SampleFrame,
  SamplesFlag,
  VERSION,
} from './frame.ts';

/** One object a code, made once: refusing noise allocates nothing. */
const refused = Object.fromEntries(
  Object.entries(REFUSALS).map(([code, detail]) => [code, Object.freeze({ kind: 'refused', code, detail })]),
) as Record<RefusalCode, Refusal>;

/** Lengths with the CRC of the frames whose length does not depend on their contents. */
const FIXED_LENGTHS: Readonly<Record<number, number>> = {
  [FrameType.heartbeat]: 32,
  [FrameType.timeSyncReply]: 36,
  [FrameType.start]: 12,
  [FrameType.stop]: 12,
  [FrameType.rate]: 16,
  [FrameType.timeSync]: 20,
};

/**
 * Decodes one frame: an MQTT payload as it came, or what `FrameReader` and COBS have taken from a serial stream.
 *
 * Bytes that are no frame give a `Refusal`; nothing throws. The CRC is checked before all else, so that every refusal after `badCrc` is a
 * sender's mistake and not noise on the line.
 *
 * With `into` (see `createSampleFrame`) a samples frame is written there and `into` is returned: nothing is allocated, its arrays are longer
 * than the frame, and it is valid until the next call. A refusal leaves `into` as it was. Without `into`, arrays are fresh and fit exactly.
 * Either way no result shares memory with `bytes`.
 */
export function decodeFrame(bytes: Uint8Array, into?: SampleFrame): Frame | Refusal {
  const length = bytes.length;
  if (length < HEADER_BYTES + CRC_BYTES) return refused.tooShort;
  if (length > MAX_FRAME_BYTES) return refused.tooLong;
  if (crc32c(bytes, 0, length - CRC_BYTES) !== readUint32(bytes, length - CRC_BYTES)) return refused.badCrc;
  if (bytes[0] !== (MARK | VERSION)) return refused.badVersion;
  const type = bytes[1];
  if (type === FrameType.samples) return decodeSamples(bytes, into);
  if (type === FrameType.description) return decodeDescription(bytes);
  const expected = FIXED_LENGTHS[type];
  if (expected === undefined) return refused.badType;
  const allowedFlags = type === FrameType.heartbeat ? HeartbeatFlag.running : 0;
  const isCommand = type >= FrameType.start;
  if (bytes[2] & ~allowedFlags || bytes[3] !== 0 || (isCommand && readUint16(bytes, 6) !== 0)) return refused.badFlags;
  const streamId = readUint16(bytes, 4);
  if (!isCommand && streamId === ALL_STREAMS) return refused.badStream;
  if (length !== expected) return refused.badLength;
  switch (type) {
    case FrameType.heartbeat:
      return decodeHeartbeat(bytes);
    case FrameType.timeSyncReply:
      return decodeTimeSyncReply(bytes);
    case FrameType.start:
      return { kind: 'start', streamId };
    case FrameType.stop:
      return { kind: 'stop', streamId };
    case FrameType.rate: {
      const sampleRateHz = readFloat32(bytes, 8);
      return isRate(sampleRateHz) ? { kind: 'rate', streamId, sampleRateHz } : refused.badRate;
    }
    default: {
      const hostTimeUs = readTime(bytes, 8);
      return hostTimeUs < 0 ? refused.badTime : { kind: 'timeSync', streamId, hostTimeUs };
    }
  }
}

function decodeSamples(bytes: Uint8Array, into?: SampleFrame): SampleFrame | Refusal {
  const flags = bytes[2];
  if (flags & ~SamplesFlag.shaftSpeed) return refused.badFlags;
  const streamId = readUint16(bytes, 4);
  if (streamId === ALL_STREAMS) return refused.badStream;
  const channelCount = bytes[3];
  if (channelCount === 0 || channelCount > MAX_CHANNELS) return refused.badChannelCount;
  // The fixed part must be there before its last field is read.
  if (bytes.length < SAMPLES_FIXED_BYTES + CRC_BYTES) return refused.badLength;
  const samplesPerChannel = readUint16(bytes, 24);
  if (samplesPerChannel === 0) return refused.badSampleCount;
  const hasShaftSpeed = (flags & SamplesFlag.shaftSpeed) !== 0;
  const shaftSpeedAt = SAMPLES_FIXED_BYTES + 4 * channelCount;
  const samplesAt = shaftSpeedAt + (hasShaftSpeed ? 4 : 0);
  const valueCount = channelCount * samplesPerChannel;
  if (bytes.length !== samplesAt + 2 * valueCount + CRC_BYTES) return refused.badLength;
  const deviceTimeUs = readTime(bytes, 12);
  if (deviceTimeUs < 0) return refused.badTime;
  const sampleRateHz = readFloat32(bytes, 20);
  if (!isRate(sampleRateHz)) return refused.badRate;
  for (let at = SAMPLES_FIXED_BYTES; at < shaftSpeedAt; at += 4) {
    const scale = readFloat32(bytes, at);
    if (!Number.isFinite(scale) || scale === 0) return refused.badScale;
  }
  const shaftSpeedRpm = hasShaftSpeed ? readFloat32(bytes, shaftSpeedAt) : undefined;
  if (shaftSpeedRpm !== undefined && !Number.isFinite(shaftSpeedRpm)) return refused.badShaftSpeed;

  const frame = into ?? createSampleFrame(channelCount, valueCount);
  if (frame.scales.length < channelCount) frame.scales = new Float32Array(channelCount);
  if (frame.samples.length < valueCount) frame.samples = new Int16Array(valueCount);
  frame.streamId = streamId;
  frame.epoch = readUint16(bytes, 6);
  frame.sequence = readUint32(bytes, 8);
  frame.deviceTimeUs = deviceTimeUs;
  frame.sampleRateHz = sampleRateHz;
  frame.shaftSpeedRpm = shaftSpeedRpm;
  frame.channelCount = channelCount;
  frame.samplesPerChannel = samplesPerChannel;
  for (let channel = 0; channel < channelCount; channel++) {
    frame.scales[channel] = readFloat32(bytes, SAMPLES_FIXED_BYTES + 4 * channel);
  }
  copySamples(bytes, samplesAt, frame.samples, valueCount);
  return frame;
}

const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** The bytes of the samples that were filled last: a frame that is used again is viewed once. */
let viewed: Int16Array = new Int16Array(0);
let view: Uint8Array = new Uint8Array(viewed.buffer);

/** Copies, whatever the alignment, so that the reader's buffer is free again. */
function copySamples(bytes: Uint8Array, from: number, samples: Int16Array, count: number): void {
  if (IS_LITTLE_ENDIAN) {
    if (viewed !== samples) {
      viewed = samples;
      view = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
    }
    view.set(bytes.subarray(from, from + 2 * count));
  } else for (let i = 0, at = from; i < count; i++, at += 2) samples[i] = bytes[at] | (bytes[at + 1] << 8);
}

function decodeHeartbeat(bytes: Uint8Array): Heartbeat | Refusal {
  const deviceTimeUs = readTime(bytes, 8);
  if (deviceTimeUs < 0) return refused.badTime;
  const sampleRateHz = readFloat32(bytes, 24);
  if (!isRate(sampleRateHz)) return refused.badRate;
  return {
    kind: 'heartbeat',
    streamId: readUint16(bytes, 4),
    epoch: readUint16(bytes, 6),
    running: (bytes[2] & HeartbeatFlag.running) !== 0,
    deviceTimeUs,
    nextSequence: readUint32(bytes, 16),
    droppedSamples: readUint32(bytes, 20),
    sampleRateHz,
  };
}

function decodeTimeSyncReply(bytes: Uint8Array): Frame | Refusal {
  const hostTimeUs = readTime(bytes, 8);
  const deviceReceiveUs = readTime(bytes, 16);
  const deviceSendUs = readTime(bytes, 24);
  if (hostTimeUs < 0 || deviceReceiveUs < 0 || deviceSendUs < 0) return refused.badTime;
  const streamId = readUint16(bytes, 4);
  return {
    kind: 'timeSyncReply',
    streamId,
    epoch: readUint16(bytes, 6),
    hostTimeUs,
    deviceReceiveUs,
    deviceSendUs,
  };
}

function decodeDescription(bytes: Uint8Array): Description | Refusal {
  if (bytes[2] !== 0) return refused.badFlags;
  const streamId = readUint16(bytes, 4);
  if (streamId === ALL_STREAMS) return refused.badStream;
  const channelCount = bytes[3];
  if (channelCount === 0 || channelCount > MAX_CHANNELS) return refused.badChannelCount;
  const end = bytes.length - CRC_BYTES;
  const texts: string[] = [];
  let at = HEADER_BYTES + 8;
  for (let n = 3 + 2 * channelCount; n > 0; n--) {
    if (at >= end || at + 1 + bytes[at] > end) return refused.badLength;
    texts.push(String.fromCharCode(...bytes.subarray(at + 1, at + 1 + bytes[at])));
    at += 1 + bytes[at];
  }
  if (at !== end) return refused.badLength;
  const sampleRateHz = readFloat32(bytes, 8);
  const maxSampleRateHz = readFloat32(bytes, 12);
  if (!isRate(sampleRateHz) || !isRate(maxSampleRateHz)) return refused.badRate;
  if (!texts.every(isText)) return refused.badText;
  const [deviceId, model, firmware, ...rest] = texts;
  const channels: ChannelDescription[] = [];
  for (let i = 0; i < rest.length; i += 2) channels.push({ name: rest[i], unit: rest[i + 1] });
  return {
    kind: 'description',
    streamId,
    epoch: readUint16(bytes, 6),
    sampleRateHz,
    maxSampleRateHz,
    deviceId,
    model,
    firmware,
    channels,
  };
}

const isRate = (value: number): boolean => value > 0 && Number.isFinite(value);

/** Printable ASCII only: a device needs no UTF-8, and a log or a page that shows the text cannot be broken by it. */
const isText = (text: string): boolean => /^[\x20-\x7e]*$/.test(text);

const readUint16 = (bytes: Uint8Array, at: number): number => bytes[at] | (bytes[at + 1] << 8);

const readUint32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;

/** A uint64 as a number, without a bigint for each frame; -1 above 2^53 - 1, which microseconds reach after 285 years. */
function readTime(bytes: Uint8Array, at: number): number {
  const high = readUint32(bytes, at + 4);
  return high > 0x1fffff ? -1 : high * 0x1_0000_0000 + readUint32(bytes, at);
}

const scratch = new Uint32Array(1);
const scratchFloat = new Float32Array(scratch.buffer);

function readFloat32(bytes: Uint8Array, at: number): number {
  scratch[0] = readUint32(bytes, at);
  return scratchFloat[0];
}
