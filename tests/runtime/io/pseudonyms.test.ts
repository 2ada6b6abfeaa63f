import { chmodSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Pseudonyms } from '../../../runtime/io/pseudonyms.ts';

const fail = (error: Error) => {
  throw error;
};

const keyPath = async () => join(await mkdtemp(join(tmpdir(), 'tremolo-pseudonyms-')), 'state', 'key');

it('gives a name one pseudonym for ever, and another key another', async () => {
  const path = await keyPath();
  const first = new Pseudonyms(path, fail).of('asset', 'press 3');
  expect(first).toMatch(/^[0-9a-f]{20}$/);
  expect(new Pseudonyms(path, fail).of('asset', 'press 3')).toBe(first);
  expect(new Pseudonyms(path, fail).of('operator', 'press 3')).not.toBe(first);
  await rm(path);
  expect(new Pseudonyms(path, fail).of('asset', 'press 3')).not.toBe(first);
});

it('keeps its key from others, and refuses one that others can read or that is no key', async () => {
  const path = await keyPath();
  new Pseudonyms(path, fail);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  chmodSync(path, 0o640);
  expect(() => new Pseudonyms(path, fail)).toThrow(/chmod 600/);
  chmodSync(path, 0o600);
  await writeFile(path, 'short');
  expect(() => new Pseudonyms(path, fail)).toThrow(/5 bytes/);
});

it('goes on with a key of this run where none can be kept, and says so', async () => {
  const path = await keyPath();
  await writeFile(join(path, '..', '..', 'state'), 'a file where a folder should be');
  const errors: Error[] = [];
  const pseudonyms = new Pseudonyms(path, (error) => errors.push(error));
  expect(errors).toHaveLength(1);
  expect(pseudonyms.of('asset', 'press 3')).toBe(pseudonyms.of('asset', 'press 3'));
});
