import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';

/** A lock of another machine that was not touched for so long belongs to nobody; its holder touches it four times as often. */
const STALE_MS = 20_000;

/** How often a lock that another holds is looked at. */
const RETRY_MS = 20;

/** Who holds a lock: a process id is given again after a while, so it counts only with its start. */
export interface LockHolder {
  readonly host: string;
  readonly pid: number;
  /** When the process began: the machine's start, and clock ticks since then; absent where the system does not tell. */
  readonly start?: string;
  /** Of this lock and no other. */
  readonly id: string;
}

export interface Lock {
  /** Aborts where another holds it by now: this process stood still for so long that it passed for gone on another machine. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

/**
 * Takes a lock file that outlives no process: on this machine a killed holder is found out by its process id, whatever the clock says; one on another
 * machine, with which the folder is shared, by its silence. Makes the file's folder.
 *
 * Is wrong where two containers of one host name share a folder: neither sees the other's processes.
 *
 * @returns undefined where another holds it
 * @throws Error of the file system where no file can be made
 */
export async function tryLock(path: string): Promise<Lock | undefined> {
  const own: LockHolder = { host: hostname(), pid: process.pid, start: startOf(process.pid), id: randomUUID() };
  const content = JSON.stringify(own);
  await mkdir(dirname(path), { recursive: true });
  if (await isLeft(path)) await takeAway(path, content);
  if (!(await tryCreate(path, content))) return undefined;
  const lost = new AbortController();
  const touch = async () => {
    const there = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? '' : undefined));
    if (there === content) await utimes(path, new Date(), new Date()).catch(() => {});
    else if (there !== undefined) {
      clearInterval(timer);
      lost.abort();
    }
  };
  const timer = setInterval(() => void touch(), STALE_MS / 4);
  timer.unref();
  return {
    lost: lost.signal,
    async release() {
      clearInterval(timer);
      if ((await readFile(path, 'utf8').catch(() => '')) === content) await rm(path, { force: true });
    },
  };
}

/** Does `work` while no other process does. */
export async function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  for (;;) {
    const lock = await tryLock(path);
    if (lock) return work().finally(() => lock.release());
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Who holds a lock, for people; undefined where nobody does. */
export async function lockHolder(path: string): Promise<LockHolder | undefined> {
  return parse(await readFile(path, 'utf8').catch(() => ''));
}

/** Whether a lock's holder is gone; false where there is no lock. */
async function isLeft(path: string): Promise<boolean> {
  try {
    const holder = parse(await readFile(path, 'utf8'));
    // A crash has left half a file: a holder who lives has written all of it.
    if (!holder) return true;
    return holder.host === hostname() ? !lives(holder) : Math.abs(Date.now() - (await stat(path)).mtimeMs) > STALE_MS;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Makes a lock file with its whole content, or not at all: nobody shall see a lock without its holder. */
async function tryCreate(path: string, content: string): Promise<boolean> {
  const own = `${path}.${randomUUID().slice(0, 8)}`;
  await writeFile(own, content, { mode: 0o600 });
  try {
    await link(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(own, { force: true });
  }
}

/**
 * Takes away the lock of somebody who is gone. Of all who find it left only one may do that, and looks again first: another's fresh lock would go else.
 */
async function takeAway(path: string, content: string): Promise<void> {
  const guard = `${path}.away`;
  if (await isLeft(guard)) await rm(guard, { force: true });
  if (!(await tryCreate(guard, content))) return;
  try {
    if (await isLeft(path)) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

function parse(text: string): LockHolder | undefined {
  try {
    const { host, pid, start, id } = JSON.parse(text) as Partial<LockHolder>;
    return typeof host === 'string' && typeof id === 'string' && Number.isInteger(pid) && pid! > 0
      ? { host, pid: pid!, start, id }
      : undefined;
  } catch {
    return undefined;
  }
}

function lives({ pid, start }: LockHolder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, and is somebody else's.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = startOf(pid);
  return start === undefined || now === undefined || start === now;
}

/** Linux: the machine's start by its id, and field 22 of /proc/<pid>/stat. */
function startOf(pid: number): string | undefined {
  try {
    const stats = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    // The second field, the name in parentheses, may hold blanks.
    return `${boot} ${stats.slice(stats.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return undefined;
  }
}
