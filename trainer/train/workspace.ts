import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Engine } from '../../models/engine/engine.ts';
import { type Piece, readPieces } from '../data/pieces.ts';
import { pathOf, type Recording, type RecordingSet } from '../data/recording-set.ts';
import { type Split, type SplitRule, splitRecordings } from '../data/split.ts';
import { classesOf, cutWindows, type Windows } from '../data/windows.ts';
import { Refusal } from '../refusal.ts';
import { openEngine } from './engines.ts';
import type { PipelineChoices } from './settings.ts';
import { StageRunner } from './stages.ts';

export const WINDOW = 512;
export const STRIDE = 256;

/** What a training is asked for. */
export interface PipelineRequest {
  readonly name: string;
  readonly split: SplitRule;
  /** Channels to use; all where absent. */
  readonly channels?: readonly string[];
  /** Rate to resample every recording to; its own where absent. */
  readonly rateHz?: number;
  readonly choices: PipelineChoices;
}

/** One value for each side of a split. */
export interface Sides<T> {
  readonly train: T;
  readonly validation: T;
  readonly test: T;
}

/** All that the stages of one training share. */
export interface Workspace {
  readonly set: RecordingSet;
  readonly request: PipelineRequest;
  readonly engine: Engine;
  readonly stages: StageRunner;
  readonly signal: AbortSignal | undefined;
  readonly split: Split;
  readonly recordings: Sides<readonly Recording[]>;
  readonly windows: Sides<Windows>;
  readonly classes: readonly string[];
  readonly channels: readonly string[];
  readonly sampleRateHz: number;
  /** Hash of the recordings, how they are read and how they are split: the first input of every stage. */
  readonly dataKey: string;
  read(pieces: readonly Piece[]): Promise<Recording[]>;
}

/** Reads and splits. @throws Refusal on data that cannot be trained on */
export async function openWorkspace(set: RecordingSet, request: PipelineRequest, signal?: AbortSignal): Promise<Workspace> {
  // Before the data, which may take a while: an engine that is not there is refused at once.
  const engine = await openEngine(request.choices.engine, { provider: request.choices.provider, precision: request.choices.precision });
  const split = splitRecordings(set.recordings, request.split, { window: WINDOW, rateHz: request.rateHz });
  const read = (pieces: readonly Piece[]) => readPieces(set, pieces, request.channels, request.rateHz);
  // One call, so that all sides are held to one rate and one set of channels.
  const all = await read([...split.train, ...split.validation, ...split.test]);
  const held = split.train.length + split.validation.length;
  const recordings = { train: all.slice(0, split.train.length), validation: all.slice(split.train.length, held), test: all.slice(held) };
  const classes = classesOf(all.slice(0, held));
  if (classes.length < 2) throw new Refusal('data/classes', `${set.name} has one class only (${classes}); a network needs two`);
  const cut = (side: readonly Recording[]) => cutWindows(side, classes, WINDOW, STRIDE);
  const windows = { train: cut(recordings.train), validation: cut(recordings.validation), test: cut(recordings.test) };
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
    dataKey: await hashData(set, request, split),
    read,
  };
}

/** What the files are, not where: content where it is known, size and time elsewhere. */
async function hashData(set: RecordingSet, { channels, rateHz }: PipelineRequest, { train, validation, test }: Split): Promise<string> {
  const described = async ({ entry, range }: Piece) => {
    const { size, mtimeMs } = await stat(pathOf(set, entry));
    return [entry, range ?? null, size, mtimeMs];
  };
  const sides = await Promise.all([train, validation, test].map((side) => Promise.all(side.map(described))));
  return createHash('sha256')
    .update(JSON.stringify([sides, channels ?? null, rateHz ?? null, WINDOW, STRIDE]))
    .digest('hex');
}
