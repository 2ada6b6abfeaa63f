import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ReferenceStore } from '../../../runtime/io/reference-store.ts';

const BASE = 'b'.repeat(64);
const referenceOf = (stream: string, ...values: number[]) => ({ stream, base: BASE, windows: 20, values: Float32Array.from(values) });

async function storeIn(): Promise<{ folder: string; store: ReferenceStore }> {
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-references-')), 'references');
  return { folder, store: new ReferenceStore(folder) };
}

const refuse = (path: string, error: Error) => {
  throw new Error(`${path}: ${error.message}`);
};

describe('ReferenceStore', () => {
  it('gives back what was written last, and leaves nothing else in its folder', async () => {
    const { folder, store } = await storeIn();
    expect(await store.read(BASE, refuse)).toEqual(new Map());
    await store.write(referenceOf('press', 1, 2));
    await store.write(referenceOf('press', 3, 4));
    await store.write(referenceOf('pump', 5));
    expect(await store.read(BASE, refuse)).toEqual(
      new Map([
        ['press', referenceOf('press', 3, 4)],
        ['pump', referenceOf('pump', 5)],
      ]),
    );
    expect((await readdir(folder)).sort()).toEqual(['press.json', 'pump.json']);
    await store.remove('pump');
    expect([...(await store.read(BASE, refuse)).keys()]).toEqual(['press']);
  });

  it('keeps references of another base without using them', async () => {
    const { folder, store } = await storeIn();
    await store.read(BASE, refuse);
    await store.write(referenceOf('press', 1));
    expect(await store.read('c'.repeat(64), refuse)).toEqual(new Map());
    expect(await readdir(folder)).toEqual(['press.json']);
  });

  it('reports damaged files, one by one, and uses the others', async () => {
    const { folder, store } = await storeIn();
    await store.read(BASE, refuse);
    await store.write(referenceOf('press', 1));
    await store.write(referenceOf('pump', 1));
    await writeFile(join(folder, 'pump.json'), (await readFile(join(folder, 'pump.json'), 'utf8')).slice(0, 40));
    await writeFile(join(folder, 'fan.json'), await readFile(join(folder, 'press.json')));
    await writeFile(join(folder, 'press.json.new'), 'a write that a crash cut off');
    const damaged: string[] = [];
    const read = await store.read(BASE, (path) => damaged.push(path));
    expect([...read.keys()]).toEqual(['press']);
    expect(damaged.sort()).toEqual([join(folder, 'fan.json'), join(folder, 'pump.json')]);
  });

  it('writes nothing that it would not read', async () => {
    const { folder, store } = await storeIn();
    await store.read(BASE, refuse);
    await expect(store.write(referenceOf('../press', 1))).rejects.toThrow('stream');
    await expect(store.write(referenceOf('press', Number.NaN))).rejects.toThrow('values');
    expect(await readdir(folder)).toEqual([]);
  });
});
