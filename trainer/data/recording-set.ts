import { readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../refusal.ts';

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
  return { name: parsed.data.name, folder, recordings: parsed.data.recordings };
}

/** A condition on recordings: the field `key` has one of `values`. */
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
  return values.includes(String(recording[key]));
}

/** The recordings that satisfy all conditions. @throws Refusal data/empty where none does */
export function select(set: RecordingSet, conditions: readonly Condition[]): RecordingSet {
  for (const { key } of conditions) {
    if (!set.recordings.some((recording) => key in recording)) {
      throw new Refusal('data/condition', `no recording of ${set.name} has a field ${key}; data info lists the fields`);
    }
  }
  const recordings = set.recordings.filter((recording) => conditions.every((condition) => satisfies(recording, condition)));
  if (recordings.length === 0)
    throw new Refusal(
      'data/empty',
      `no recording of ${set.name} satisfies ${conditions.map(({ key, values }) => `${key}=${values}`).join(' and ')}`,
    );
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
}

/**
 * Reads a recording, or some of its channels.
 *
 * @param wanted channel names; all of them where absent
 * @throws Refusal data/file, data/channels, data/not-finite
 */
export async function readRecording(set: RecordingSet, entry: RecordingEntry, wanted?: readonly string[]): Promise<Recording> {
  const path = resolve(set.folder, entry.file);
  if (relative(resolve(set.folder), path).startsWith('..')) throw new Refusal('data/file', `${entry.file} lies outside ${set.folder}`);
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new Refusal('data/file', `${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
  const names = entry.channels ?? Array.from({ length: entry.n_channels }, (_, index) => `ch${index}`);
  const chosen = (wanted ?? names).map((name) => names.indexOf(name));
  const missing = wanted?.filter((_, index) => chosen[index] < 0);
  if (missing?.length) throw new Refusal('data/channels', `${entry.file} has no channel ${missing.join(', ')}; it has ${names.join(', ')}`);
  const width = entry.dtype === 'int16' ? 2 : 4;
  const expected = entry.n_samples * entry.n_channels * width;
  if (bytes.length !== expected || entry.n_samples === 0) {
    throw new Refusal('data/file', `${path} has ${bytes.length} bytes where dataset.json promises ${expected}; import the recording again`);
  }
  const aligned = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const stored = entry.dtype === 'int16' ? new Int16Array(aligned) : new Float32Array(aligned);
  const samples = new Float32Array(entry.n_samples * chosen.length);
  for (let row = 0; row < entry.n_samples; row++) {
    for (let column = 0; column < chosen.length; column++) {
      const channel = chosen[column];
      const value = stored[row * entry.n_channels + channel] * (entry.scale?.[channel] ?? 1);
      if (!Number.isFinite(value))
        throw new Refusal('data/not-finite', `${path} holds ${value} at sample ${row}, channel ${names[channel]}`);
      samples[row * chosen.length + column] = value;
    }
  }
  const channels = chosen.map((index) => names[index]);
  return { entry, label: entry.label, channels, sampleRateHz: entry.sample_rate_hz, samples, length: entry.n_samples };
}
