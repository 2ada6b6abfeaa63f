import { mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { tryLock } from '../../../trainer/fleet/lock.ts';

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

const TICK_MS = 2000;
const old = new Date(0);

describe('a lock', () => {
  it('is kept fresh by its holder, and taken by nobody else', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const path = await lockPath();
    const lock = (await tryLock(path))!;
    expect(await tryLock(path)).toBeUndefined();
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
    await writeFile(path, 'elsewhere 1 other');
    await utimes(path, old, old);
    const lost = new Promise((resolve) => lock.lost.addEventListener('abort', resolve));
    vi.advanceTimersByTime(TICK_MS);
    await lost;
    await lock.release();
    expect(await readFile(path, 'utf8')).toBe('elsewhere 1 other');
    expect((await stat(path)).mtimeMs).toBe(0);
  });
});
