import { createHmac, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const KEY_BYTES = 32;
/** Hexadecimal digits of a pseudonym: 80 bits, so that two names of a site never share one. */
const DIGITS = 20;

/**
 * Names that leave the site as HMAC-SHA256 of themselves, cut to 80 bits: the same name gives the same pseudonym, and without the key nobody finds the
 * name by trying all there are. Whoever deletes the key file cuts every pseudonym off from its name for good.
 */
export class Pseudonyms {
  readonly #key: Buffer;

  /**
   * @param path of the key file, mode 600; made where it is not there
   * @param onNotKept told why a new key cannot be kept: it then holds for this run alone
   * @throws Error where others can read it or it is no key
   */
  constructor(path: string, onNotKept: (error: Error) => void) {
    this.#key = readKey(path) ?? makeKey(path, onNotKept);
    if (this.#key.length !== KEY_BYTES)
      throw new Error(`${path} holds ${this.#key.length} bytes, a key has ${KEY_BYTES}; remove it for a new one`);
  }

  /**
   * What stands for a name in all that leaves the site: alarms, signals, labels, adapters' provenance. Whoever takes a name in replaces it before it is kept.
   *
   * @param kind so that an operator and an asset of one name have two pseudonyms
   */
  of(kind: 'asset' | 'operator', name: string): string {
    return createHmac('sha256', this.#key).update(`${kind}\0${name}`).digest('hex').slice(0, DIGITS);
  }
}

function readKey(path: string): Buffer | undefined {
  if (!existsSync(path)) return undefined;
  const { mode } = statSync(path);
  if (process.platform !== 'win32' && (mode & 0o077) !== 0)
    throw new Error(`${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`);
  return readFileSync(path);
}

function makeKey(path: string, onNotKept: (error: Error) => void): Buffer {
  const key = randomBytes(KEY_BYTES);
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, key, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    onNotKept(error as Error);
  }
  return key;
}
