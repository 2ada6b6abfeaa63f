import type { RawWindows } from '../../runtime/adapt/raw-windows.ts';
import type { Recording } from '../../trainer/data/recording-set.ts';
import { recordingFrames } from '../../trainer/replay/recording-frames.ts';

/** The first windows of a recording, one after the other without overlap, as a device would have sent them. @throws RangeError where it is too short */
export function firstWindows(recording: Recording, window: number, count: number): RawWindows {
  const channels = recording.channels.length;
  const codes = new Int16Array(count * window * channels);
  const scales = new Float32Array(count * channels);
  let at = 0;
  for (const frame of recordingFrames(recording)) {
    const values = frame.samples.subarray(0, Math.min(frame.samplesPerChannel * channels, codes.length - at));
    codes.set(values, at);
    at += values.length;
    if (at < codes.length) continue;
    for (let row = 0; row < count; row++) scales.set(frame.scales, row * channels);
    return { count, codes, scales };
  }
  throw new RangeError(`${recording.entry.file} has no ${count} windows of ${window} samples`);
}
