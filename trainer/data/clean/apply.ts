import { createHash } from 'node:crypto';
import { copyFile, mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { VERSION } from '../../../runtime/version.ts';
import { Refusal } from '../../refusal.ts';
import { isWithin, writeSetFolder } from '../import/replace-folder.ts';
import { channelNames, pathOf, type RecordingEntry, type RecordingSet, type SampleRange } from '../recording-set.ts';
import { SampleFile } from '../sample-file.ts';
import { snapshotLength } from '../windows.ts';
import type { CleaningReport } from './survey.ts';

/** Samples copied at a time. */
const STRETCH = 1 << 14;

/** What was left out of a cleaned set: a finding, or a rest too short to be a recording. */
export interface RemovedRow {
  readonly file: string;
  readonly label: string | null;
  /** First sample; null for the whole recording. */
  readonly start: number | null;
  readonly samples: number;
  readonly stage: string;
  readonly reason: string;
  readonly why: string;
}

export interface CleanedSet {
  readonly recordings: number;
  readonly removed: readonly RemovedRow[];
  /** Recordings that were left out whole. */
  readonly leftOut: number;
  /** Recordings that were cut. */
  readonly cut: number;
  /** Classes of which nothing remains. */
  readonly lostClasses: readonly string[];
}

/** Before the work, not after it. @throws Refusal import/out where the folder is there already, or lies in the set or around it */
export async function refuseTarget(set: RecordingSet, folder: string): Promise<void> {
  if (isWithin(folder, set.folder) || isWithin(set.folder, folder)) {
    throw new Refusal('import/out', `${folder} and the set ${set.folder} lie one in the other; name another folder with --out`);
  }
  const present = await readdir(folder).catch((cause: NodeJS.ErrnoException) => (cause.code === 'ENOENT' ? [] : [cause.code]));
  if (present.length > 0) throw new Refusal('import/out', `${folder} is there already; name another folder with --out`);
}

/**
 * Writes a set without what a survey found: whole recordings are left out; out of others the windows are cut, and each stretch that remains
 * becomes a recording of its own with the conditions of the old one, `cut_from` (its file) and `cut_start`. A stretch shorter than a window is
 * left out too. Of a recording of snapshots, snapshots are left out whole. Everything left out has a row in `removed` of dataset.json. The set
 * appears all at once; the old one is not touched.
 *
 * @param set all recordings that are to remain, looked at or not
 * @throws Refusal data/clean where nothing would remain; import/out where the folder is there already, or lies in the set; data/file
 */
export async function applyCleaning(
  set: RecordingSet,
  report: Pick<CleaningReport, 'findings' | 'window'>,
  folder: string,
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (share: number, file: string) => void } = {},
): Promise<CleanedSet> {
  await refuseTarget(set, folder);
  const removed: RemovedRow[] = [...report.findings];
  const plans = set.recordings.map((entry) => {
    const own = report.findings.filter(({ file }) => file === entry.file);
    const stretches = own.some(({ start }) => start === null) ? [] : keptStretches(entry, own, report.window);
    for (const { start, length } of stretches.filter((one) => one.length < report.window)) {
      const why = `${length} samples between windows left out, fewer than a window of ${report.window}`;
      removed.push({ file: entry.file, label: entry.label, start, samples: length, stage: 'rest', reason: 'short', why });
    }
    return {
      entry,
      isWhole: own.length === 0,
      kept: own.length === 0 ? stretches : stretches.filter(({ length }) => length >= report.window),
    };
  });
  if (plans.every(({ kept }) => kept.length === 0))
    throw new Refusal('data/clean', `nothing of ${set.name} would remain; nothing was written`);
  const entries: RecordingEntry[] = [];
  await writeSetFolder(resolve(folder), false, async (fresh) => {
    for (const [index, { entry, isWhole, kept }] of plans.entries()) {
      signal?.throwIfAborted();
      onProgress?.(index / plans.length, entry.file);
      await mkdir(dirname(join(fresh, entry.file)), { recursive: true });
      if (isWhole) {
        await copyFile(pathOf(set, entry), join(fresh, entry.file));
        entries.push(entry);
      } else if (kept.length > 0) entries.push(...(await writeStretches(set, entry, kept, fresh)));
    }
    await writeFile(join(fresh, 'dataset.json'), await documentOf(set, basename(resolve(folder)), report.window, entries, removed));
  });
  const labels = new Set(entries.map(({ label }) => label));
  return {
    recordings: entries.length,
    removed,
    leftOut: plans.filter(({ kept }) => kept.length === 0).length,
    cut: plans.filter(({ kept, isWhole }) => !isWhole && kept.length > 0).length,
    lostClasses: [...new Set(set.recordings.flatMap(({ label }) => (label !== null && !labels.has(label) ? [label] : [])))],
  };
}

/** What lies between the samples to leave out, in order, however short. */
function keptStretches(entry: RecordingEntry, out: readonly { start: number | null }[], window: number): SampleRange[] {
  const snapshot = snapshotLength(entry);
  const gone = out
    .map(({ start }) =>
      snapshot ? { from: Math.floor(start! / snapshot) * snapshot, length: snapshot } : { from: start!, length: window },
    )
    .sort((a, b) => a.from - b.from);
  const stretches: SampleRange[] = [];
  let at = 0;
  for (const { from, length } of [...gone, { from: entry.n_samples, length: 0 }]) {
    if (from > at) stretches.push({ start: at, length: from - at });
    at = Math.max(at, from + length);
  }
  return stretches;
}

async function writeStretches(
  set: RecordingSet,
  entry: RecordingEntry,
  kept: readonly SampleRange[],
  fresh: string,
): Promise<RecordingEntry[]> {
  const columns = channelNames(entry).map((name, index) => ({ name, index }));
  const source = new SampleFile(pathOf(set, entry), entry, columns, true);
  const snapshot = snapshotLength(entry);
  const entries: RecordingEntry[] = [];
  for (const { start, length } of kept) {
    const file = `${entry.file.slice(0, -extname(entry.file).length || undefined)}_from${start}${extname(entry.file)}`;
    const written = await copyStretch(source, { start, length }, columns.length, join(fresh, file));
    entries.push({
      ...entry,
      file,
      n_samples: length,
      ...(snapshot &&
        Array.isArray(entry.snapshot_index) && {
          snapshot_index: entry.snapshot_index.slice(start / snapshot, (start + length) / snapshot),
        }),
      cut_from: entry.cut_from ?? entry.file,
      cut_start: Number(entry.cut_start ?? 0) + start,
      ...written,
    });
  }
  source.close();
  return entries;
}

/** Copies samples as they are; `rms` is of each channel, to 8 decimals as the importer states it. */
async function copyStretch(
  source: SampleFile,
  { start, length }: SampleRange,
  channels: number,
  path: string,
): Promise<{ rms: number[]; sha256: string }> {
  const squares = Array.from({ length: channels }, () => 0);
  const hash = createHash('sha256');
  const file = await open(path, 'wx');
  try {
    for (let done = 0; done < length; done += STRETCH) {
      const rows = Math.min(STRETCH, length - done);
      source.read(start + done, rows).forEach((value, at) => {
        squares[at % channels] += value ** 2;
      });
      const bytes = source.readRaw(start + done, rows).slice();
      hash.update(bytes);
      await file.writeFile(bytes);
    }
  } finally {
    await file.close();
  }
  return { rms: squares.map((sum) => Number(Math.sqrt(sum / length).toFixed(8))), sha256: hash.digest('hex') };
}

/** The old dataset.json with the new recordings; fields that we do not know stay as they are. */
async function documentOf(
  set: RecordingSet,
  name: string,
  window: number,
  entries: readonly RecordingEntry[],
  removed: readonly RemovedRow[],
): Promise<string> {
  const document = JSON.parse(await readFile(join(set.folder, 'dataset.json'), 'utf8')) as Record<string, unknown>;
  const labels = new Set(entries.map(({ label }) => label));
  const next = {
    ...document,
    name,
    ...(Array.isArray(document.classes) && { classes: document.classes.filter((label) => labels.has(label as string)) }),
    ...('n_recordings' in document && { n_recordings: entries.length }),
    cleaned: { by: `tremolo ${VERSION}`, from: set.name, window },
    recordings: entries,
    removed: [...(Array.isArray(document.removed) ? document.removed : []), ...removed],
  };
  return `${JSON.stringify(next, undefined, 1)}\n`;
}
