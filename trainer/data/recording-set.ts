import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../refusal.ts';
import { globToRegExp } from './relabel.ts';

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
  const parsed = setSchema.safeParse(raw);
  if (!parsed.success) {
    const mistakes = parsed.error.issues.slice(0, 5).map(({ path: at, message }) => `${at.join('.')}: ${message}`);
    throw new Refusal('data/set', `${path}: ${mistakes.join('; ')}`);
  }
  checkEntries(path, parsed.data.recordings);
  return { name: parsed.data.name, folder, recordings: parsed.data.recordings };
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

/** Samples of one recording in physical units, row-major [samples, channels]. */
export interface Recording {
  readonly entry: RecordingEntry;
  readonly label: string | null;
  readonly channels: readonly string[];
  readonly sampleRateHz: number;
  readonly samples: Float32Array;
  readonly length: number;
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

/** Bytes read at a time; a multiple of every row width (at most 16 channels of 4 bytes) times whatever fits. */
const PIECE_BYTES = 1 << 20;

/**
 * Reads a recording, or some of its channels, or a piece of it. Only the chosen samples are ever held, so a set larger than memory can
 * be read by pieces.
 *
 * @param wanted channel names; all of them where absent
 * @param range the whole recording where absent; `length` of the result is that of the range
 * @throws Refusal data/file, data/channels, data/not-finite; RangeError where the range is not within the recording
 */
export async function readRecording(
  set: RecordingSet,
  entry: RecordingEntry,
  wanted?: readonly string[],
  range: SampleRange = { start: 0, length: entry.n_samples },
): Promise<Recording> {
  const path = pathOf(set, entry);
  const names = channelNames(entry);
  const chosen = (wanted ?? names).map((name) => names.indexOf(name));
  const missing = wanted?.filter((_, index) => chosen[index] < 0);
  if (missing?.length) throw new Refusal('data/channels', `${entry.file} has no channel ${missing.join(', ')}; it has ${names.join(', ')}`);
  if (range.start < 0 || range.length < 0 || range.start + range.length > entry.n_samples) {
    throw new RangeError(`samples ${range.start} to ${range.start + range.length} of ${entry.file}, which has ${entry.n_samples}`);
  }
  const samples = new Float32Array(range.length * chosen.length);
  const rowBytes = entry.n_channels * (entry.dtype === 'int16' ? 2 : 4);
  const rowsAtOnce = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  let file: FileHandle | undefined;
  try {
    file = await open(path);
    const { size } = await file.stat();
    if (size !== entry.n_samples * rowBytes || entry.n_samples === 0) throw wrongSize(path, size, entry.n_samples * rowBytes);
    const bytes = new Uint8Array(Math.min(range.length, rowsAtOnce) * rowBytes);
    for (let done = 0; done < range.length; done += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, range.length - done);
      const { bytesRead } = await file.read(bytes, 0, rows * rowBytes, (range.start + done) * rowBytes);
      if (bytesRead !== rows * rowBytes) throw wrongSize(path, (range.start + done) * rowBytes + bytesRead, size);
      const stored = entry.dtype === 'int16' ? new Int16Array(bytes.buffer) : new Float32Array(bytes.buffer);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < chosen.length; column++) {
          const channel = chosen[column];
          const value = stored[row * entry.n_channels + channel] * (entry.scale?.[channel] ?? 1);
          if (!Number.isFinite(value)) {
            const at = range.start + done + row;
            throw new Refusal('data/not-finite', `${path} holds ${value} at sample ${at}, channel ${names[channel]}`);
          }
          samples[(done + row) * chosen.length + column] = value;
        }
      }
    }
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal('data/file', `${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? cause})`, { cause });
  } finally {
    await file?.close();
  }
  const channels = chosen.map((index) => names[index]);
  return { entry, label: entry.label, channels, sampleRateHz: entry.sample_rate_hz, samples, length: range.length };
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

function wrongSize(path: string, bytes: number, expected: number): Refusal {
  return new Refusal('data/file', `${path} has ${bytes} bytes where dataset.json promises ${expected}; import the recording again`);
}
