/**
 * What travels between a device and the gateway. The bytes are drawn in ../README.md; `encode.ts` and `decode.ts` are the two directions.
 */

/**
 * First byte of every frame: a mark in the upper four bits, the format's version in the lower. 0xA0 to 0xAF are continuation bytes in UTF-8, so
 * no text line and no JSON document on the same topic or port can begin like a frame.
 */
export const MARK = 0xa0;
export const VERSION = 1;

/** Bit 7 says the direction: set towards the device. */
export const FrameType = {
  samples: 0x01,
  heartbeat: 0x02,
  description: 0x03,
  timeSyncReply: 0x04,
  start: 0x81,
  stop: 0x82,
  rate: 0x83,
  timeSync: 0x84,
} as const;

/** Bits of a samples frame's flags. A bit that this version does not know is refused. */
export const SamplesFlag = { shaftSpeed: 0x01 } as const;

/** Bits of a heartbeat's flags. */
export const HeartbeatFlag = { running: 0x01 } as const;

export const MAX_CHANNELS = 16;

/** Bytes of the longest frame with its CRC, before COBS: it bounds what a reader holds. 16 channels × 500 samples fit. */
export const MAX_FRAME_BYTES = 16_384;

/** Bytes of the header that all frames share: mark and version, type, flags, count, stream id, epoch. */
export const HEADER_BYTES = 8;
export const CRC_BYTES = 4;

/** Bytes of a samples frame before its scales. */
export const SAMPLES_FIXED_BYTES = 26;

/** The most int16 values that one samples frame can carry, all channels together: one channel without shaft speed. */
export const MAX_VALUES_PER_FRAME = (MAX_FRAME_BYTES - SAMPLES_FIXED_BYTES - 4 - CRC_BYTES) / 2;

/** In a command: every stream of the device that hears it. No stream may have this id. */
export const ALL_STREAMS = 0xffff;

/** Samples of one stream, all channels at the same instants. */
export interface SampleFrame {
  kind: 'samples';
  /** Which stream of the site, 0 to 65,534. */
  streamId: number;
  /** Changes whenever the device starts to count samples from zero again, 0 to 65,535. */
  epoch: number;
  /** Index of the first sample (per channel) since the epoch began, modulo 2^32. Samples that the device took but dropped are counted too. */
  sequence: number;
  /** Device clock at the first sample, in microseconds from any origin. */
  deviceTimeUs: number;
  /** Samples per second and channel; float32 on the wire. */
  sampleRateHz: number;
  /** Mean shaft speed over the frame, in revolutions per minute, where the device measures it. */
  shaftSpeedRpm: number | undefined;
  channelCount: number;
  samplesPerChannel: number;
  /** `[channelCount]` physical units per count; float32 on the wire. A decoder's reused frame holds MAX_CHANNELS of which the first count. */
  scales: Float32Array;
  /** `[samplesPerChannel, channelCount]` raw counts. A decoder's reused frame holds more, of which the first count. */
  samples: Int16Array;
}

/** Sent about every second, and when a stream stops. */
export interface Heartbeat {
  kind: 'heartbeat';
  streamId: number;
  epoch: number;
  running: boolean;
  deviceTimeUs: number;
  /** The sequence that the next samples frame will carry: shows a loss at the end of a stream, which no later frame would show. */
  nextSequence: number;
  /** Samples (per channel) of this epoch that the device took and could not send, modulo 2^32: tells its overruns from losses on the way. */
  droppedSamples: number;
  sampleRateHz: number;
}

/** One measured quantity. Texts are printable ASCII, at most 255 characters; units as in UCUM (`m/s2`, `Cel`, `A`). */
export interface ChannelDescription {
  name: string;
  unit: string;
}

/** Sent when a device starts, and again after each time sync, so that a gateway which came later learns it too. */
export interface Description {
  kind: 'description';
  streamId: number;
  epoch: number;
  /** Samples per second and channel that the device is set to, and the most it can do. */
  sampleRateHz: number;
  maxSampleRateHz: number;
  /** Unique among all devices: a serial number or chip id. */
  deviceId: string;
  model: string;
  firmware: string;
  /** 1 to MAX_CHANNELS. */
  channels: readonly ChannelDescription[];
}

/** Answers a time sync: NTP's three inner time stamps (RFC 5905 section 8). */
export interface TimeSyncReply {
  kind: 'timeSyncReply';
  streamId: number;
  epoch: number;
  /** Copied from the command. */
  hostTimeUs: number;
  deviceReceiveUs: number;
  deviceSendUs: number;
}

/** Begin to send samples, in a new epoch. */
export interface StartCommand {
  kind: 'start';
  streamId: number;
}

/** Stop sending samples; heartbeats go on. */
export interface StopCommand {
  kind: 'stop';
  streamId: number;
}

/** Take samples at this rate, in samples per second and channel. A device that cannot goes on as before, which its heartbeat shows. */
export interface RateCommand {
  kind: 'rate';
  streamId: number;
  sampleRateHz: number;
}

/** Ask for a `TimeSyncReply`. */
export interface TimeSyncCommand {
  kind: 'timeSync';
  streamId: number;
  /** Host clock when the command left, in microseconds. */
  hostTimeUs: number;
}

export type DeviceFrame = SampleFrame | Heartbeat | Description | TimeSyncReply;
export type Command = StartCommand | StopCommand | RateCommand | TimeSyncCommand;
export type Frame = DeviceFrame | Command;

/** Why bytes are no frame, in the order of the checks: a later code means that all earlier checks passed. */
export const REFUSALS = {
  tooShort: 'fewer bytes than the smallest frame',
  tooLong: 'more bytes than MAX_FRAME_BYTES',
  badCrc: 'the last four bytes are not the CRC-32C of those before',
  badVersion: 'mark or version unknown: not a frame, or from other firmware',
  badType: 'unknown frame type',
  badFlags: 'a reserved flag is set, or a reserved field is not zero',
  badStream: 'the stream id is the one reserved for commands to all streams',
  badChannelCount: 'no channel, or more than MAX_CHANNELS',
  badSampleCount: 'no sample',
  badLength: 'the length is not what the header says',
  badTime: 'a time above 2^53 - 1 microseconds',
  badRate: 'a sample rate that is not a finite positive number',
  badScale: 'a scale that is zero or not finite',
  badShaftSpeed: 'a shaft speed that is not finite',
  badText: 'a character outside printable ASCII',
} as const;

export type RefusalCode = keyof typeof REFUSALS;

export interface Refusal {
  readonly kind: 'refused';
  readonly code: RefusalCode;
  /** What is wrong, for a log line. */
  readonly detail: string;
}

/** A samples frame with room for any that can arrive (or for so many channels and int16 values), to be filled by `decodeFrame`. */
export function createSampleFrame(channels = MAX_CHANNELS, values = MAX_VALUES_PER_FRAME): SampleFrame {
  return {
    kind: 'samples',
    streamId: 0,
    epoch: 0,
    sequence: 0,
    deviceTimeUs: 0,
    sampleRateHz: 0,
    shaftSpeedRpm: undefined,
    channelCount: 0,
    samplesPerChannel: 0,
    scales: new Float32Array(channels),
    samples: new Int16Array(values),
  };
}

/**
 * Device time just behind the frame's last sample, in microseconds. A device sends a frame then, so this, not `deviceTimeUs`, pairs with the
 * host's time of arrival in a `ClockEstimator`.
 */
export function frameEndUs(frame: SampleFrame): number {
  return frame.deviceTimeUs + (frame.samplesPerChannel * 1e6) / frame.sampleRateHz;
}
