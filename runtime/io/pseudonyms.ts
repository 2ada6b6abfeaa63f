import { createHmac, randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { readIfThere, writeWhole } from './whole-file.ts';

const KEY_BYTES = 32;
/** Hexadecimal digits of a pseudonym: 80 bits, so that two names of a site never share one. */
const DIGITS = 20;

/**
 * Names that leave the site as HMAC-SHA256 of themselves, cut to 80 bits: the same name gives the same pseudonym, and without the key nobody finds the
 * name by trying all there are. Whoever deletes the key file cuts every pseudonym off from its name for good.
 */
export class Pseudonyms {
  readonly #key: Uint8Array;

  private constructor(key: Uint8Array) {
    this.#key = key;
  }

  /**
   * @param path of the key file, mode 600; made where it is not there
   * @param onTrouble told why the key cannot be used, or a new one not be kept: another then holds for this run alone
   */
  static async open(path: string, onTrouble: (error: Error) => void): Promise<Pseudonyms> {
    const fresh = randomBytes(KEY_BYTES);
    try {
      const kept = await readKey(path);
      if (kept) return new Pseudonyms(kept);
      await writeWhole(path, fresh, 0o600);
    } catch (error) {
      onTrouble(error as Error);
    }
    return new Pseudonyms(fresh);
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

/** @returns undefined where there is none @throws Error where others can read it or it is no key */
async function readKey(path: string): Promise<Uint8Array | undefined> {
  const key = await readIfThere(path);
  if (!key) return undefined;
  const { mode } = await stat(path);
  if (process.platform !== 'win32' && (mode & 0o077) !== 0)
    throw new Error(`${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`);
  if (key.length !== KEY_BYTES) throw new Error(`${path} holds ${key.length} bytes, a key has ${KEY_BYTES}; remove it for a new one`);
  return key;
}
