import { readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { writeWhole } from '../../../runtime/io/whole-file.ts';
import { Refusal } from '../../refusal.ts';
import { type Condition, openRecordingSet, pathOf, type RecordingEntry, satisfies, select } from '../recording-set.ts';

/** Names the files of an erasure that has begun; it is there only while one is under way, or after one was interrupted. */
const JOURNAL = 'erase.json';

/** What an erasure removes, or would remove. */
export interface Erasure {
  readonly erased: readonly RecordingEntry[];
  readonly kept: number;
  readonly bytes: number;
  /** Classes of which nothing remains. */
  readonly lostClasses: readonly string[];
}

/**
 * What would be erased by some conditions. Touches nothing.
 *
 * @throws Refusal usage/arguments where there are no conditions; data/condition, data/empty where they choose nothing; data/erase where
 * they choose everything: then the folder itself is what should go
 */
export async function planErasure(folder: string, conditions: readonly Condition[]): Promise<Erasure> {
  if (conditions.length === 0) throw new Refusal('usage/arguments', 'say which recordings to erase with --where KEY=VALUE');
  const set = await openRecordingSet(folder);
  const erased = select(set, conditions).recordings;
  const kept = set.recordings.filter((entry) => !erased.includes(entry));
  if (kept.length === 0) throw new Refusal('data/erase', `that is every recording of ${set.name}; remove the folder ${folder} instead`);
  for (const entry of erased) pathOf(set, entry);
  const labels = (entries: readonly RecordingEntry[]) => new Set(entries.flatMap(({ label }) => (label === null ? [] : [label])));
  return {
    erased,
    kept: kept.length,
    bytes: erased.reduce((sum, entry) => sum + entry.n_samples * entry.n_channels * (entry.dtype === 'int16' ? 2 : 4), 0),
    lostClasses: [...labels(erased)].filter((label) => !labels(kept).has(label)),
  };
}

/**
 * Removes the recordings that satisfy all conditions: their entries, then their files. The new dataset.json takes the old one's place in one
 * step, and a journal names the files first, so that after a power cut either nothing has happened or {@link finishErasure} removes the
 * rest: no file without an entry stays behind.
 *
 * @throws Refusal as {@link planErasure}, and data/erase where the folder cannot be written
 */
export async function eraseRecordings(folder: string, conditions: readonly Condition[]): Promise<Erasure> {
  await finishErasure(folder);
  const plan = await planErasure(folder, conditions);
  const path = join(folder, 'dataset.json');
  // The raw document: fields that we do not know stay as they are.
  const document = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown> & { recordings: RecordingEntry[] };
  const recordings = document.recordings.filter((entry) => !conditions.every((condition) => satisfies(entry, condition)));
  const next = { ...document, recordings } as Record<string, unknown>;
  if ('n_recordings' in document) next.n_recordings = recordings.length;
  if (Array.isArray(document.classes)) next.classes = document.classes.filter((label) => !plan.lostClasses.includes(label as string));
  try {
    await writeWhole(join(folder, JOURNAL), JSON.stringify({ files: plan.erased.map(({ file }) => file) }));
    await writeWhole(path, `${JSON.stringify(next, undefined, 1)}\n`);
    await finishErasure(folder);
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal('data/erase', `${folder} cannot be written (${(cause as NodeJS.ErrnoException).code ?? cause})`, { cause });
  }
  return plan;
}

/** Removes what an interrupted erasure left: files that its journal names and that no recording has any more. */
export async function finishErasure(folder: string): Promise<void> {
  const journal = join(folder, JOURNAL);
  let text: string;
  try {
    text = await readFile(journal, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new Refusal('data/erase', `${journal} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
  const set = await openRecordingSet(folder);
  const living = new Set(set.recordings.map((entry) => resolve(folder, entry.file)));
  for (const file of journalFiles(journal, text)) {
    const path = pathOf(set, { file });
    if (!living.has(path)) await rm(path, { force: true });
  }
  await rm(journal, { force: true });
}

function journalFiles(journal: string, text: string): string[] {
  try {
    const { files } = JSON.parse(text) as { files: unknown };
    if (Array.isArray(files) && files.every((file) => typeof file === 'string')) return files;
  } catch {
    // Falls through to the refusal: it is written whole or not at all, so this is somebody else's file.
  }
  throw new Refusal('data/erase', `${journal} is not the journal of an erasure; move it`);
}
