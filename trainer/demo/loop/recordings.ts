import { FORMAT_FIELDS, type Recording, type RecordingEntry } from '../../data/recording-set.ts';
import { encode, FRAME_SAMPLES, frameOf } from '../sources.ts';
import type { Stretch } from './judge.ts';
import type { LoopSensor } from './machines.ts';

/** Frames of one recording before it is the next one's turn: eight windows of 512 samples, so that all conditions come within seconds. */
const PIECE_FRAMES = 36;

/** A condition of which two values are before and after. */
export interface Shift {
  readonly field: string;
  readonly from: number;
  readonly to: number;
}

/**
 * The first condition that takes two or more numeric values with every class of the set: its smallest, and the one after the next, as a change that is not the
 * smallest that there is. Undefined where there is none.
 */
export function chooseShift(recordings: readonly RecordingEntry[]): Shift | undefined {
  const classesOf = (some: readonly RecordingEntry[]) => new Set(some.map(({ label }) => label));
  const all = classesOf(recordings).size;
  for (const field of Object.keys(recordings[0] ?? {}).filter((name) => !FORMAT_FIELDS.some((other) => other === name))) {
    const values = [...new Set(recordings.map((one) => one[field]))].filter((value) => typeof value === 'number');
    const whole = values.filter((value) => classesOf(recordings.filter((one) => one[field] === value)).size === all).sort((a, b) => a - b);
    if (whole.length >= 2) return { field, from: whole[0], to: whole[Math.min(2, whole.length - 1)] };
  }
  return undefined;
}

/** Plays recordings in turn, a piece of each, over and over; after its change, others. */
export function loopRecordings(
  name: string,
  before: readonly Recording[],
  after: readonly Recording[],
  scale: number,
  changeText: string,
): LoopSensor {
  const [{ channels, sampleRateHz }] = before;
  const frame = frameOf(channels.length, sampleRateHz, scale);
  const told: Omit<Stretch, 'stream'>[] = [];
  const offsets = new Map<Recording, number>();
  let playing = before;
  let [turn, sent, epoch, clockSamples] = [0, 0, -1, 0];
  return {
    name,
    changeText,
    change() {
      playing = after;
      [turn, sent] = [0, 0];
    },
    next() {
      if (sent % PIECE_FRAMES === 0) {
        if (sent > 0) turn++;
        epoch++;
        [sent, frame.sequence] = [0, 0];
        told.push({ epoch, from: 0, class: playing[turn % playing.length].label!, changed: playing === after });
      }
      const recording = playing[turn % playing.length];
      let at = offsets.get(recording) ?? 0;
      // No window spans the end of a recording.
      if (sent === 0 && at + PIECE_FRAMES * FRAME_SAMPLES > recording.length) at = 0;
      const samples = recording.read(at, FRAME_SAMPLES);
      for (let k = 0; k < frame.samples.length; k++) frame.samples[k] = encode(samples[k], scale);
      [frame.epoch, frame.sequence] = [epoch, sent * FRAME_SAMPLES];
      frame.deviceTimeUs = Math.round((clockSamples / sampleRateHz) * 1e6);
      offsets.set(recording, at + FRAME_SAMPLES);
      sent++;
      clockSamples += FRAME_SAMPLES;
      return frame;
    },
    stretches: (stream) => told.map((one) => ({ stream, ...one })),
  };
}
