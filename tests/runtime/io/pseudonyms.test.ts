import { readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { Pseudonyms } from '../../../runtime/io/pseudonyms.ts';

const fail = (error: Error) => {
  throw error;
};

const keyPath = async () => join(await mkdtemp(join(tmpdir(), 'tremolo-pseudonyms-')), 'state', 'key');

it('gives a name one pseudonym for ever, and another key another', async () => {
  const path = await keyPath();
  const first = (await Pseudonyms.open(path, fail)).of('asset', 'press 3');
  expect(first).toMatch(/^[0-9a-f]{20}$/);
  expect((await Pseudonyms.open(path, fail)).of('asset', 'press 3')).toBe(first);
  expect((await Pseudonyms.open(path, fail)).of('operator', 'press 3')).not.toBe(first);
  await rm(path);
  expect((await Pseudonyms.open(path, fail)).of('asset', 'press 3')).not.toBe(first);
});

it('keeps its key from others', async () => {
  const path = await keyPath();
  await Pseudonyms.open(path, fail);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(dirname(path))).toEqual(['key']);
});

it.each([
  ['others can read', /chmod 600/, (path: string) => chmod(path, 0o644)],
  ['is no key, as a power cut leaves it', /0 bytes/, (path: string) => writeFile(path, '')],
])('goes on with a key of this run where the kept one %s, says so, and leaves the file as it is', async (_what, message, spoil) => {
  const path = await keyPath();
  const kept = (await Pseudonyms.open(path, fail)).of('asset', 'press 3');
  await spoil(path);
  const before = readFileSync(path);
  const errors: string[] = [];
  const pseudonyms = await Pseudonyms.open(path, ({ message }) => errors.push(message));
  expect(errors).toEqual([expect.stringMatching(message)]);
  expect(pseudonyms.of('asset', 'press 3')).not.toBe(kept);
  expect(pseudonyms.of('asset', 'press 3')).toBe(pseudonyms.of('asset', 'press 3'));
  expect(readFileSync(path)).toEqual(before);
});

it('goes on with a key of this run where none can be kept, and says so', async () => {
  const path = await keyPath();
  await writeFile(join(path, '..', '..', 'state'), 'a file where a folder should be');
  const errors: Error[] = [];
  const pseudonyms = await Pseudonyms.open(path, (error) => errors.push(error));
  expect(errors).toHaveLength(1);
  expect(pseudonyms.of('asset', 'press 3')).toBe(pseudonyms.of('asset', 'press 3'));
});
