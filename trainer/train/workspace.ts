import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Engine } from '../../models/engine/engine.ts';
import { type Commissioned, commission, type ReferenceRule, withReferences } from '../data/commissioning.ts';
import { type Piece, type ReadPiece, readPieces } from '../data/pieces.ts';
import { channelNames, pathOf, type Recording, type RecordingEntry, type RecordingSet } from '../data/recording-set.ts';
import { type Split, type SplitRule, splitRecordings } from '../data/split.ts';
import { LEARNING_SAMPLE, TEST_SAMPLE, VALIDATION_SAMPLE, type WindowSample } from '../data/window-sample.ts';
import { classesOf, cutWindows, type Windows } from '../data/windows.ts';
import { Refusal } from '../refusal.ts';
import { openEngine } from './engines.ts';
import type { PipelineChoices } from './settings.ts';
import { StageRunner } from './stages.ts';

export const WINDOW = 512;
/** From window to window, where nobody says otherwise. */
export const STRIDE = 256;

/** What a training is asked for. */
export interface PipelineRequest {
  readonly name: string;
  readonly split: SplitRule;
  /** Channels to use; all where absent. */
  readonly channels?: readonly string[];
  /** Rate to resample every recording to; its own where absent. */
  readonly rateHz?: number;
  /** Recordings that are neither trained nor tested on and should be found new. */
  readonly novel?: RecordingSet;
  /** Long recordings of machines that do not change, not trained on, from which drift thresholds are taken. */
  readonly driftSet?: RecordingSet;
  /** Samples from window to window; {@link STRIDE} where absent. */
  readonly stride?: number;
  /** Which recordings are machines' commissioning references and nothing else; none where absent. */
  readonly reference?: ReferenceRule;
  readonly choices: PipelineChoices;
}

/** One value for each side of a split. */
export interface Sides<T> {
  readonly train: T;
  readonly validation: T;
  readonly test: T;
}

/** Windows that are in memory, whatever the size of the set. */
export const SAMPLES: Sides<WindowSample> = { train: LEARNING_SAMPLE, validation: VALIDATION_SAMPLE, test: TEST_SAMPLE };

/** All that the stages of one training share. */
export interface Workspace {
  readonly set: RecordingSet;
  readonly request: PipelineRequest;
  readonly engine: Engine;
  readonly stages: StageRunner;
  readonly signal: AbortSignal | undefined;
  readonly split: Split;
  readonly recordings: Sides<readonly Recording[]>;
  /** All of them, or of a large set as many as {@link SAMPLES} says. */
  readonly windows: Sides<Windows>;
  readonly classes: readonly string[];
  readonly channels: readonly string[];
  readonly sampleRateHz: number;
  /** Samples from window to window. */
  readonly stride: number;
  /** Hash of the recordings, how they are read and how they are split: the first input of every stage. */
  readonly dataKey: string;
  read(pieces: readonly Piece[]): Promise<Recording[]>;
}

/** Reads and splits. @throws Refusal on data that cannot be trained on */
export async function openWorkspace(set: RecordingSet, request: PipelineRequest, signal?: AbortSignal): Promise<Workspace> {
  // Before the data, which may take a while: an engine that is not there is refused at once.
  const engine = await openEngine(request.choices.engine, { provider: request.choices.provider, precision: request.choices.precision });
  const { stride = STRIDE } = request;
  const commissioned = request.reference && commission(set.recordings, request.reference);
  const split = splitRecordings(commissioned?.rest ?? set.recordings, request.split, { window: WINDOW, rateHz: request.rateHz });
  const read = await readerOf(set, request, commissioned);
  // One call, so that all sides are held to one rate and one set of channels.
  const all = await read([...split.train, ...split.validation, ...split.test]);
  const held = split.train.length + split.validation.length;
  const recordings = { train: all.slice(0, split.train.length), validation: all.slice(split.train.length, held), test: all.slice(held) };
  const classes = classesOf(all.slice(0, held));
  if (classes.length < 2) throw new Refusal('data/classes', `${set.name} has one class only (${classes}); a network needs two`);
  const cut = (side: keyof Sides<unknown>) => cutWindows(recordings[side], classes, WINDOW, stride, SAMPLES[side]);
  const windows = { train: cut('train'), validation: cut('validation'), test: cut('test') };
  for (const side of ['validation', 'test'] as const) {
    if (windows[side].count === 0)
      throw new Refusal('data/short', `no ${side} recording of ${set.name} has ${WINDOW} samples; record longer or use --rate`);
  }
  for (const [index, name] of classes.entries()) {
    if (!windows.train.labels.includes(index))
      throw new Refusal('data/short', `no training recording of class ${name} has ${WINDOW} samples`);
  }
  const [{ channels, sampleRateHz }] = all;
  return {
    set,
    request,
    engine,
    stages: await StageRunner.open(signal),
    signal,
    split,
    recordings,
    windows,
    classes,
    channels,
    sampleRateHz,
    stride,
    dataKey: await hashData(set, request, split, commissioned),
    read,
  };
}

/** Reads pieces which, where there are references, know their machine and what all references are made of. */
async function readerOf(
  set: RecordingSet,
  { channels, rateHz }: PipelineRequest,
  commissioned: Commissioned | undefined,
): Promise<(pieces: readonly Piece[]) => Promise<ReadPiece[]>> {
  const readPlain = (pieces: readonly Piece[]) => readPieces(set, pieces, channels, rateHz);
  if (!commissioned) return readPlain;
  const references = await readPlain(commissioned.references.map((entry) => ({ entry })));
  const short = references.find(({ length }) => length < WINDOW);
  if (short) throw new Refusal('data/short', `${short.entry.file}, part of a reference, has fewer than ${WINDOW} samples`);
  return async (pieces) => withReferences(await readPlain(pieces), references, commissioned);
}

/** What the files are, not where: content where it is known, size and time elsewhere. */
export async function hashData(
  set: RecordingSet,
  { channels, rateHz, stride }: PipelineRequest,
  { train, validation, test }: Sides<readonly Piece[]>,
  commissioned?: Commissioned,
): Promise<string> {
  const described = async ({ entry, range }: Piece) => {
    const { size, mtimeMs } = await stat(pathOf(set, entry));
    return [entry, range ?? null, size, mtimeMs];
  };
  const references = commissioned?.references.map((entry) => ({ entry })) ?? [];
  const sides = await Promise.all([train, validation, test, references].map((side) => Promise.all(side.map(described))));
  return createHash('sha256')
    .update(JSON.stringify([sides, channels ?? null, rateHz ?? null, WINDOW, stride ?? STRIDE]))
    .digest('hex');
}

/** @throws what `refuse` makes where a recording beside those trained on has not their channels or their rate */
export function checkAlike(
  entry: RecordingEntry,
  { channels, sampleRateHz, request: { rateHz } }: Workspace,
  refuse: (what: string) => Refusal,
): void {
  const missing = channels.filter((channel) => !channelNames(entry).includes(channel));
  if (missing.length > 0) throw refuse(`has no channel ${missing.join(', ')}`);
  if ((rateHz ?? entry.sample_rate_hz) !== sampleRateHz)
    throw refuse(`has ${entry.sample_rate_hz} Hz where training has ${sampleRateHz} Hz; say --rate`);
}
