import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { Refusal } from '../../refusal.ts';

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Whether `inner` is `outer` or lies within it. */
export function isWithin(inner: string, outer: string): boolean {
  const path = relative(resolve(outer), resolve(inner));
  return path === '' || !(path.startsWith('..') || resolve(path) === path);
}

/**
 * Writes a recording set all or not at all: `write` fills `FOLDER.new`, which then takes the folder's place; where it fails nothing remains
 * of it. A power cut between the two renames leaves the old set as `FOLDER.old`, and the next call puts it back first.
 *
 * @param replace whether a recording set may stand there already; anything else is never replaced
 * @param write fills the folder that it is given, with `rec/` in it
 * @throws Refusal import/out
 */
export async function writeSetFolder<T>(folder: string, replace: boolean, write: (fresh: string) => Promise<T>): Promise<T> {
  const [fresh, old] = [`${folder}.new`, `${folder}.old`];
  if (!(await exists(folder)) && (await exists(join(old, 'dataset.json')))) await rename(old, folder);
  const present: string[] | undefined = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    throw new Refusal('import/out', `${folder} cannot be written (${cause.code}); name a folder with --out`, { cause });
  });
  if (present?.length && !present.includes('dataset.json')) {
    throw new Refusal('import/out', `${folder} is there and is no recording set; name another folder with --out`);
  }
  if (present?.length && !replace) throw new Refusal('import/out', `${folder} is there already; --replace writes it anew`);
  const stale = await readdir(fresh).catch(() => []);
  if (stale.some((name) => name !== 'rec' && name !== 'dataset.json')) {
    throw new Refusal('import/out', `${fresh} is in the way and is not ours; move it`);
  }
  try {
    await rm(fresh, { recursive: true, force: true });
    await mkdir(join(fresh, 'rec'), { recursive: true });
    const result = await write(fresh);
    if (present) {
      await rm(old, { recursive: true, force: true });
      await rename(folder, old);
    }
    await rename(fresh, folder);
    if (present) await rm(old, { recursive: true, force: true });
    return result;
  } catch (cause) {
    await rm(fresh, { recursive: true, force: true }).catch(() => {});
    const { code } = cause as NodeJS.ErrnoException;
    // A full disk or a folder that may not be written is the caller's to mend, and no fault of the program.
    if (['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'ENOTDIR'].includes(code ?? '')) {
      throw new Refusal('import/out', `${folder} cannot be written (${code}); free the place or name another folder`, { cause });
    }
    throw cause;
  }
}
