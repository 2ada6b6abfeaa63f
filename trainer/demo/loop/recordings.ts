import type { Recording, RecordingEntry } from '../../data/recording-set.ts';
import { Refusal } from '../../refusal.ts';
import { encode, FRAME_SAMPLES, frameOf } from '../sources.ts';
import type { Stretch } from './judge.ts';
import type { LoopSensor } from './machines.ts';

/** Frames of one recording before it is the next one's turn: eight windows of 512 samples, so that all conditions come within seconds. */
const PIECE_FRAMES = 36;
/** A shorter recording has no piece. */
export const PIECE_SAMPLES = PIECE_FRAMES * FRAME_SAMPLES;

/** A condition of which two values are before and after. */
export interface Shift {
  readonly field: string;
  readonly from: number;
  readonly to: number;
}

/** Reads FIELD=FROM,TO. @throws Refusal usage/arguments, demo/shift where the set lacks one of them */
export function parseShift(text: string, recordings: readonly RecordingEntry[]): Shift {
  const [, field, from, to] = /^([^=]+)=(-?[\d.]+),(-?[\d.]+)$/.exec(text) ?? [];
  if (to === undefined) throw new Refusal('usage/arguments', `--shift is "${text}"; write FIELD=FROM,TO, as in load_hp=0,2`);
  for (const value of [from, to])
    if (!recordings.some((one) => one[field] === Number(value)))
      throw new Refusal('demo/shift', `no chosen recording has ${field} ${value}; see tremolo data info`);
  return { field, from: Number(from), to: Number(to) };
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
      if (sent === 0 && at + PIECE_SAMPLES > recording.length) at = 0;
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
