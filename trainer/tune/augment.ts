import { Random } from '../../models/networks/random.ts';
import type { Windows } from '../data/windows.ts';

const COPIES = 4;
/** Of the window's deviation, 40 dB down: at 20 dB the noise fills the quiet bands of a spectrum and is a shift of its own. */
const NOISE = 0.01;
/** Largest change of loudness either way, about 2 dB. */
const GAIN = 1.25;

/**
 * Every window some times over, as another piece of the same signal might look: louder or softer, backwards or not, with its sign turned or not, with
 * white noise at 40 dB. Never shifted in a circle: the seam would be a click.
 */
export function augmentWindows(windows: Windows, { window, channels }: { window: number; channels: number }, seed: number): Windows {
  const random = new Random(seed);
  const size = window * channels;
  const count = windows.count * COPIES;
  const samples = new Float32Array(count * size);
  for (let row = 0; row < count; row++) {
    const source = windows.samples.subarray((row % windows.count) * size, ((row % windows.count) + 1) * size);
    const gain = GAIN ** (2 * random.uniform() - 1) * (random.uniform() < 0.5 ? 1 : -1);
    const backwards = random.uniform() < 0.5;
    for (let channel = 0; channel < channels; channel++) {
      let [sum, square] = [0, 0];
      for (let at = channel; at < size; at += channels) {
        sum += source[at];
        square += source[at] ** 2;
      }
      const deviation = Math.sqrt(Math.max(0, square / window - (sum / window) ** 2));
      for (let t = 0; t < window; t++) {
        const value = source[(backwards ? window - 1 - t : t) * channels + channel];
        samples[row * size + t * channels + channel] = gain * (value + NOISE * deviation * random.normal());
      }
    }
  }
  const repeat = (values: Int32Array) => Int32Array.from({ length: count }, (_, row) => values[row % windows.count]);
  return { samples, labels: repeat(windows.labels), recordings: repeat(windows.recordings), count };
}
