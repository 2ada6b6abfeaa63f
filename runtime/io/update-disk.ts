import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { readIfThere, syncFolder, unlessMissing } from './whole-file.ts';

/** What updates ask of a disk, in steps so small that a power cut between any two of them can be tried. */
export interface UpdateDisk {
  /** undefined where there is no such file */
  read(path: string): Promise<Uint8Array | undefined>;
  /** SHA-256 in lower-case hexadecimal; undefined where there is no such file. */
  digest(path: string): Promise<string | undefined>;
  /** Names in a folder; none where there is no such folder. */
  list(folder: string): Promise<string[]>;
  makeFolder(path: string): Promise<void>;
  /** Writes at a place of a file, which is made where it is not; not on the disk before `sync`. */
  write(path: string, at: number, bytes: Uint8Array): Promise<void>;
  sync(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A second name for a file, or a copy where the file system has none; never a symbolic link, which no bundle may hold. */
  link(from: string, to: string): Promise<void>;
  /** Removes a file or a folder with all in it, if it is there. */
  remove(path: string): Promise<void>;
  /** New names in a folder outlive a power cut after this only. */
  syncFolder(folder: string): Promise<void>;
}

/** File systems and mounts without hard links: these errors, and a copy instead. */
const NO_LINKS = new Set(['EXDEV', 'EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK']);

export const nodeDisk: UpdateDisk = {
  read: readIfThere,
  async digest(path) {
    const hash = createHash('sha256');
    try {
      // Piece by piece: a large model must not hold the decisions up.
      for await (const piece of createReadStream(path)) hash.update(piece);
    } catch (error) {
      return unlessMissing(error as NodeJS.ErrnoException);
    }
    return hash.digest('hex');
  },
  list: async (folder) => (await readdir(folder).catch(unlessMissing)) ?? [],
  async makeFolder(path) {
    await mkdir(path, { recursive: true, mode: 0o700 });
  },
  async write(path, at, bytes) {
    const file = await open(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
    try {
      let done = 0;
      while (done < bytes.length) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
    } finally {
      await file.close();
    }
  },
  async sync(path) {
    const file = await open(path, 'r+');
    try {
      await file.datasync();
    } finally {
      await file.close();
    }
  },
  rename,
  async link(from, to) {
    await link(from, to).catch(async (error: NodeJS.ErrnoException) => {
      if (!NO_LINKS.has(error.code ?? '')) throw error;
      await copyFile(from, to, constants.COPYFILE_EXCL);
      await this.sync(to);
    });
  },
  remove: (path) => rm(path, { recursive: true, force: true }),
  syncFolder,
};

/** Replaces a file as a whole: whenever the power goes, the old one is there or the new one. */
export async function replaceFile(disk: UpdateDisk, path: string, bytes: Uint8Array): Promise<void> {
  const fresh = `${path}.new`;
  // What an interrupted write left may be longer.
  await disk.remove(fresh);
  await disk.write(fresh, 0, bytes);
  await disk.sync(fresh);
  await disk.rename(fresh, path);
  await disk.syncFolder(dirname(path));
}
