import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from './whole-file.ts';

/** What the outbox asks of a disk; tests have one that fills up. */
export interface OutboxFiles {
  /** Names of the segments, in order. */
  list(): Promise<string[]>;
  read(name: string): Promise<Buffer>;
  /**
   * Writes `bytes` at `at`, which is where the segment ends, and waits until the disk has them. Where that fails, nothing or a part may have been
   * written; the next call writes over it.
   */
  write(name: string, at: number, bytes: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
}

const SEGMENT = /^\d{12}\.outbox$/;

export const segmentName = (index: number): string => `${index.toString().padStart(12, '0')}.outbox`;
export const segmentIndex = (name: string): number => Number.parseInt(name, 10);

/** Segments in a folder, which is made with the first of them: a disk that is full today may be writable tomorrow. */
export function folderFiles(folder: string): OutboxFiles {
  return {
    async list() {
      const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
        // A folder that cannot be is found out by the first write, and said then.
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
        throw error;
      });
      return names.filter((name) => SEGMENT.test(name)).sort();
    },
    read: (name) => readFile(join(folder, name)),
    async write(name, at, bytes) {
      if (at === 0) await mkdir(folder, { recursive: true });
      const file = await open(join(folder, name), constants.O_WRONLY | constants.O_CREAT, 0o600);
      try {
        // Of an earlier write that failed.
        await file.truncate(at);
        let done = 0;
        while (done < bytes.length) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
        await file.datasync();
      } finally {
        await file.close();
      }
      if (at === 0) await syncFolder(folder);
    },
    remove: (name) => rm(join(folder, name), { force: true }),
  };
}
