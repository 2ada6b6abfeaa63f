import { createSampleFrame, type SampleFrame } from '../../firmware-bridge/codec/frame.ts';
import type { Recording } from '../data/recording-set.ts';

const LARGEST_CODE = 32_767;

/** Samples in one frame, per channel: what the simulated devices send. */
const FRAME_SAMPLES = 64;

/**
 * A recording as the frames that a device would have sent. int16 recordings give the very codes that were stored; float32 ones are counts of the
 * largest value of their channel / 32,767. The frame is used again: valid until the next. The last one may be shorter.
 */
export function* recordingFrames(recording: Recording): Generator<SampleFrame> {
  const { read, channels, length, sampleRateHz } = recording;
  const count = channels.length;
  const scales = scalesOf(recording);
  const frame: SampleFrame = {
    ...createSampleFrame(count, FRAME_SAMPLES * count),
    sampleRateHz,
    channelCount: count,
    scales: Float32Array.from(scales),
  };
  for (let from = 0; from < length; from += FRAME_SAMPLES) {
    frame.samplesPerChannel = Math.min(FRAME_SAMPLES, length - from);
    frame.sequence = from;
    frame.deviceTimeUs = Math.round((from / sampleRateHz) * 1e6);
    const samples = read(from, frame.samplesPerChannel);
    for (let at = 0; at < samples.length; at++) {
      const code = Math.round(samples[at] / scales[at % count]);
      frame.samples[at] = Math.max(-32_768, Math.min(LARGEST_CODE, code));
    }
    yield frame;
  }
}

/** Physical units a code, by channel. */
function scalesOf({ entry, channels, length, read }: Recording): number[] {
  const stored = entry.channels ?? channels;
  // What was resampled is no multiple of the stored codes any more, but it is of their size.
  if (entry.dtype === 'int16' && entry.scale) return channels.map((name) => entry.scale![stored.indexOf(name)] ?? 1);
  if (entry.dtype === 'int16') return channels.map(() => 1);
  const largest = channels.map(() => 0);
  for (let from = 0; from < length; from += FRAME_SAMPLES) {
    read(from, Math.min(FRAME_SAMPLES, length - from)).forEach((value, at) => {
      const channel = at % channels.length;
      largest[channel] = Math.max(largest[channel], Math.abs(value));
    });
  }
  return largest.map((value) => (value === 0 ? 1 : Math.fround(value / LARGEST_CODE)));
}
