import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Bundle, FILES, readBundle, sha256 } from '../../../models/bundle/bundle.ts';
import { openModelStore } from '../../../trainer/server/model-store.ts';
import { ObjectStore, StoreAway } from '../../../trainer/server/object-store.ts';
import { freePort } from '../../support/live-gateway.ts';
import { BUCKET, KEY, OBJECT_SERVER, SECRET, startObjectServer, WHY_NO_OBJECT_SERVER } from '../../support/object-server.ts';
import { trainedBundle } from '../tune/machines.ts';

/** Names that a store lists at once are 1000 at the most. */
const MORE_THAN_ONE_ANSWER = 1005;

const notAway = ({ message }: Error) => expect.fail(message);

describe.skipIf(!OBJECT_SERVER)(`models in an S3-compatible store${WHY_NO_OBJECT_SERVER}`, () => {
  let bundle: Bundle;
  let made: string;
  let home: string;
  let port: number;
  let stop: () => Promise<unknown>;
  beforeAll(async () => {
    ({ folder: made, bundle } = await trainedBundle());
    home = await mkdtemp(join(tmpdir(), 'tremolo-objects-'));
    port = await freePort();
    stop = await startObjectServer(home, port);
  });
  afterAll(() => stop?.());

  let machine: string;
  let prefix: string;
  let count = 0;
  beforeEach(async () => {
    machine = await mkdtemp(join(tmpdir(), 'tremolo-machine-'));
    prefix = `test-${++count}/`;
  });
  afterEach(() => rm(machine, { recursive: true, force: true }));

  const place = (more: object = {}) => {
    const credentialsFile = join(machine, 'credentials');
    writeFileSync(credentialsFile, `${KEY}:${SECRET}\n`, { mode: 0o600 });
    return { endpoint: `http://127.0.0.1:${port}`, bucket: BUCKET, region: 'us-east-1', prefix, credentialsFile, ...more };
  };
  const storeOf = (more?: object) => openModelStore({ artifacts: join(machine, 'models'), objectStore: place(more) });
  const objects = () => new ObjectStore(place());
  const copies = () => readdirSync(join(machine, 'models'));
  const object = (name: string) => `${bundle.digest}/${name}`;

  it('are kept, found from an empty folder, listed with their replay windows, and removed from both', async () => {
    await storeOf().keep(made, bundle.digest);
    expect(await objects().list('')).toEqual([...bundle.files.keys(), FILES.manifest].map(object).sort());
    const store = storeOf();
    await store.check(notAway);
    const folder = await store.folderOf(bundle.digest);
    expect((await readBundle(folder!, ['core', 'adapt', 'server'])).digest).toBe(bundle.digest);
    expect(await store.folderOf(sha256(Buffer.from('another')))).toBeUndefined();
    expect(copies()).toEqual([bundle.digest]);
    expect([...(await store.replays()).found]).toEqual([[bundle.digest, sha256(bundle.files.get(FILES.replay)!)]]);
    await store.remove(bundle.digest);
    await store.remove(bundle.digest);
    expect([copies(), await store.folderOf(bundle.digest), [...(await store.replays()).found]]).toEqual([[], undefined, []]);
  });

  it('are none before their manifest is there, which comes last', async () => {
    const whole = storeOf();
    await whole.keep(made, bundle.digest);
    await objects().remove(object(FILES.manifest));
    expect(await storeOf().folderOf(bundle.digest)).toBeUndefined();
    const half = await mkdtemp(join(tmpdir(), 'tremolo-half-'));
    await cp(made, half, { recursive: true });
    rmSync(join(half, FILES.base));
    await expect(whole.keep(half, bundle.digest)).rejects.toThrow('ENOENT');
    expect(await storeOf().folderOf(bundle.digest)).toBeUndefined();
    await whole.keep(made, bundle.digest);
    expect(await storeOf().folderOf(bundle.digest)).toBe(join(machine, 'models', bundle.digest));
  });

  it.each([
    ['cut short', FILES.base, (bytes: Uint8Array) => bytes.subarray(0, 1000)],
    ['altered', FILES.replay, (bytes: Uint8Array) => bytes.map((value, at) => (at === bytes.length >> 1 ? value ^ 1 : value))],
    ['missing', FILES.infer, () => undefined],
    ['altered', FILES.manifest, (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.from(' ')])],
  ])('are refused where something is %s: %s', async (_how, name, damage) => {
    await storeOf().keep(made, bundle.digest);
    const damaged = damage((await objects().get(object(name)))!);
    await (damaged ? objects().put(object(name), damaged) : objects().remove(object(name)));
    await expect(storeOf().folderOf(bundle.digest)).rejects.toMatchObject({
      code: 'server/model',
      message: expect.stringContaining(`${object(name)} in bucket models of http://127.0.0.1:${port} is not what was kept`),
    });
    expect(readdirSync(machine).includes('models') ? copies() : []).toEqual([]);
  });

  it('are put there that a server has in its folder from before, unless they are there', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-before-'));
    await cp(made, join(folder, bundle.digest), { recursive: true });
    const server = openModelStore({ artifacts: folder, objectStore: place() });
    await server.share(bundle.digest);
    expect(await storeOf().folderOf(bundle.digest)).toBe(join(machine, 'models', bundle.digest));
    // What was removed meanwhile does not come back.
    await storeOf().remove(bundle.digest);
    await server.share(bundle.digest);
    await server.share(sha256(Buffer.from('another')));
    expect(await objects().list('')).toEqual([]);
  });

  it('are fetched again where a copy is damaged, or is none', async () => {
    await storeOf().keep(made, bundle.digest);
    const copy = (await storeOf().folderOf(bundle.digest))!;
    for (const name of [FILES.base, FILES.manifest]) {
      writeFileSync(join(copy, name), 'damaged');
      expect(await storeOf().folderOf(bundle.digest)).toBe(copy);
      expect((await readBundle(copy, ['core', 'adapt', 'server'])).digest).toBe(bundle.digest);
    }
  });

  it('are listed with their replay windows past a manifest that is broken', async () => {
    await storeOf().keep(made, bundle.digest);
    await objects().put(`0/${FILES.manifest}`, new Uint8Array(1));
    const { found, broken } = await storeOf().replays();
    expect([...found.keys()]).toEqual([bundle.digest]);
    expect(broken.map(({ message }) => message)).toEqual([expect.stringContaining(`0/${FILES.manifest} in bucket`)]);
  });

  it('are listed however many there are', async () => {
    const names = Array.from({ length: MORE_THAN_ONE_ANSWER }, (_, at) => String(at).padStart(5, '0'));
    for (let from = 0; from < names.length; from += 64)
      await Promise.all(names.slice(from, from + 64).map((name) => objects().put(name, new Uint8Array(0))));
    expect(await objects().list('')).toEqual(names);
    expect(await objects().list('00', 1)).toEqual(names.slice(0, 1));
  });

  it('are refused in one line by a wrong key, a bucket that is not there, and without credentials', async () => {
    const file = join(machine, 'wrong');
    writeFileSync(file, `${KEY}:another\n`);
    await expect(storeOf({ credentialsFile: file }).check(notAway)).rejects.toMatchObject({
      code: 'server/objects',
      message: expect.stringMatching(/^bucket models of .* refuses GET \(\w+\); look at the credentials/),
    });
    await expect(storeOf({ bucket: 'nowhere' }).check(notAway)).rejects.toThrow(
      /^bucket nowhere of .* refuses GET \(NoSuchBucket\); make the bucket/,
    );
    writeFileSync(file, 'key secret');
    expect(() => storeOf({ credentialsFile: file })).toThrow(/is not one line KEY:SECRET/);
    expect(() => storeOf({ credentialsFile: undefined })).toThrow(/set AWS_ACCESS_KEY_ID/);
  });

  it('are waited for by the patient alone while the store is away', async () => {
    const nobody = { endpoint: `http://127.0.0.1:${await freePort()}` };
    // Nothing that a start must fail for, but to be said.
    const said: string[] = [];
    await storeOf(nobody).check(({ message }) => said.push(message));
    expect(said).toEqual([expect.stringMatching(/cannot be reached \(ECONNREFUSED\)$/)]);
    await expect(storeOf(nobody).folderOf(bundle.digest)).rejects.toThrow(StoreAway);
    const over = new AbortController();
    const heard: string[] = [];
    const onAway = ({ message }: Error) => {
      heard.push(message);
      if (heard.length === 2) over.abort();
    };
    await expect(new ObjectStore(place(nobody), { signal: over.signal, onAway }).get('x')).rejects.toThrow(StoreAway);
    expect(heard[0]).toMatch(/cannot be reached \(ECONNREFUSED\)/);
  });
});
