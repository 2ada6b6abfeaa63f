import type { Engine } from '../../../models/engine/engine.ts';
import { readPieces } from '../../data/pieces.ts';
import { channelNames, FORMAT_FIELDS, type RecordingEntry, type RecordingSet } from '../../data/recording-set.ts';
import { classesOf, cutWindows } from '../../data/windows.ts';
import { softmaxRows } from '../../evaluate/calibration.ts';
import { argmaxRows, metricsOf } from '../../evaluate/metrics.ts';
import { VOTE, vote8 } from '../../evaluate/smoothing.ts';
import { RECIPES, shaped } from '../../train/candidates.ts';
import { runNetwork } from '../../train/run-windows.ts';
import { DEFAULT_SETTINGS, trainNetwork } from '../../train/train-network.ts';
import { PIECE_SAMPLES } from './recordings.ts';

/** A condition with more values makes more pairs than a newcomer waits for. */
const MOST_VALUES = 5;
/** Of the start of each recording that is decided to see what a change costs. */
const MEASURED_WINDOWS = 8 * VOTE;

/** What may happen to a machine, as far as a set has recordings from before and after. */
export interface Change {
  /** For people. */
  readonly text: string;
  /** What a student learns from, and how the others that training reads are told apart from it: FIELD=VALUE. */
  readonly train: readonly RecordingEntry[];
  readonly tested: { readonly field: string; readonly value: number };
  /** Played before it happens, and after. */
  readonly before: readonly RecordingEntry[];
  readonly after: readonly RecordingEntry[];
  /** Channels afterwards, in place of those that were chosen: the sensor is another. */
  readonly channelsAfter?: readonly string[];
}

/** A change and the share of windows that a student decides right before and after it, eight together as on a stream. */
export interface MeasuredChange {
  readonly change: Change;
  readonly before: number;
  readonly after: number;
}

/** How recordings are read. */
export interface Reading {
  readonly channels?: readonly string[];
  readonly rateHz?: number;
}

/** From one value of a condition to another: what comes after is the test, of the classes that were trained. */
export function conditionChange(set: RecordingSet, field: string, from: number, to: number): Change | undefined {
  const of = (value: number) => set.recordings.filter((one) => one.label !== null && Number(one[field]) === value);
  const before = of(from);
  const known = labelsOf(before);
  const after = of(to).filter(({ label }) => known.has(label));
  if (labelsOf(after).size < 2) return undefined;
  return { text: `${field} goes from ${from} to ${to}`, train: before, tested: { field, value: to }, before, after };
}

/**
 * All changes that the recordings of a set can show: between two values of a condition, and from the sensor that was chosen to another one of the same
 * recordings.
 */
export function changesOf(all: RecordingSet, { channels, rateHz }: Reading): Change[] {
  const isLongEnough = ({ n_samples, sample_rate_hz }: RecordingEntry) =>
    (n_samples * (rateHz ?? sample_rate_hz)) / sample_rate_hz >= PIECE_SAMPLES;
  const set = { ...all, recordings: all.recordings.filter(isLongEnough) };
  const conditions = conditionsOf(set.recordings);
  const changes: Change[] = [];
  for (const { field, values } of conditions)
    for (const from of values)
      for (const to of values) if (from !== to) changes.push(...[conditionChange(set, field, from, to) ?? []].flat());
  const [place] = conditions;
  if (channels?.length === 1 && place) changes.push(...sensorChanges(set, channels[0], place.field, place.values[0]));
  return changes;
}

/** The machine is one at a value that no training saw; its sensor is taken from one place to another. */
function sensorChanges(set: RecordingSet, channel: string, field: string, value: number): Change[] {
  const labelled = set.recordings.filter(({ label }) => label !== null);
  const train = labelled.filter((one) => Number(one[field]) !== value);
  const known = labelsOf(train);
  const before = labelled.filter((one) => Number(one[field]) === value && known.has(one.label));
  const others = new Set(before.flatMap(channelNames).filter((name) => name !== channel));
  return [...others].flatMap((other): Change[] => {
    const after = before.filter((one) => channelNames(one).includes(other));
    if (labelsOf(after).size < 2) return [];
    const text = `sensor is taken from ${channel} to ${other} (${field} ${value}, which training had not)`;
    return [{ text, train, tested: { field, value }, before, after, channelsAfter: [other] }];
  });
}

/** Fields of few numbers that every recording has. Of those that part the recordings alike, the first. */
function conditionsOf(recordings: readonly RecordingEntry[]): { field: string; values: number[] }[] {
  const parts = new Set<string>();
  const found: { field: string; values: number[] }[] = [];
  const format = new Set<string>(FORMAT_FIELDS);
  for (const field of Object.keys(recordings[0] ?? {}).filter((name) => !format.has(name))) {
    if (!recordings.every((one) => typeof one[field] === 'number')) continue;
    const values = [...new Set(recordings.map((one) => one[field] as number))].sort((a, b) => a - b);
    if (values.length < 2 || values.length > MOST_VALUES) continue;
    const first = values.map((value) => recordings.findIndex((one) => one[field] === value));
    const part = recordings.map((one) => first[values.indexOf(one[field] as number)]).join();
    if (!parts.has(part)) found.push({ field, values });
    parts.add(part);
  }
  return found;
}

/**
 * Trains a student for each beginning and lets it decide the start of every recording before and after.
 *
 * @param steps of each student @param onProgress share that is done
 */
export async function measureChanges(
  engine: Engine,
  set: RecordingSet,
  changes: readonly Change[],
  { steps, seed, ...reading }: Reading & { readonly steps: number; readonly seed: number },
  onProgress: (share: number, note: string) => void,
  signal: AbortSignal,
): Promise<MeasuredChange[]> {
  const beginnings = new Map<string, Change[]>();
  for (const change of changes) {
    const key = change.train.map(({ file }) => file).join('\n');
    beginnings.set(key, [...(beginnings.get(key) ?? []), change]);
  }
  const measured = new Map<Change, MeasuredChange>();
  for (const own of beginnings.values()) {
    onProgress(measured.size / changes.length, own[0].text);
    const recordings = await readPieces(
      set,
      own[0].train.map((entry) => ({ entry })),
      reading.channels,
      reading.rateHz,
    );
    const classes = classesOf(recordings);
    const options = shaped(RECIPES[0].network, recordings, classes);
    const settings = { ...DEFAULT_SETTINGS, steps, seed };
    const { weights } = await trainNetwork(engine, { options, recordings, classes, settings, signal });
    const accuracyOf = async (entries: readonly RecordingEntry[], channels: readonly string[] | undefined) => {
      const rate = ({ sample_rate_hz }: RecordingEntry) => sample_rate_hz / (reading.rateHz ?? sample_rate_hz);
      const length = (entry: RecordingEntry) =>
        Math.min(entry.n_samples, Math.ceil((rate(entry) * ((MEASURED_WINDOWS + 1) * options.window)) / 2));
      const pieces = entries.map((entry) => ({ entry, range: { start: 0, length: length(entry) } }));
      const windows = cutWindows(await readPieces(set, pieces, channels, reading.rateHz), classes, options.window, options.window / 2);
      const { logits } = await runNetwork(engine, { options, weights }, windows);
      const votes = vote8(windows.labels, windows.recordings, softmaxRows(logits, classes.length), classes.length);
      return metricsOf(votes.labels, argmaxRows(votes.probabilities, classes.length), classes.length).accuracy;
    };
    for (const change of own) {
      const before = await accuracyOf(change.before, reading.channels);
      const after = await accuracyOf(change.after, change.channelsAfter ?? reading.channels);
      measured.set(change, { change, before, after });
    }
  }
  return changes.map((change) => measured.get(change)!);
}

/** The change that costs most. */
export function costliest(measured: readonly MeasuredChange[]): MeasuredChange {
  return measured.reduce((most, one) => (one.before - one.after > most.before - most.after ? one : most));
}

function labelsOf(entries: readonly RecordingEntry[]): Set<string | null> {
  return new Set(entries.map(({ label }) => label));
}
