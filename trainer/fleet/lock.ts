import { randomUUID } from 'node:crypto';
import { link, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';

/** A lock that was not touched for so long belongs to nobody; its holder touches it four times as often. */
const STALE_MS = 8000;

/** How often a lock that another holds is looked at. */
const RETRY_MS = 20;

export interface Lock {
  /** Aborts where another holds it by now: this process stood still for so long that it passed for gone. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

/** Whether the process that wrote a lock is gone. Of another machine (a network folder) only the age tells. */
function isGone(content: string): boolean {
  const [host, pid] = content.split(' ');
  if (host !== hostname()) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

async function isStale(path: string): Promise<boolean> {
  try {
    const content = await readFile(path, 'utf8');
    const { mtimeMs } = await stat(path);
    return isGone(content) || Date.now() - mtimeMs > STALE_MS;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Makes a lock file with its whole content, or not at all. */
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
 * Takes away the lock of somebody who is gone. Of all who find it stale only one may do that, and looks again first: another's fresh lock would go else.
 */
async function takeAway(path: string, content: string): Promise<void> {
  const guard = `${path}.away`;
  if (await isStale(guard)) await rm(guard, { force: true });
  if (!(await tryCreate(guard, content))) return;
  try {
    if (await isStale(path)) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

/**
 * Takes a lock file that outlives no process: killed holders are found out by their process id, those on another machine by their silence.
 *
 * @returns undefined where another holds it
 */
export async function tryLock(path: string): Promise<Lock | undefined> {
  const content = `${hostname()} ${process.pid} ${randomUUID()}`;
  if (await isStale(path)) await takeAway(path, content);
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
