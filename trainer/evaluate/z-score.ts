/** Least variance of a channel that is not flat. */
const VARIANCE_FLOOR = 1e-12;

/** Every channel of every window with zero mean and unit deviation; a flat one becomes zero. [count, window, channels] -> the same */
export function zScoreChannels(samples: Float32Array, [window, channels]: readonly [number, number]): Float32Array {
  const scored = new Float32Array(samples.length);
  for (let start = 0; start < samples.length; start += window * channels) {
    for (let channel = 0; channel < channels; channel++) {
      let mean = 0;
      for (let t = 0; t < window; t++) mean += samples[start + t * channels + channel] / window;
      let variance = 0;
      for (let t = 0; t < window; t++) variance += (samples[start + t * channels + channel] - mean) ** 2 / window;
      const inverse = variance < VARIANCE_FLOOR ? 0 : 1 / Math.sqrt(variance);
      for (let t = 0; t < window; t++) {
        const at = start + t * channels + channel;
        scored[at] = (samples[at] - mean) * inverse;
      }
    }
  }
  return scored;
}
