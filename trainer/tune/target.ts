import type { Bundle } from '../../models/bundle/bundle.ts';
import { Random } from '../../models/networks/random.ts';
import { rowsByClass } from '../../runtime/adapt/labelled-features.ts';
import { readPieces } from '../data/pieces.ts';
import { channelNames, type Recording, type RecordingSet } from '../data/recording-set.ts';
import { cutWindows, type Windows } from '../data/windows.ts';
import { Refusal } from '../refusal.ts';

/** Recordings cut as the bundle's recipe says. */
export interface CutRecordings {
  readonly recordings: readonly Recording[];
  readonly windows: Windows;
}

/** Which windows are learned from and which are measured; row numbers. */
export interface Draw {
  readonly shots: readonly number[];
  readonly measured: readonly number[];
}

/**
 * Reads the labelled recordings of a set as the bundle hears them. Recordings without a label are left out.
 *
 * @param rateHz to resample to, where the recordings have another rate
 * @throws Refusal tune/classes, tune/channels, tune/rate, data/short, and as `readPieces` does
 */
export async function readTarget(set: RecordingSet, { manifest }: Bundle, rateHz?: number): Promise<CutRecordings> {
  const { classes, recipe } = manifest;
  const entries = set.recordings.filter(({ label }) => label !== null);
  const unknown = [...new Set(entries.map(({ label }) => label!))].filter((label) => !classes.includes(label));
  if (unknown.length > 0) {
    throw new Refusal(
      'tune/classes',
      `the bundle does not know class ${unknown.join(', ')} of ${set.name}; leave it out with --where, name it with --relabel, or train again`,
    );
  }
  const odd = entries.find((entry) => recipe.channels.some((name) => !channelNames(entry).includes(name)));
  if (odd) {
    throw new Refusal('tune/channels', `${odd.file} has the channels ${channelNames(odd)}, the bundle listens to ${recipe.channels}`);
  }
  const pieces = entries.map((entry) => ({ entry }));
  const foreign = entries.find((entry) => (rateHz ?? entry.sample_rate_hz) !== recipe.sampleRateHz);
  if (foreign) {
    throw new Refusal(
      'tune/rate',
      `${foreign.file} is at ${rateHz ?? foreign.sample_rate_hz} Hz, the bundle at ${recipe.sampleRateHz}; resample with --rate ${recipe.sampleRateHz}`,
    );
  }
  const recordings = entries.length === 0 ? [] : await readPieces(set, pieces, recipe.channels, rateHz);
  const windows = cutWindows(recordings, classes, recipe.window, recipe.stride);
  if (windows.count === 0) throw new Refusal('data/short', `no labelled recording of ${set.name} has ${recipe.window} samples`);
  return { recordings, windows };
}

/** Place of every window within its recording, in windows: rows of a recording follow one another. */
function places({ recordings, count }: Windows): Int32Array {
  const made = new Int32Array(count);
  for (let row = 1; row < count; row++) made[row] = recordings[row] === recordings[row - 1] ? made[row - 1] + 1 : 0;
  return made;
}

/**
 * Draws `shots` windows of every class that occurs. What is measured shares no sample with any of them.
 *
 * @param classes names, for the message
 * @throws Refusal tune/shots where a class has too few windows or nothing is left to measure
 */
export function drawShots(
  windows: Windows,
  classes: readonly string[],
  shots: number,
  { window, stride }: { window: number; stride: number },
  seed: number,
): Draw {
  const random = new Random(seed);
  const byClass = rowsByClass(windows.labels);
  const short = byClass.find((rows) => rows.length < shots);
  if (short) {
    throw new Refusal(
      'tune/shots',
      `--shots ${shots}: class ${classes[windows.labels[short[0]]]} has ${short.length} windows; give a smaller number or more recordings`,
    );
  }
  const drawn = byClass.flatMap((rows) => random.shuffle([...rows]).slice(0, shots));
  const place = places(windows);
  /** Windows whose starts lie so many strides apart share no sample. */
  const apart = Math.ceil(window / stride);
  const touched = new Uint8Array(windows.count);
  for (const row of drawn) {
    for (let other = Math.max(0, row - apart + 1); other < Math.min(windows.count, row + apart); other++) {
      const near = windows.recordings[other] === windows.recordings[row] && Math.abs(place[other] - place[row]) < apart;
      if (near) touched[other] = 1;
    }
  }
  const measured = Array.from(windows.labels.keys()).filter((row) => !touched[row]);
  if (measured.length === 0) {
    throw new Refusal('tune/shots', `--shots ${shots} leaves no window to measure on; give a smaller number or more recordings`);
  }
  return { shots: drawn, measured };
}
