import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationRefusal } from './configuration.ts';

/** Who holds a folder: a process id is given again after a while, so it counts only with its start. */
interface Holder {
  readonly pid: number;
  /** When the process began, clock ticks since the machine's start; absent where the system does not tell. */
  readonly start?: string;
}

/** Tries to come by a lock that others come by at the same moment. */
const TRIES = 5;

/**
 * Makes sure that no other process works in a folder, by a file in it. One that was left by a process that is gone is taken over.
 *
 * Is wrong where two machines, or two containers, share a folder: neither sees the other's processes.
 *
 * @returns gives the folder back
 * @throws ConfigurationRefusal where another process that lives holds it, the file system's error where no file can be made
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'lock');
  const own = JSON.stringify({ pid: process.pid, start: startOf(process.pid) } satisfies Holder);
  // Linked and not written in place: nobody shall see a lock without its holder.
  const fresh = `${path}.${randomUUID()}`;
  await writeFile(fresh, own);
  try {
    for (let tries = 0; tries < TRIES; tries++) {
      try {
        await link(fresh, path);
        return () => rm(path, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const found = await readFile(path, 'utf8').catch(() => undefined);
      if (found !== undefined) await takeAway(path, found, folder);
    }
    throw refusal(folder);
  } finally {
    await rm(fresh, { force: true });
  }
}

/** Takes a dead process' file away. @throws ConfigurationRefusal where it is not dead */
async function takeAway(path: string, found: string, folder: string): Promise<void> {
  const holder = parse(found);
  if (holder && lives(holder)) throw refusal(folder, holder.pid);
  // By its name first, and then looked at: another may have put its own there meanwhile.
  const aside = `${path}.${randomUUID()}`;
  await rename(path, aside).catch(() => {});
  const taken = await readFile(aside, 'utf8').catch(() => undefined);
  if (taken !== undefined && taken !== found) await link(aside, path).catch(() => {});
  await rm(aside, { force: true });
}

function refusal(folder: string, pid?: number): ConfigurationRefusal {
  const who = pid === undefined ? 'another process' : `process ${pid}`;
  return new ConfigurationRefusal(`stateFolder: ${folder} is in use by ${who}; stop it, or give each gateway a folder of its own`);
}

/** undefined where a crash has left half a file */
function parse(text: string): Holder | undefined {
  try {
    const { pid, start } = JSON.parse(text) as Partial<Holder>;
    return Number.isInteger(pid) && pid! > 0 ? { pid: pid!, start } : undefined;
  } catch {
    return undefined;
  }
}

function lives({ pid, start }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, and is somebody else's.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = startOf(pid);
  return start === undefined || now === undefined || start === now;
}

/** Linux: field 22 of /proc/<pid>/stat. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the name in parentheses, may hold blanks.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
