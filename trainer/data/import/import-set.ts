import { realpath, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { VERSION } from '../../../runtime/version.ts';
import { Refusal } from '../../refusal.ts';
import { globToRegExp } from '../relabel.ts';
import { openCsv } from './csv.ts';
import type { FileRules, Mapping } from './mapping.ts';
import { openMatlab } from './matlab.ts';
import { openParquet } from './parquet.ts';
import { byNumber, type LeftOut, type PlannedFile, planImport } from './plan.ts';
import { type ChannelSource, sha256OfFile, writeRecording } from './recording-file.ts';
import { isWithin, writeSetFolder } from './replace-folder.ts';
import type { SourceTable } from './table.ts';
import { openWav } from './wav.ts';

/** What the format allows (recording-set.ts). */
const LARGEST_CHANNELS = 16;
const LAYOUT =
  'each file: raw little-endian, interleaved [n_samples, n_channels]; value = stored * scale[channel] (int16) or stored (float32)';

export interface ImportOptions {
  /** Keeps recordings of different rates or channels in one set, each with its own. */
  readonly mixed?: boolean;
  /** Leaves out files that cannot be imported, each with the reason, instead of refusing them all. */
  readonly skipBad?: boolean;
  /** Writes over a recording set that is there. */
  readonly replace?: boolean;
  /** Told of every file that is done: share of all bytes, 0 to 1. */
  readonly onProgress?: (share: number, file: string) => void;
}

export interface ImportedSet {
  readonly name: string;
  readonly folder: string;
  readonly recordings: number;
  /** By label; `null` stands for recordings without one. */
  readonly classes: Readonly<Record<string, { readonly recordings: number; readonly seconds: number }>>;
  readonly sampleRateHz: readonly number[];
  /** Different lists of channels. */
  readonly channels: readonly (readonly string[])[];
  readonly bytes: number;
  /** Files that are not in the set, with the reason. */
  readonly leftOut: readonly LeftOut[];
  /** Columns that are in no recording, with the number of files in which they were found. */
  readonly unusedColumns: Readonly<Record<string, number>>;
}

/** Where a column of one name comes from. */
interface ChannelRule {
  readonly name: string;
  readonly glob: RegExp;
}

function channelRules(channels: FileRules['channels']): ChannelRule[] | undefined {
  if (channels === undefined) return undefined;
  const named = Array.isArray(channels) ? channels.map((name) => [name, name] as const) : Object.entries(channels);
  return named.map(([name, glob]) => ({ name, glob: globToRegExp(glob) }));
}

async function openTable({ path, bytes, format, rules }: PlannedFile): Promise<SourceTable> {
  if (bytes === 0) throw new Refusal('import/empty-file', `${path} is empty (0 bytes); remove it, or leave it out with --skip-bad`);
  if (format === 'wav') return openWav(path, bytes);
  if (format === 'parquet') return openParquet(path);
  if (format === 'csv') return openCsv(path, bytes, rules.csv);
  return openMatlab(
    path,
    bytes,
    channelRules(rules.channels)?.map(({ glob }) => glob),
  );
}

/** The columns that become channels. @throws Refusal import/channels */
function chooseChannels({ path, rules }: PlannedFile, table: SourceTable): ChannelSource[] {
  const names = table.columns.map(({ name }) => name);
  const there = names.map((name) => name || '(nameless)').join(', ');
  const refuse = (why: string) => new Refusal('import/channels', `${path} ${why}; its columns are ${there}`);
  const wanted = channelRules(rules.channels);
  const chosen = wanted
    ? wanted.map(({ name, glob }) => {
        const matching = names.flatMap((column, index) => (glob.test(column) ? [index] : []));
        if (matching.length !== 1) throw refuse(`has ${matching.length} columns for channel ${name}`);
        if (table.columns[matching[0]].kind === 'text') throw refuse(`has no numbers in column ${names[matching[0]]}`);
        return { name, column: matching[0] };
      })
    : table.columns.flatMap(({ name, kind }, column) => (kind === 'channel' ? [{ name, column }] : []));
  if (chosen.length === 0) throw refuse('has no column that could be a channel');
  if (chosen.length > LARGEST_CHANNELS) {
    throw refuse(`has ${chosen.length} channels where ${LARGEST_CHANNELS} are possible; choose with --channels`);
  }
  const { scale = 1 } = rules;
  if (typeof scale === 'object') {
    const unknown = Object.keys(scale).filter((key) => !chosen.some(({ name }) => name === key));
    if (unknown.length > 0) throw refuse(`has no channel ${unknown.join(', ')} to scale`);
  }
  return chosen.map(({ name, column }) => ({ name, column, factor: typeof scale === 'object' ? (scale[name] ?? 1) : scale }));
}

/** Conditions that are single numbers in the file. @throws Refusal import/condition */
function scalarConditions({ path, rules }: PlannedFile, { scalars = {} }: SourceTable): Record<string, number> {
  return Object.fromEntries(
    Object.entries(rules.conditions ?? {}).flatMap(([key, value]) => {
      if (typeof value !== 'object') return [];
      const glob = globToRegExp(value.scalar);
      const matching = Object.keys(scalars).filter((name) => glob.test(name));
      if (matching.length === 1) return [[key, scalars[matching[0]]]];
      const there = Object.keys(scalars).join(', ') || 'none';
      throw new Refusal('import/condition', `${path} has ${matching.length} single numbers for condition ${key}; it has ${there}`);
    }),
  );
}

/** Characters that every file system takes, and no folder of its own. */
function safeName(name: string): string {
  const stem = name.replace(/\.[^./]*$/, '').replace(/[^A-Za-z0-9._-]+/g, '_');
  return stem.slice(-64);
}

/** int16 where the source is made of 16-bit numbers, float32 elsewhere, if nothing else is asked for. */
function storageOf({ int16Step }: SourceTable, asked: Mapping['dtype']): 'int16' | 'float32' {
  return asked ?? (int16Step === undefined ? 'float32' : 'int16');
}

type Entry = Record<string, unknown> & {
  readonly file: string;
  readonly source_file: string;
  readonly label: string | null;
  readonly channels: readonly string[];
  readonly sample_rate_hz: number;
  readonly n_samples: number;
  readonly n_channels: number;
  readonly dtype: 'int16' | 'float32';
};

interface Written {
  readonly entry: Entry;
  readonly unused: readonly string[];
}

async function importFile(
  planned: PlannedFile,
  index: number,
  folder: string,
  { dtype, unit }: Mapping,
  signal?: AbortSignal,
): Promise<Written> {
  const { path, name, label, rules, conditions } = planned;
  const table = await openTable(planned);
  if (rules.rate !== undefined && table.sampleRateHz !== undefined && rules.rate !== table.sampleRateHz) {
    throw new Refusal(
      'import/rate',
      `${path} says ${table.sampleRateHz} Hz and the rate given is ${rules.rate}; leave it out, and resample when training with --rate`,
    );
  }
  const channels = chooseChannels(planned, table);
  const stated = table.sampleRateHz ?? rules.rate;
  const time = stated === undefined ? table.columns.findIndex(({ kind }) => kind === 'time') : -1;
  if (stated === undefined && time < 0) {
    throw new Refusal('import/rate', `${path} does not say its sample rate and has no column of times; say --rate HZ`);
  }
  const extension = storageOf(table, dtype) === 'int16' ? 'i16' : 'f32';
  const file = `rec/${String(index + 1).padStart(5, '0')}_${safeName(name)}.${extension}`;
  const options = { source: path, dtype: storageOf(table, dtype), ...(time >= 0 && { time }) };
  const written = await writeRecording(join(folder, file), table, channels, options, signal);
  const taken = new Set([...channels.map(({ column }) => column), time]);
  const unused = table.columns.flatMap((column, at) => (taken.has(at) ? [] : [`${column.name || '(nameless)'} (${column.kind})`]));
  const entry = {
    file,
    label,
    n_samples: written.samples,
    n_channels: channels.length,
    channels: channels.map((channel) => channel.name),
    dtype: written.dtype,
    ...(written.scale && { scale: written.scale }),
    sample_rate_hz: stated ?? written.timeRateHz!,
    ...conditions,
    ...scalarConditions(planned, table),
    ...(rules.unit !== undefined && rules.unit !== unit && { unit: rules.unit }),
    rms: written.rms,
    sha256: written.sha256,
    source_file: name,
    source_sha256: await sha256OfFile(path),
  };
  return { entry, unused: [...unused, ...(table.leftOut ?? [])] };
}

/** @throws Refusal data/mixed */
function refuseMixed(first: Entry, other: Entry, mapping: Mapping): void {
  const described = ({ source_file, channels, sample_rate_hz }: Entry) =>
    `${source_file} has ${channels.join(', ')} at ${sample_rate_hz} Hz`;
  if (first.sample_rate_hz === other.sample_rate_hz && first.channels.join('\n') === other.channels.join('\n')) return;
  const hint = mapping.channels ? '' : ' choose with --channels, or';
  throw new Refusal('data/mixed', `${described(first)}, ${described(other)};${hint} keep both with --mixed (train resamples with --rate)`);
}

/**
 * Turns CSV, WAV, Parquet and MATLAB v5 files into a recording set, one recording a file. The set appears all at once, when everything is
 * written; the same source and mapping give the same bytes. Nothing larger than a block of rows is held (Parquet: a row group, MATLAB: a
 * file's matrices, both at most 1 GiB).
 *
 * @param source a file, or a folder that is searched at all depths, in the order of its numbers
 * @param folder the recording set to write; must lie outside of the source
 * @throws Refusal import/... and data/mixed; nothing is written then
 */
export async function importRecordings(
  source: string,
  folder: string,
  mapping: Mapping,
  { mixed = false, skipBad = false, replace = false, onProgress }: ImportOptions = {},
  signal?: AbortSignal,
): Promise<ImportedSet> {
  const plan = await planImport(source, mapping);
  const out = resolve(folder);
  const real = await realpath(source);
  if (isWithin(out, real) || isWithin(real, out) || isWithin(out, source) || isWithin(source, out)) {
    throw new Refusal('import/out', `${folder} and the source ${source} lie one in the other; name another folder with --out`);
  }
  const leftOut = [...plan.leftOut];
  const unusedColumns: Record<string, number> = {};
  const entries: Entry[] = [];
  const total = plan.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const name = mapping.name ?? basename(out);
  await writeSetFolder(out, replace, async (fresh) => {
    let done = 0;
    for (const [index, planned] of plan.files.entries()) {
      signal?.throwIfAborted();
      const written = await importFile(planned, index, fresh, mapping, signal).catch((cause) => {
        if (!skipBad || !(cause instanceof Refusal) || signal?.aborted) throw cause;
        leftOut.push({ file: planned.name, reason: `${cause.code}: ${cause.message}` });
        return undefined;
      });
      if (written) {
        if (!mixed && entries.length > 0) refuseMixed(entries[0], written.entry, mapping);
        entries.push(written.entry);
        for (const column of written.unused) unusedColumns[column] = (unusedColumns[column] ?? 0) + 1;
      }
      done += planned.bytes;
      onProgress?.(total > 0 ? done / total : 1, planned.name);
    }
    if (entries.length === 0) throw new Refusal('import/empty', `no file of ${source} could be imported; the first: ${leftOut[0].reason}`);
    const from = basename(resolve(source));
    await writeFile(join(fresh, 'dataset.json'), `${JSON.stringify(documentOf(name, from, mapping, entries, leftOut), undefined, 1)}\n`);
  });
  return { name, folder: out, ...summaryOf(entries), leftOut, unusedColumns };
}

/** The text of dataset.json. It tells neither time nor absolute path, so that one source gives one set. */
function documentOf(name: string, from: string, mapping: Mapping, entries: readonly Entry[], leftOut: readonly LeftOut[]) {
  const { title, source, license, citation, unit, notes } = mapping;
  const { sampleRateHz, channels, classes } = summaryOf(entries);
  return {
    name,
    ...(title && { title }),
    source: source ?? from,
    ...(license && { license }),
    ...(citation && { citation }),
    ...(notes && { notes }),
    ...(unit && { unit }),
    ...(sampleRateHz.length === 1 && { sample_rate_hz: sampleRateHz[0] }),
    ...(channels.length === 1 && { channels: channels[0] }),
    classes: Object.keys(classes).filter((label) => label !== 'null'),
    layout: LAYOUT,
    n_recordings: entries.length,
    imported: { by: `tremolo ${VERSION}`, from },
    ...(leftOut.length > 0 && { left_out: leftOut }),
    recordings: entries,
  };
}

function summaryOf(entries: readonly Entry[]): Pick<ImportedSet, 'recordings' | 'classes' | 'sampleRateHz' | 'channels' | 'bytes'> {
  const labels = [...new Set(entries.map(({ label }) => String(label)))].sort((a, b) =>
    a === 'normal' ? -1 : b === 'normal' ? 1 : byNumber(a, b),
  );
  const classes = labels.map((name) => {
    const own = entries.filter(({ label }) => String(label) === name);
    return [
      name,
      { recordings: own.length, seconds: own.reduce((sum, entry) => sum + entry.n_samples / entry.sample_rate_hz, 0) },
    ] as const;
  });
  return {
    recordings: entries.length,
    classes: Object.fromEntries(classes),
    sampleRateHz: [...new Set(entries.map((entry) => entry.sample_rate_hz))].sort((a, b) => a - b),
    channels: [...new Map(entries.map(({ channels }) => [channels.join('\n'), channels])).values()],
    bytes: entries.reduce((sum, entry) => sum + entry.n_samples * entry.n_channels * (entry.dtype === 'int16' ? 2 : 4), 0),
  };
}
