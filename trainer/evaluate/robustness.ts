import { Random } from '../../models/networks/random.ts';
import type { Windows } from '../data/windows.ts';

/** Something that happens to a sensor or a machine. */
export type Perturbation =
  /** White noise on every channel, `snrDb` decibels below the channel's own power in the window (mean left out). */
  | { readonly kind: 'noise'; readonly snrDb: number }
  /** Every sample times a factor. */
  | { readonly kind: 'gain'; readonly factor: number }
  /** The machine turns `factor` times as fast: frequencies move up by it, and what passes half the rate is lost, as behind a sensor's filter. */
  | { readonly kind: 'speed'; readonly factor: number }
  /** `lost` channels, drawn anew for each window, are silent. */
  | { readonly kind: 'channel-loss'; readonly lost: number }
  /** The sensor ends at `level` times the RMS that a channel has in its recording, about its mean there. */
  | { readonly kind: 'clipping'; readonly level: number };

/** From mild to rough: what `evaluate` draws its curves from. */
export const ROBUSTNESS_SUITE: readonly Perturbation[] = [
  ...[30, 20, 10, 5, 0].map((snrDb) => ({ kind: 'noise', snrDb }) as const),
  ...[0.25, 0.5, 2, 4].map((factor) => ({ kind: 'gain', factor }) as const),
  ...[0.9, 0.95, 0.98, 1.02, 1.05, 1.1].map((factor) => ({ kind: 'speed', factor }) as const),
  { kind: 'channel-loss', lost: 1 },
  ...[3, 2, 1.5, 1].map((level) => ({ kind: 'clipping', level }) as const),
];

/** Windows under everything in {@link ROBUSTNESS_SUITE}, in its order, each made when it is asked for; lost channels only where there are more. */
export function perturbed(
  windows: Windows,
  shape: Shape,
  seed: number,
): { readonly perturbation: Perturbation; readonly windows: () => Windows }[] {
  return ROBUSTNESS_SUITE.filter((one) => one.kind !== 'channel-loss' || one.lost < shape[1]).map((perturbation) => ({
    perturbation,
    windows: () => perturb(windows, shape, perturbation, seed),
  }));
}

/** For people: `noise 20 dB`, `speed x 1.05`. */
export function describePerturbation(perturbation: Perturbation): string {
  switch (perturbation.kind) {
    case 'noise':
      return `noise ${perturbation.snrDb} dB`;
    case 'channel-loss':
      return `${perturbation.lost} ${perturbation.lost === 1 ? 'channel' : 'channels'} lost`;
    case 'clipping':
      return `clipped at ${perturbation.level} RMS`;
    default:
      return `${perturbation.kind} x ${perturbation.factor}`;
  }
}

type Shape = readonly [window: number, channels: number];

/**
 * New windows as they would have come through a perturbation; the old ones stay as they are. The same seed gives the same windows.
 *
 * @throws RangeError where more channels are to be lost than there are, or a speed is not above 0
 */
export function perturb(windows: Windows, shape: Shape, perturbation: Perturbation, seed: number): Windows {
  const random = new Random(seed);
  const samples = windows.samples.slice();
  switch (perturbation.kind) {
    case 'noise':
      addNoise(samples, shape, perturbation.snrDb, random);
      break;
    case 'gain':
      for (let at = 0; at < samples.length; at++) samples[at] *= perturbation.factor;
      break;
    case 'speed':
      changeSpeed(windows.samples, samples, shape, perturbation.factor);
      break;
    case 'channel-loss':
      loseChannels(samples, shape, perturbation.lost, random);
      break;
    case 'clipping':
      clip(samples, windows.recordings, shape, perturbation.level);
  }
  return { ...windows, samples };
}

function addNoise(samples: Float32Array, [window, channels]: Shape, snrDb: number, random: Random): void {
  for (let start = 0; start < samples.length; start += window * channels) {
    for (let channel = 0; channel < channels; channel++) {
      const { deviation } = momentsOf(samples, start + channel, window, channels);
      const noise = deviation * 10 ** (-snrDb / 20);
      for (let t = 0; t < window; t++) samples[start + t * channels + channel] += noise * random.normal();
    }
  }
}

function loseChannels(samples: Float32Array, [window, channels]: Shape, lost: number, random: Random): void {
  if (lost > channels) throw new RangeError(`${lost} channels cannot be lost of ${channels}`);
  for (let start = 0; start < samples.length; start += window * channels) {
    const order = random.shuffle(Array.from({ length: channels }, (_, channel) => channel));
    for (const channel of order.slice(0, lost)) for (let t = 0; t < window; t++) samples[start + t * channels + channel] = 0;
  }
}

function clip(samples: Float32Array, recordings: Int32Array, [window, channels]: Shape, level: number): void {
  for (let first = 0, last = 1; last <= recordings.length; last++) {
    if (last < recordings.length && recordings[last] === recordings[first]) continue;
    for (let channel = 0; channel < channels; channel++) {
      const [from, count] = [first * window * channels + channel, (last - first) * window];
      const { mean, deviation } = momentsOf(samples, from, count, channels);
      for (let index = 0; index < count; index++) {
        const at = from + index * channels;
        samples[at] = Math.max(mean - level * deviation, Math.min(mean + level * deviation, samples[at]));
      }
    }
    first = last;
  }
}

/** Mean and deviation of `count` samples of one channel. */
function momentsOf(samples: Float32Array, from: number, count: number, channels: number): { mean: number; deviation: number } {
  let mean = 0;
  for (let index = 0; index < count; index++) mean += samples[from + index * channels] / count;
  let variance = 0;
  for (let index = 0; index < count; index++) variance += (samples[from + index * channels] - mean) ** 2 / count;
  return { mean, deviation: Math.sqrt(variance) };
}

/** Zero crossings of the interpolation kernel on either side. */
const LOBES = 8;

/**
 * Reads each window at `factor` times the pace, by band-limited interpolation (Hann-windowed sinc). A faster machine needs more samples
 * than a window has: the window goes back the way it came at its end, which leaves its spectrum alone.
 */
function changeSpeed(samples: Float32Array, into: Float32Array, [window, channels]: Shape, factor: number): void {
  if (!(factor > 0)) throw new RangeError(`a speed of ${factor} times the old one; it must be above 0`);
  const cutoff = Math.min(1, 1 / factor);
  const reach = LOBES / cutoff;
  for (let t = 0; t < window; t++) {
    // Output sample t lies between the same input samples in every window and channel.
    const position = mirror(t * factor, window);
    const first = Math.ceil(position - reach);
    const weights = Array.from({ length: Math.floor(position + reach) - first + 1 }, (_, index) => {
      const distance = first + index - position;
      const angle = Math.PI * cutoff * distance;
      const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
      return cutoff * sinc * (0.5 + 0.5 * Math.cos((Math.PI * distance) / reach));
    });
    const places = weights.map((_, index) => mirror(first + index, window));
    const total = weights.reduce((a, b) => a + b, 0);
    for (let start = 0; start < samples.length; start += window * channels) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let index = 0; index < weights.length; index++) sum += weights[index] * samples[start + places[index] * channels + channel];
        into[start + t * channels + channel] = sum / total;
      }
    }
  }
}

/** Folds a position back into 0 .. window - 1, at both ends. */
function mirror(position: number, window: number): number {
  const period = 2 * (window - 1);
  const within = ((position % period) + period) % period;
  return within < window - 1 ? within : period - within;
}
