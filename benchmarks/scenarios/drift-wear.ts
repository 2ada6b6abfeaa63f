import { join } from 'node:path';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { Random } from '../../models/networks/random.ts';
import { BaselineSum } from '../../runtime/drift/baseline.ts';
import { type CalibrationStream, calibrateDrift, exceeds, measureRunLength, type Thresholds } from '../../runtime/drift/calibrate.ts';
import { DEFAULT_REFERENCE } from '../../runtime/drift/default-reference.ts';
import { FEATURES } from '../../runtime/drift/features.ts';
import { QuietLearning } from '../../runtime/drift/quiet-learning.ts';
import { readPieces } from '../../trainer/data/pieces.ts';
import { openRecordingSet } from '../../trainer/data/recording-set.ts';
import type { Measured, Scenario, Skipped } from '../harness/scenario.ts';
import { trainScorer } from './drift-data.ts';

const NO_DATA: Skipped = { skipped: 'TREMOLO_DATA does not name the folder of the real recording sets' };
/** Share of a bearing's life from which the network learns to tell the bearings. */
const TRAINED = 0.15;
const REFERENCE = 256;
const SOON = 60;
/** A bearing is worn where the mean power of three snapshots, 27 windows, is so many times that of its baseline (3.5 dB). */
const WORN = 2.25;
const SNAPSHOTS = 27;

/** Six bearings run to failure: windows from the onset of wear to the alarm. */
async function wear(): Promise<Measured | Skipped> {
  const { TREMOLO_DATA } = process.env;
  if (!TREMOLO_DATA) return NO_DATA;
  const set = await openRecordingSet(join(TREMOLO_DATA, 'femto'));
  const named = async (from: number, to: number) => {
    const pieces = set.recordings.map((entry) => {
      const snapshot = Number(entry.snapshot_len);
      const at = (share: number) => Math.floor((entry.n_samples * share) / snapshot) * snapshot;
      return { entry, range: { start: at(from), length: at(to) - at(from) } };
    });
    return (await readPieces(set, pieces)).map((recording) => ({ ...recording, label: String(recording.entry.bearing) }));
  };
  const scorer = await trainScorer(await createOnnxruntimeEngine(), await named(0, TRAINED));
  const thresholds = DEFAULT_REFERENCE.thresholds.find(({ runLength }) => runLength === 2000)!;
  const details: Record<string, string | number> = {};
  let found = 0;
  let early = 0;
  let healthy = 0;
  for (const bearing of await named(TRAINED, 1)) {
    const { windows, features } = await scorer(bearing);
    const onset = onsetOf(windows.samples, windows.count);
    const alarms = alarmsOf(features, thresholds);
    const before = alarms.filter((at) => at < onset);
    const delay = (alarms.find((at) => at >= onset) ?? Number.POSITIVE_INFINITY) - onset;
    early += before.length;
    healthy += onset - REFERENCE;
    // Already unlike itself at the onset counts as found: the last alarm before it is what says so.
    const soon = delay <= SOON || (before.at(-1) ?? Number.NEGATIVE_INFINITY) >= onset - SOON;
    if (soon) found++;
    details[bearing.label] = `${windows.count} windows, worn from ${onset}, delay ${delay}, alarms before ${before.length}`;
  }
  details['windows to an alarm before wear'] = Math.round(healthy / Math.max(1, early));
  details['a detector that always fires'] = 'finds 1, delay 1, run length 1';
  return { figure: found / set.recordings.length, samples: set.recordings.length, details };
}

/** Window from which a bearing is worn; samples: [count, ...] */
function onsetOf(samples: Float32Array, count: number): number {
  const size = samples.length / count;
  const power = Float64Array.from({ length: count }, (_, row) =>
    samples.subarray(row * size, (row + 1) * size).reduce((sum, value) => sum + (value * value) / size, 0),
  );
  const mean = (from: number, to: number) => power.subarray(from, to).reduce((sum, value) => sum + value / (to - from), 0);
  const normal = mean(0, REFERENCE);
  for (let at = REFERENCE; at + SNAPSHOTS <= count; at++) if (mean(at, at + SNAPSHOTS) > WORN * normal) return at;
  return count;
}

/** Windows of the alarms; after each a baseline is taken anew. */
function alarmsOf(features: Float64Array, thresholds: Thresholds): number[] {
  const count = features.length / FEATURES;
  const alarms: number[] = [];
  for (let at = 0; at + REFERENCE < count; ) {
    const sum = BaselineSum.from(features, at * FEATURES);
    for (const end = at + REFERENCE; at < end; at++) sum.add(features, at * FEATURES);
    const learning = new QuietLearning(sum);
    for (let alarm = false; at < count && !alarm; at++) {
      learning.update(features, at * FEATURES);
      alarm = exceeds(learning.statistics, thresholds) !== undefined;
      if (alarm) alarms.push(at);
    }
  }
  return alarms;
}

/** Files of a block, which may be of one motor. */
const BLOCK = 10;

/** Features of the held-out recordings, with the third of the blocks that each is of; kept for the process's life. */
let motors: ReturnType<typeof scoreMotors> | undefined;

async function scoreMotors(folder: string) {
  const set = await openRecordingSet(join(folder, 'uet_motor1k'));
  const third = (which: number) =>
    readPieces(
      set,
      set.recordings.filter((_, at) => Math.floor(at / BLOCK) % 3 === which).map((entry) => ({ entry })),
    );
  const scorer = await trainScorer(await createOnnxruntimeEngine(), await third(0));
  const scored: { readonly which: number; readonly label: string; readonly features: Float64Array }[] = [];
  for (const which of [1, 2]) {
    for (const recording of await third(which))
      scored.push({ which, label: recording.label!, features: (await scorer(recording)).features });
  }
  return scored;
}

/**
 * Trained on a third of the blocks of files; calibrated on some of the other files and measured on the rest, both ways round. Windows of a class are one
 * stream.
 *
 * @param other which files are on the other side
 */
async function motorRunLength(other: (recording: { readonly which: number }, at: number) => boolean): Promise<Measured | Skipped> {
  const { TREMOLO_DATA } = process.env;
  if (!TREMOLO_DATA) return NO_DATA;
  motors ??= scoreMotors(TREMOLO_DATA);
  const scored = await motors;
  const streamsOf = (side: boolean): CalibrationStream[] => {
    const streams = new Map<string, Float64Array[]>();
    for (const { label, features } of scored.filter((one, at) => other(one, at) === side)) {
      streams.set(label, [...(streams.get(label) ?? []), features]);
    }
    return [...streams.values()];
  };
  const parts = [streamsOf(false), streamsOf(true)];
  const random = new Random(1);
  const below = (bound: number) => random.below(bound);
  const measured = parts.map((part, at) => {
    const { thresholds } = calibrateDrift(part, { runLengths: [500], below });
    return measureRunLength(parts[1 - at], thresholds[0], { below });
  });
  const found = measured.reduce((sum, value) => sum + value, 0) / measured.length;
  return {
    figure: found / 500,
    samples: measured.length,
    details: { 'one way and the other': measured.map((value) => value.toFixed(0)).join(' and ') },
  };
}

export const WEAR: readonly Scenario[] = [
  {
    id: 'drift.delay.femto',
    what: `femto, six bearings run to failure: share whose wear (power 3.5 dB up) is found within ${SOON} windows at a run length of 2,000, default thresholds`,
    unit: '',
    target: { atLeast: 0.95 },
    measure: wear,
  },
  {
    id: 'drift.run-length.uet.500',
    what: 'uet_motor1k, windows to a false alarm where 500 were asked, trained, calibrated and measured on other blocks of files: measured over asked',
    unit: '',
    measure: () => motorRunLength(({ which }) => which === 2),
  },
  {
    id: 'drift.run-length.uet.alternate.500',
    what: 'uet_motor1k, windows to a false alarm where 500 were asked, calibrated and measured on alternate files, so of the same motors: measured over asked',
    unit: '',
    measure: () => motorRunLength((_, at) => at % 2 === 1),
  },
];
