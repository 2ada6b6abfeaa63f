import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import * as z from 'zod';

/** Read, write or run for others than owner and group. */
const OTHERS = 0o007;

/** Why a file cannot be used; undefined where it can. */
function fault(path: string, secret: boolean): string | undefined {
  try {
    const stats = statSync(path);
    if (!stats.isFile()) return `${path} is not a file`;
    // Windows has no such bits: there every file seems open to all.
    if (secret && process.platform !== 'win32' && (stats.mode & OTHERS) !== 0)
      return `${path} can be read by others (mode ${(stats.mode & 0o777).toString(8)}); run: chmod 600 ${path}`;
    readFileSync(path);
    return undefined;
  } catch (cause) {
    return `${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`;
  }
}

/**
 * A file that a configuration names: its path becomes absolute, and whether it can be read is checked with all else, so that its mistakes stand
 * in one list with the others.
 *
 * @param folder that relative paths begin in
 * @param secret a private key or a password: refused where others than owner and group can read it
 */
export function fileSetting(folder: string, secret = false) {
  return z
    .string()
    .min(1)
    .transform((path) => resolve(folder, path))
    .superRefine((path, context) => {
      const message = fault(path, secret);
      if (message) context.addIssue({ code: 'custom', message });
    });
}
