import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Lock, lockHolder, tryLock, withLock } from '../../../runtime/io/lock.ts';

const folders: string[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function lockPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-lock-'));
  folders.push(folder);
  return join(folder, 'server.lock');
}

async function manyTries(path: string): Promise<Lock[]> {
  const tries = await Promise.all(Array.from({ length: 10 }, () => tryLock(path)));
  return tries.filter((lock) => lock !== undefined);
}

/** Process id of a process that has ended by now. */
async function endedProcess(): Promise<number> {
  const child = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => child.once('exit', resolve));
  return child.pid!;
}

const TICK_MS = 5000;
const old = new Date(0);

describe('a lock', () => {
  it('has one holder, however many come at once, and is free when he lets it go', async () => {
    const path = await lockPath();
    const held = await manyTries(path);
    expect(held).toHaveLength(1);
    expect(await lockHolder(path)).toMatchObject({ host: hostname(), pid: process.pid });
    await held[0].release();
    await (await tryLock(path))!.release();
    expect(await readdir(join(path, '..'))).toEqual([]);
  });

  it('lets one do its work after the other', async () => {
    const path = await lockPath();
    let inside = 0;
    const work = async () => {
      expect(++inside).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
    };
    await Promise.all(Array.from({ length: 8 }, () => withLock(path, work)));
  });

  it.each([
    ['of a process that is gone', async () => ({ host: hostname(), pid: await endedProcess(), id: 'x' })],
    ['of a process whose number another has by now', async () => ({ host: hostname(), pid: process.pid, start: 'before 1', id: 'x' })],
    ['that a crash has left in part', async () => undefined],
  ])('%s is taken over by one of all who want it', async (_what, holder) => {
    const path = await lockPath();
    const left = JSON.stringify(await holder()) ?? '{"host":';
    await writeFile(path, left);
    const [held = await tryLock(path), ...others] = await manyTries(path);
    expect(others).toEqual([]);
    expect(await lockHolder(path)).toMatchObject({ pid: process.pid });
    expect(await tryLock(path)).toBeUndefined();
    await held!.release();
  });

  it('of a process that lives is not taken over, whatever the clock says', async () => {
    const path = await lockPath();
    const lock = (await tryLock(path))!;
    await utimes(path, old, old);
    expect(await tryLock(path)).toBeUndefined();
    await lock.release();
  });

  it('of another machine is taken over when nothing was heard of it for long', async () => {
    const path = await lockPath();
    await writeFile(path, JSON.stringify({ host: `not-${hostname()}`, pid: process.pid, id: 'x' }));
    expect(await tryLock(path)).toBeUndefined();
    await utimes(path, old, old);
    await (await tryLock(path))!.release();
  });

  it('is kept fresh by its holder', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const path = await lockPath();
    const lock = (await tryLock(path))!;
    await utimes(path, old, old);
    vi.advanceTimersByTime(TICK_MS);
    await vi.waitFor(async () => expect((await stat(path)).mtimeMs).toBeGreaterThan(0));
    expect(lock.lost.aborted).toBe(false);
    await lock.release();
    await expect(stat(path)).rejects.toThrow('ENOENT');
  });

  it('that another took from a holder who stood still is told to that holder, who leaves it alone', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const path = await lockPath();
    const lock = (await tryLock(path))!;
    await rm(path);
    const other = JSON.stringify({ host: 'elsewhere', pid: 1, id: 'other' });
    await writeFile(path, other);
    await utimes(path, old, old);
    const lost = new Promise((resolve) => lock.lost.addEventListener('abort', resolve));
    vi.advanceTimersByTime(TICK_MS);
    await lost;
    await lock.release();
    expect(await readFile(path, 'utf8')).toBe(other);
    expect((await stat(path)).mtimeMs).toBe(0);
  });
});
