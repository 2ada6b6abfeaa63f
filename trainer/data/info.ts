import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { sparkline } from '../demo/view.ts';
import { FourierTransform, nextPowerOfTwo } from '../evaluate/fourier.ts';
import { Refusal } from '../refusal.ts';
import { channelNames, FORMAT_FIELDS, pathOf, type RecordingEntry, type RecordingSet, readRecording } from './recording-set.ts';

/** Samples that a waveform shows: one window. */
const WAVE_SAMPLES = 512;
/** Samples from the middle of a recording that a spectrum is taken of, and the length of its pieces (Welch 1967, Hann, half overlapped). */
const SPECTRUM_SAMPLES = 8192;
const SEGMENT = 512;
/** Below the strongest line by so much a column of the spectrum is at its lowest. */
const SPECTRUM_DB = 60;
const COLUMNS = 32;
/** Conditions with more values are told by their range. */
const MOST_VALUES = 12;

/** Fields of an entry that are no conditions. */
const NO_CONDITIONS: ReadonlySet<string> = new Set([...FORMAT_FIELDS, 'note', 'notes']);

export interface ClassInfo {
  /** null: recordings without a label. */
  readonly label: string | null;
  readonly recordings: number;
  readonly seconds: number;
  /** Root mean square of the pictured channel over the class, in the set's unit. */
  readonly rms: number | null;
  /** Of the recording whose loudness is the class's median; null where no recording of the class could be read. */
  readonly picture: ClassPicture | null;
}

export interface ClassPicture {
  readonly file: string;
  readonly channel: string;
  /** A window from the middle as block characters, its mean taken off, scaled to its own largest value. */
  readonly waveform: string;
  /** Power from 0 to half the rate as block characters, in decibels, 60 dB from lowest to highest. */
  readonly spectrum: string;
}

export interface ConditionInfo {
  readonly key: string;
  /** How many recordings have the field. */
  readonly recordings: number;
  readonly values: readonly { readonly value: string; readonly recordings: number; readonly missingClasses: readonly string[] }[];
}

/** What is in a recording set. */
export interface SetInfo {
  readonly name: string;
  readonly folder: string;
  readonly recordings: number;
  readonly seconds: number;
  readonly classes: readonly ClassInfo[];
  readonly rates: readonly { readonly sampleRateHz: number; readonly recordings: number }[];
  readonly channels: readonly { readonly channels: readonly string[]; readonly recordings: number }[];
  readonly conditions: readonly ConditionInfo[];
  /** Files that are not what dataset.json says. */
  readonly problems: readonly { readonly file: string; readonly problem: string }[];
}

function countBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const name = key(item);
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return groups;
}

const secondsOf = (entries: readonly RecordingEntry[]) => entries.reduce((sum, entry) => sum + entry.n_samples / entry.sample_rate_hz, 0);

const byValue = new Intl.Collator('en', { numeric: true }).compare;

/** Recordings by label: `normal` first, then by name, those without a label last. */
function classGroups(entries: readonly RecordingEntry[]): [string | null, RecordingEntry[]][] {
  const rank = (label: string | null) => (label === null ? 2 : label === 'normal' ? 0 : 1);
  return [...countBy(entries, ({ label }) => JSON.stringify(label))]
    .map(([name, group]): [string | null, RecordingEntry[]] => [JSON.parse(name) as string | null, group])
    .sort(([a], [b]) => rank(a) - rank(b) || byValue(a ?? '', b ?? ''));
}

function conditionsOf(entries: readonly RecordingEntry[], classes: readonly string[]): ConditionInfo[] {
  const keys = [...new Set(entries.flatMap((entry) => Object.keys(entry)))].filter((key) => !NO_CONDITIONS.has(key));
  return keys.flatMap((key) => {
    const having = entries.filter((entry) => ['string', 'number', 'boolean'].includes(typeof entry[key]));
    const groups = [...countBy(having, (entry) => String(entry[key]))].sort(([a], [b]) => byValue(a, b));
    if (groups.length === 0 || (groups.length > MOST_VALUES && groups.length === entries.length && typeof having[0][key] === 'string'))
      return [];
    const values = groups.map(([value, group]) => {
      const present = new Set(group.map(({ label }) => label));
      return { value, recordings: group.length, missingClasses: classes.filter((label) => !present.has(label)) };
    });
    return [{ key, recordings: having.length, values }];
  });
}

/** The value farthest from the mean in each of so many stretches: a short knock stays visible. */
function extremes(samples: Float32Array, columns: number): number[] {
  const mean = samples.reduce((sum, value) => sum + value, 0) / Math.max(1, samples.length);
  return Array.from({ length: Math.min(columns, samples.length) }, (_, column) => {
    const stretch = samples.subarray(
      Math.floor((column * samples.length) / columns),
      Math.max(1, Math.floor(((column + 1) * samples.length) / columns)),
    );
    return stretch.reduce((farthest, value) => (Math.abs(value - mean) > Math.abs(farthest) ? value - mean : farthest), 0);
  });
}

/** Power by frequency from 0 to half the rate in `columns` equal bands, the strongest line of each, from -1 (60 dB down) to 1 (strongest). */
function spectrumLevels(samples: Float32Array, columns: number): number[] {
  const size = Math.min(SEGMENT, nextPowerOfTwo(samples.length + 1) / 2);
  if (size < 2 * columns) return [];
  const transform = new FourierTransform(size);
  const power = new Float64Array(size / 2);
  const [re, im] = [new Float64Array(size), new Float64Array(size)];
  for (let start = 0; start + size <= samples.length; start += size / 2) {
    const segment = samples.subarray(start, start + size);
    const mean = segment.reduce((sum, value) => sum + value, 0) / size;
    for (let at = 0; at < size; at++) re[at] = (segment[at] - mean) * (0.5 - 0.5 * Math.cos((2 * Math.PI * at) / size));
    im.fill(0);
    transform.forward(re, im);
    for (let line = 0; line < power.length; line++) power[line] += re[line] ** 2 + im[line] ** 2;
  }
  const bands = Array.from({ length: columns }, (_, column) => {
    const from = Math.floor((column * power.length) / columns);
    return Math.max(...power.subarray(from, Math.max(from + 1, Math.floor(((column + 1) * power.length) / columns))));
  });
  const strongest = Math.max(...bands);
  if (!(strongest > 0)) return [];
  return bands.map((band) => Math.max(-1, 1 + (2 * 10 * Math.log10(band / strongest)) / SPECTRUM_DB));
}

/** The middle of a recording, at most so many samples, within one snapshot where it consists of snapshots. */
function middle({ n_samples: total, snapshot_len: snapshot }: RecordingEntry, wanted: number): { start: number; length: number } {
  const unit = typeof snapshot === 'number' && snapshot > 0 && snapshot < total ? snapshot : total;
  const length = Math.min(wanted, unit);
  return { start: unit < total ? Math.floor(total / 2 / unit) * unit : Math.floor((total - length) / 2), length };
}

async function pictureOf(set: RecordingSet, entry: RecordingEntry, channel: string): Promise<ClassPicture> {
  const { read, length } = await readRecording(set, entry, [channel], middle(entry, SPECTRUM_SAMPLES));
  const samples = read(0, length);
  const from = Math.max(0, Math.floor((samples.length - WAVE_SAMPLES) / 2));
  const waveform = sparkline(extremes(samples.subarray(from, from + WAVE_SAMPLES), COLUMNS), COLUMNS);
  return { file: entry.file, channel, waveform, spectrum: sparkline(spectrumLevels(samples, COLUMNS), COLUMNS) };
}

/** What is wrong with a recording's file; undefined where it is as promised. */
async function problemOf(set: RecordingSet, entry: RecordingEntry, verify: boolean): Promise<string | undefined> {
  const path = pathOf(set, entry);
  const expected = entry.n_samples * entry.n_channels * (entry.dtype === 'int16' ? 2 : 4);
  const size = await stat(path).then(
    (found) => found.size,
    (cause: NodeJS.ErrnoException) => cause.code,
  );
  if (typeof size !== 'number') return `cannot be read (${size})`;
  if (size !== expected || size === 0) return `has ${size} bytes where dataset.json promises ${expected}`;
  if (!verify || typeof entry.sha256 !== 'string') return undefined;
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex') === entry.sha256 ? undefined : 'is not the file that was recorded: its sha256 differs';
}

function rmsOf(entry: RecordingEntry, channel: string): number | undefined {
  const values = entry.rms;
  const value: unknown = Array.isArray(values) ? values[channelNames(entry).indexOf(channel)] : undefined;
  return typeof value === 'number' ? value : undefined;
}

async function classInfo(
  set: RecordingSet,
  label: string | null,
  entries: readonly RecordingEntry[],
  channel: string,
  broken: Map<string, string>,
): Promise<ClassInfo> {
  const known = entries.flatMap((entry) => {
    const rms = rmsOf(entry, channel);
    return rms === undefined ? [] : [{ entry, rms }];
  });
  const samples = known.reduce((sum, { entry }) => sum + entry.n_samples, 0);
  const rms = samples > 0 ? Math.sqrt(known.reduce((sum, one) => sum + one.entry.n_samples * one.rms ** 2, 0) / samples) : null;
  const byLoudness = known.sort((a, b) => a.rms - b.rms).map(({ entry }) => entry);
  const half = Math.floor(byLoudness.length / 2);
  const candidates = [...byLoudness.slice(half), ...byLoudness.slice(0, half), ...entries].filter((entry) =>
    channelNames(entry).includes(channel),
  );
  let picture: ClassPicture | null = null;
  for (const entry of candidates) {
    if (broken.has(entry.file)) continue;
    try {
      picture = await pictureOf(set, entry, channel);
      break;
    } catch (cause) {
      if (!(cause instanceof Refusal)) throw cause;
      // The message begins with the path, the problem's line too.
      broken.set(entry.file, cause.message.replace(`${pathOf(set, entry)} `, ''));
    }
  }
  return { label, recordings: entries.length, seconds: secondsOf(entries), rms, picture };
}

/**
 * Describes a recording set. Of the recordings themselves it reads one piece a class, so that a large set is described as fast as a small one.
 *
 * @param options.channel the channel to picture; the first of the first recording where absent
 * @param options.verify reads every file and compares its sha256
 * @throws Refusal data/channels where no recording has the channel
 */
export async function describeSet(set: RecordingSet, options: { channel?: string; verify?: boolean } = {}): Promise<SetInfo> {
  const entries = set.recordings;
  const channel = options.channel ?? (entries.length > 0 ? channelNames(entries[0])[0] : '');
  if (options.channel && !entries.some((entry) => channelNames(entry).includes(channel))) {
    throw new Refusal('data/channels', `no recording of ${set.name} has a channel ${channel}`);
  }
  const broken = new Map<string, string>();
  for (const entry of entries) {
    const problem = await problemOf(set, entry, options.verify ?? false);
    if (problem) broken.set(entry.file, problem);
  }
  const groups = classGroups(entries);
  const labels = groups.flatMap(([label]) => (label === null ? [] : [label]));
  const classes: ClassInfo[] = [];
  for (const [label, group] of groups) classes.push(await classInfo(set, label, group, channel, broken));
  return {
    name: set.name,
    folder: set.folder,
    recordings: entries.length,
    seconds: secondsOf(entries),
    classes,
    rates: [...countBy(entries, (entry) => String(entry.sample_rate_hz))].map(([rate, group]) => ({
      sampleRateHz: Number(rate),
      recordings: group.length,
    })),
    channels: [...countBy(entries, (entry) => channelNames(entry).join('\n'))].map(([, group]) => ({
      channels: channelNames(group[0]),
      recordings: group.length,
    })),
    conditions: conditionsOf(entries, labels),
    problems: [...broken].map(([file, problem]) => ({ file, problem })),
  };
}

/** Which classes a value of a condition lacks, in words; nothing where the condition says no more than the label does. */
function missingLines({ conditions, classes }: SetInfo): string[] {
  const labels = classes.flatMap(({ label }) => (label === null ? [] : [label]));
  const told = new Set<string>();
  return conditions.flatMap(({ key, values }) => {
    // Two conditions that divide the recordings alike (load and nominal speed) lack the same: once is enough.
    const division = values.map(({ recordings, missingClasses }) => `${recordings} ${missingClasses}`).sort();
    if (told.has(division.join('\n'))) return [];
    told.add(division.join('\n'));
    const isCrossed = labels.some((label) => values.filter(({ missingClasses }) => !missingClasses.includes(label)).length > 1);
    if (values.length < 2 || values.length > MOST_VALUES || !isCrossed) return [];
    return values.flatMap(({ value, missingClasses }) => {
      if (missingClasses.length === 0) return [];
      const present = labels.filter((label) => !missingClasses.includes(label));
      const few = 2 * missingClasses.length <= labels.length;
      return [
        `${key}=${value} has ${few ? `no ${missingClasses.join(', ')}` : present.length > 0 ? `only ${present.join(', ')}` : 'no labels'}`,
      ];
    });
  });
}

function valuesText({ values, recordings }: ConditionInfo, total: number): string {
  const missing = total > recordings ? `, absent from ${total - recordings}` : '';
  if (values.length > MOST_VALUES) return `${values.length} values from ${values[0].value} to ${values.at(-1)!.value}${missing}`;
  const brief = (text: string) => (text.length > 24 ? `${text.slice(0, 23)}…` : text);
  return values.map((value) => `${brief(value.value)} (${value.recordings})`).join(', ') + missing;
}

/** A set's description for people: at most about 110 columns where names are short. */
export function renderInfo(info: SetInfo): string[] {
  const { classes, rates, channels, conditions, problems } = info;
  const labelled = classes.filter(({ label }) => label !== null).length;
  const count = (number: number, name: string, many = `${name}s`) => `${number} ${number === 1 ? name : many}`;
  const lines = [
    `${info.name}: ${count(info.recordings, 'recording')}, ${info.seconds.toFixed(1)} s, ${count(labelled, 'class', 'classes')}`,
    '',
  ];
  const row = (title: string, text: string) => lines.push(`${title.padEnd(12)}${text}`);
  const rateTexts = rates.map(({ sampleRateHz, recordings }) => `${sampleRateHz} Hz${rates.length > 1 ? ` (${recordings})` : ''}`);
  row('rate', rateTexts.join(', ') + (rates.length > 1 ? '; choose with --where, or resample with --rate' : ''));
  row('channels', channels.map((one) => one.channels.join(', ') + (channels.length > 1 ? ` (${one.recordings})` : '')).join(' | '));
  const keys = Math.max(0, ...conditions.map(({ key }) => key.length));
  conditions.forEach((condition, index) => {
    row(index === 0 ? 'conditions' : '', `${condition.key.padEnd(keys)}  ${valuesText(condition, info.recordings)}`);
  });
  missingLines(info).forEach((line, index) => {
    row(index === 0 ? 'missing' : '', line);
  });
  const pictured = classes.find(({ picture }) => picture)?.picture;
  const nameOf = (label: string | null) => label ?? '(no label)';
  const width = Math.max(5, ...classes.map(({ label }) => nameOf(label).length));
  const head = `${'class'.padEnd(width)}  files   seconds  ${`rms ${pictured?.channel ?? ''}`.slice(0, 10).padStart(10)}`;
  lines.push('', `${head}  ${`a window of ${WAVE_SAMPLES}`.padEnd(COLUMNS)}  spectrum to half the rate, ${SPECTRUM_DB} dB`);
  for (const { label, recordings, seconds, rms, picture } of classes) {
    const loudness = rms === null ? '' : rms.toPrecision(4);
    const numbers = `${String(recordings).padStart(5)}  ${seconds.toFixed(1).padStart(8)}  ${loudness.padStart(10)}`;
    lines.push(
      `${nameOf(label).padEnd(width)}  ${numbers}  ${picture ? `${picture.waveform}  ${picture.spectrum}` : '(nothing readable)'}`,
    );
  }
  if (problems.length > 0) lines.push('', ...problems.map(({ file, problem }) => `problem: ${file} ${problem}`));
  return lines;
}
