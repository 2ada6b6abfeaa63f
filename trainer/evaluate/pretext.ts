import type { Random } from '../../models/networks/random.ts';
import { heldRecording, type Recording } from '../data/recording-set.ts';
import { type Perturbation, perturb } from './robustness.ts';
import { spreadEvenly } from './sampling.ts';

/** What a healthy recording is turned into; telling them apart is what the embedding learns. The first is the recording as it is. */
export const PRETEXT_CLASSES = ['as recorded', 'faster', 'slower', 'noise', 'resonance', 'impacts', 'modulation'] as const;
export type PretextClass = (typeof PRETEXT_CLASSES)[number];

/** Impacts a second, of bearings and gears at usual speeds, as a share of the sample rate. */
const IMPACT_RATE = [1 / 400, 1 / 60] as const;

/** Values of all channels that are changed in each variant: 8 MB. */
const MOST_VALUES = 2_000_000;
/** Samples that a recording contributes at least: eight windows of 512. */
const LEAST_SAMPLES = 4096;

/**
 * Healthy recordings and changed copies of them, labelled by the change: a network that tells them apart has learnt to see what faults do to a
 * signal, without having heard any (self-supervision by transformations: Golan and El-Yaniv 2018; synthetic anomalies: Li et al. 2021).
 *
 * Where there is much, a piece of each recording is taken, or of some of them, evenly spread: copies fit into memory.
 *
 * @param variants copies of each recording and change, each of another strength
 * @param most values of all channels that are changed in each variant
 */
export function pretextRecordings(recordings: readonly Recording[], variants: number, random: Random, most = MOST_VALUES): Recording[] {
  const channels = recordings[0]?.channels.length ?? 1;
  const chosen = spreadEvenly(recordings, Math.max(1, Math.floor(most / (LEAST_SAMPLES * channels))));
  const longest = Math.floor(most / (channels * chosen.length));
  return chosen.flatMap((whole) => {
    const recording = pieceOf(whole, longest, random);
    const samples = recording.read(0, recording.length);
    const changed = (label: PretextClass, held: Float32Array) => heldRecording({ ...recording, label }, held);
    return PRETEXT_CLASSES.flatMap((label): Recording[] => {
      if (label === 'as recorded') return [changed(label, samples)];
      return Array.from({ length: variants }, () => changed(label, CHANGES[label](recording, random)));
    });
  });
}

function pieceOf(recording: Recording, longest: number, random: Random): Recording {
  if (recording.length <= longest) return recording;
  const start = random.below(recording.length - longest + 1);
  return heldRecording(recording, recording.read(start, longest));
}

const between = (random: Random, low: number, high: number) => low + (high - low) * random.uniform();

const CHANGES: Record<Exclude<PretextClass, 'as recorded'>, (recording: Recording, random: Random) => Float32Array> = {
  faster: (recording, random) => perturbed(recording, { kind: 'speed', factor: between(random, 1.08, 1.25) }, random),
  slower: (recording, random) => perturbed(recording, { kind: 'speed', factor: between(random, 0.8, 0.92) }, random),
  noise: (recording, random) => perturbed(recording, { kind: 'noise', snrDb: between(random, 0, 10) }, random),
  resonance: (recording, random) => {
    const frequency = between(random, 0.02, 0.45);
    const gain = between(random, 0.5, 2);
    return mapChannels(recording, (signal) => {
      const rung = resonate(signal, frequency, 0.97);
      const share = (gain * rmsOf(signal)) / Math.max(rmsOf(rung), 1e-12);
      return signal.map((value, at) => value + share * rung[at]);
    });
  },
  impacts: (recording, random) => {
    const period = 1 / between(random, ...IMPACT_RATE);
    const frequency = between(random, 0.1, 0.45);
    const level = between(random, 0.3, 1.5);
    return mapChannels(recording, (signal) => {
      const blows = new Float32Array(signal.length);
      // Rolling elements slip: no two blows are quite one period apart.
      for (let at = period * random.uniform(); at < signal.length; at += period * between(random, 0.98, 1.02)) blows[Math.floor(at)] = 1;
      const rung = resonate(blows, frequency, 0.9);
      const share = (level * rmsOf(signal)) / Math.max(rmsOf(rung), 1e-12);
      return signal.map((value, at) => value + share * rung[at]);
    });
  },
  modulation: (recording, random) => {
    const frequency = between(random, ...IMPACT_RATE);
    const depth = between(random, 0.5, 1);
    const phase = random.uniform();
    return mapChannels(recording, (signal) =>
      signal.map((value, at) => value * (1 + depth * Math.cos(2 * Math.PI * (phase + frequency * at)))),
    );
  },
};

/** A whole recording through a perturbation of windows. */
function perturbed({ read, channels, length }: Recording, perturbation: Perturbation, random: Random): Float32Array {
  const whole = { samples: read(0, length), labels: new Int32Array(1), recordings: new Int32Array(1), count: 1 };
  return perturb(whole, [length, channels.length], perturbation, random.uint32()).samples;
}

function mapChannels({ read, channels, length }: Recording, change: (signal: Float32Array) => Float32Array): Float32Array {
  const samples = read(0, length);
  const changed = new Float32Array(samples.length);
  channels.forEach((_, channel) => {
    const signal = Float32Array.from({ length }, (_, at) => samples[at * channels.length + channel]);
    change(signal).forEach((value, at) => {
      changed[at * channels.length + channel] = value;
    });
  });
  return changed;
}

/** Two-pole resonance. frequency: share of the sample rate; decay: of the poles, below 1 */
function resonate(signal: Float32Array, frequency: number, decay: number): Float32Array {
  const [back, twice] = [2 * decay * Math.cos(2 * Math.PI * frequency), decay * decay];
  const rung = new Float32Array(signal.length);
  let [one, two] = [0, 0];
  for (let at = 0; at < signal.length; at++) {
    const value = signal[at] + back * one - twice * two;
    rung[at] = value;
    [two, one] = [one, value];
  }
  return rung;
}

/** About the mean. */
function rmsOf(signal: Float32Array): number {
  let [mean, square] = [0, 0];
  for (const value of signal) mean += value / signal.length;
  for (const value of signal) square += (value - mean) ** 2 / signal.length;
  return Math.sqrt(square);
}
