import { readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import * as z from 'zod';
import { check, mistakesLine } from '../../models/checks/mistakes.ts';
import { Refusal } from '../refusal.ts';
import { pagedReader, type ReadSamples } from './pages.ts';
import { globToRegExp } from './relabel.ts';
import { SampleFile } from './sample-file.ts';

const recordingSchema = z
  .object({
    file: z.string().min(1),
    label: z.string().min(1).nullable(),
    n_samples: z.number().int().nonnegative(),
    n_channels: z.number().int().positive().max(16),
    channels: z.array(z.string()).optional(),
    dtype: z.enum(['int16', 'float32']),
    scale: z.array(z.number()).optional(),
    sample_rate_hz: z.number().positive(),
  })
  .loose();

const setSchema = z.object({ name: z.string().min(1), recordings: z.array(recordingSchema) }).loose();

/** What the format itself says of a recording; all other fields are conditions. */
export const FORMAT_FIELDS = [
  'file',
  'label',
  'n_samples',
  'n_channels',
  'channels',
  'dtype',
  'scale',
  'unit',
  'sample_rate_hz',
  'rms',
  'sha256',
  'source_file',
  'source_sha256',
] as const;

/** One recording's entry: the fields of the format, and the set's own conditions beside them. */
export type RecordingEntry = z.infer<typeof recordingSchema>;

export interface RecordingSet {
  readonly name: string;
  readonly folder: string;
  readonly recordings: readonly RecordingEntry[];
}

/** Mistakes of a dataset.json that a refusal names: a program writes them, and the same one for each recording. */
const NAMED_MISTAKES = 5;

/** Reads dataset.json of a recording set. @throws Refusal data/set */
export async function openRecordingSet(folder: string): Promise<RecordingSet> {
  const path = join(folder, 'dataset.json');
  let raw: unknown;
  try {
    raw = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    const why = cause instanceof SyntaxError ? 'is not JSON' : `cannot be read (${(cause as NodeJS.ErrnoException).code})`;
    throw new Refusal('data/set', `${path} ${why}; name the folder of a recording set`, { cause });
  }
  const checked = check(setSchema, raw);
  if ('mistakes' in checked) {
    const more = checked.mistakes.length - NAMED_MISTAKES;
    const line = mistakesLine(checked.mistakes.slice(0, NAMED_MISTAKES), 'top level');
    throw new Refusal('data/set', `${path}: ${line}${more > 0 ? `; and ${more} more` : ''}`);
  }
  const { name, recordings } = checked.data;
  checkEntries(path, recordings);
  return { name, folder, recordings };
}

/** What a schema of single fields cannot say. @throws Refusal data/set */
function checkEntries(path: string, recordings: readonly RecordingEntry[]): void {
  const seen = new Set<string>();
  for (const { file, n_channels, channels, scale } of recordings) {
    const refuse = (what: string) => new Refusal('data/set', `${path}: ${file} ${what}`);
    if (seen.has(file)) throw refuse('is listed twice');
    seen.add(file);
    if (channels && channels.length !== n_channels) throw refuse(`names ${channels.length} channels and has ${n_channels}`);
    if (channels && new Set(channels).size !== channels.length) throw refuse('has two channels of one name');
    if (scale && scale.length !== n_channels) throw refuse(`has ${scale.length} scales for ${n_channels} channels`);
  }
}

/** A condition on recordings: the field `key` has one of `values`, in which `*` is any run of characters and `?` any one. */
export interface Condition {
  readonly key: string;
  readonly values: readonly string[];
}

/** `key=value[,value]`. @throws Refusal usage/condition */
export function parseCondition(text: string): Condition {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1)
    throw new Refusal('usage/condition', `"${text}" is not a condition; write key=value or key=value,value`);
  return { key: text.slice(0, at), values: text.slice(at + 1).split(',') };
}

export function satisfies(recording: RecordingEntry, { key, values }: Condition): boolean {
  const value = String(recording[key]);
  return values.some((one) => one === value || (/[*?]/.test(one) && globToRegExp(one).test(value)));
}

/** Values that a refusal names. */
const NAMED_VALUES = 8;

/** @param among the recordings that satisfy the conditions before it */
function nothingLeft(
  set: RecordingSet,
  among: readonly RecordingEntry[],
  { key, values }: Condition,
  before: readonly Condition[],
): Refusal {
  const found = [...new Set(among.flatMap((recording) => (key in recording ? [String(recording[key])] : [])))].sort();
  const more = found.length > NAMED_VALUES ? `, and ${found.length - NAMED_VALUES} more` : '';
  const said = before.map((one) => `${one.key}=${one.values}`).join(' and ');
  const there = found.length === 0 ? `they have no field ${key}` : `${key} is ${found.slice(0, NAMED_VALUES).join(', ')}${more}`;
  return new Refusal('data/empty', `no recording of ${set.name} satisfies ${key}=${values}${said && ` where ${said}`}; ${there}`);
}

/** The recordings that satisfy all conditions. @throws Refusal data/empty where none does */
export function select(set: RecordingSet, conditions: readonly Condition[]): RecordingSet {
  for (const { key } of conditions) {
    if (!set.recordings.some((recording) => key in recording)) {
      throw new Refusal('data/condition', `no recording of ${set.name} has a field ${key}; data info lists the fields`);
    }
  }
  let { recordings } = set;
  for (const [index, condition] of conditions.entries()) {
    const left = recordings.filter((recording) => satisfies(recording, condition));
    if (left.length === 0) throw nothingLeft(set, recordings, condition, conditions.slice(0, index));
    recordings = left;
  }
  return { ...set, recordings };
}

/** One recording, whose samples are read by windows. */
export interface Recording {
  readonly entry: RecordingEntry;
  readonly label: string | null;
  readonly channels: readonly string[];
  readonly sampleRateHz: number;
  /** Samples. */
  readonly length: number;
  /** Some samples in physical units, row-major [length, channels]; throws what `readRecording` throws where the file is no longer what it was. */
  readonly read: ReadSamples;
  /** Which machine it is of, and the healthy recordings that all machines' references are made of; where references are used. */
  readonly commissioning?: {
    /** From 1 on. */
    readonly machine: number;
    readonly references: readonly { readonly recording: Recording; readonly machine: number }[];
  };
}

/** A piece of a recording, in samples. */
export interface SampleRange {
  readonly start: number;
  readonly length: number;
}

/** Values read between two turns of the event loop while a recording is looked through. */
const STRETCH_VALUES = 1 << 17;

/** A recording whose samples are there. samples: row-major [length, channels] */
export function heldRecording(rest: Omit<Recording, 'read' | 'length'>, samples: Float32Array): Recording {
  const width = rest.channels.length;
  return {
    ...rest,
    length: samples.length / width,
    read: (start, length) => samples.subarray(start * width, (start + length) * width),
  };
}

/**
 * A recording, or some of its channels, or a piece of it. Its samples stay in the file and are read by windows; of what was read last, all recordings
 * together hold no more than a fixed budget.
 *
 * @param wanted channel names; all of them where absent
 * @param range the whole recording where absent; `length` of the result is that of the range
 * @param mayLackNumbers lets what is no finite number pass; otherwise the range is looked through before anything is made of it
 * @throws Refusal data/file, data/channels, data/not-finite; RangeError where the range is not within the recording
 */
export async function readRecording(
  set: RecordingSet,
  entry: RecordingEntry,
  wanted?: readonly string[],
  range: SampleRange = { start: 0, length: entry.n_samples },
  { mayLackNumbers = false } = {},
): Promise<Recording> {
  const names = channelNames(entry);
  const missing = wanted?.filter((name) => !names.includes(name));
  if (missing?.length) throw new Refusal('data/channels', `${entry.file} has no channel ${missing.join(', ')}; it has ${names.join(', ')}`);
  if (range.start < 0 || range.length < 0 || range.start + range.length > entry.n_samples) {
    throw new RangeError(`samples ${range.start} to ${range.start + range.length} of ${entry.file}, which has ${entry.n_samples}`);
  }
  const channels = wanted ?? names;
  const columns = channels.map((name) => ({ name, index: names.indexOf(name) }));
  const file = new SampleFile(pathOf(set, entry), entry, columns, mayLackNumbers);
  // Even where nothing is looked through: a file of another size is refused at once.
  file.read(range.start, 0);
  const read = pagedReader([range.length, channels.length], (start, length) => file.read(range.start + start, length));
  if (!mayLackNumbers) {
    const stretch = Math.floor(STRETCH_VALUES / names.length);
    for (let start = 0; start < range.length; start += stretch) {
      read(start, Math.min(stretch, range.length - start));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return { entry, label: entry.label, channels, sampleRateHz: entry.sample_rate_hz, length: range.length, read };
}

/** Names of an entry's channels; `ch0`, `ch1` ... where it has none. */
export function channelNames(entry: RecordingEntry): readonly string[] {
  return entry.channels ?? Array.from({ length: entry.n_channels }, (_, index) => `ch${index}`);
}

/** Where an entry's samples lie. @throws Refusal data/file where that is outside the set's folder */
export function pathOf(set: RecordingSet, entry: Pick<RecordingEntry, 'file'>): string {
  const path = resolve(set.folder, entry.file);
  if (relative(resolve(set.folder), path).startsWith('..')) throw new Refusal('data/file', `${entry.file} lies outside ${set.folder}`);
  return path;
}
