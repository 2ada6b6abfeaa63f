import { appendFileSync, closeSync, fdatasyncSync, ftruncateSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Refusal } from '../refusal.ts';

/** What a journal file held: its whole lines, and how many bytes they take. */
export interface JournalContent {
  /** Parsed, without the header; line 2 of the file comes first. */
  readonly events: readonly unknown[];
  /** 0 where the header is yet to be written. */
  readonly bytes: number;
}

/**
 * Reads a journal of JSON lines, leaving out a last line that a kill tore.
 *
 * Is wrong when two processes write to one journal: their lines mix. Nothing is written here, so a refusal leaves the file as it was.
 *
 * @param header what the first line must say
 * @throws Refusal search/journal where the file is no journal or is broken before its end, search/resume where it is of another study
 */
export function readJournal(file: string, header: Readonly<Record<string, unknown>>): JournalContent {
  const bytes = readIfThere(file);
  if (bytes.length === 0) return { events: [], bytes: 0 };
  const first = JSON.stringify(header);
  const end = bytes.indexOf(10);
  if (end < 0) {
    // A kill may have torn the header too; anything else without a line end is somebody's file, which is not ours to overwrite.
    if (Buffer.from(`${first}\n`).subarray(0, bytes.length).equals(bytes)) return { events: [], bytes: 0 };
    throw new Refusal('search/journal', `${file} is not a search journal; name another file`);
  }
  checkHeader(file, bytes.subarray(0, end).toString(), header);

  const events: unknown[] = [];
  let from = end + 1;
  for (;;) {
    const to = bytes.indexOf(10, from);
    if (to < 0) break;
    try {
      events.push(JSON.parse(bytes.subarray(from, to).toString()));
    } catch (cause) {
      // A power cut may leave a last line of the right length with the wrong bytes.
      if (to === bytes.length - 1) break;
      throw new Refusal('search/journal', `${file} line ${events.length + 2} is broken; move the file away to start anew`, { cause });
    }
    from = to + 1;
  }
  return { events, bytes: from };
}

function readIfThere(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return Buffer.alloc(0);
    throw new Refusal('search/journal', `${file} cannot be read (${code}); name a file`, { cause });
  }
}

function checkHeader(file: string, line: string, header: Readonly<Record<string, unknown>>): void {
  let found: unknown;
  try {
    found = JSON.parse(line);
  } catch {
    found = undefined;
  }
  if (typeof found !== 'object' || found === null || !('study' in found))
    throw new Refusal('search/journal', `${file} is not a search journal; name another file`);
  const other = found as Record<string, unknown>;
  const names = new Set([...Object.keys(header), ...Object.keys(other)]);
  const different = [...names].filter((name) => JSON.stringify(header[name]) !== JSON.stringify(other[name]));
  if (different.length > 0)
    throw new Refusal('search/resume', `${file} is of a search with another ${different.join(' and ')}; name another file to start anew`);
}

/** Appends lines to a file, each on the disk before `append` returns. */
export class Journal {
  readonly #descriptor: number;

  /** @param content as read from the file; what follows its bytes is cut off. @throws Refusal search/journal where it cannot be written */
  constructor(file: string, header: Readonly<Record<string, unknown>>, content: JournalContent) {
    try {
      mkdirSync(dirname(file), { recursive: true });
      this.#descriptor = openSync(file, 'a');
    } catch (cause) {
      throw new Refusal('search/journal', `${file} cannot be written (${(cause as NodeJS.ErrnoException).code})`, { cause });
    }
    ftruncateSync(this.#descriptor, content.bytes);
    if (content.bytes === 0) this.append(header);
  }

  append(event: object): void {
    appendFileSync(this.#descriptor, `${JSON.stringify(event)}\n`);
    fdatasyncSync(this.#descriptor);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
