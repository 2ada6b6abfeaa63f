import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../../models/bundle/bundle.ts';
import { BUNDLE_REFUSALS, BundleRefusal, type BundleRefusalCode } from '../../../models/bundle/schema/refusal.ts';
import { AdapterStore } from '../../../runtime/io/adapter-store.ts';
import { nodeDisk } from '../../../runtime/io/update-disk.ts';
import { startProved } from '../../../runtime/io/update-start.ts';
import { refusalOf } from '../../../runtime/io/update-steps.ts';
import { UpdateStorage } from '../../../runtime/io/update-storage.ts';
import { FACTORY_RECORD } from '../../../runtime/update/record.ts';

const MANIFEST = Buffer.from('a manifest, as far as this start is concerned');
const systemError = (code: string) => Object.assign(new Error(`${code}: read`), { code, syscall: 'read' });

/** A confirmed bundle in slot a. @param manifest what the disk has of it by now */
async function confirmed(manifest: Uint8Array): Promise<{ storage: UpdateStorage; adapters: AdapterStore }> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-fault-'));
  const storage = new UpdateStorage(nodeDisk, folder);
  await storage.open();
  await mkdir(storage.slotFolder('a'));
  await writeFile(join(storage.slotFolder('a'), 'manifest.json'), manifest);
  const slot = { deployment: 'push-1', number: 1, digest: sha256(MANIFEST), objects: [sha256(MANIFEST)] };
  await storage.write({ ...FACTORY_RECORD, active: 'a', slots: { a: slot }, confirmed: ['push-1'] });
  return { storage, adapters: new AdapterStore(join(folder, 'adapters')) };
}

/** Starts a gateway whose bundle in slot a fails so many times. */
async function started(error: Error, times: number, manifest: Uint8Array = MANIFEST) {
  const { storage, adapters } = await confirmed(manifest);
  let failures = 0;
  const start = async (folder: string) => {
    const isSlot = folder === storage.slotFolder('a');
    if (isSlot && failures++ < times) throw error;
    return { status: () => ({ bundle: { digest: isSlot ? sha256(MANIFEST) : 'factory' } }), stop: async () => {} };
  };
  return startProved(storage, 'factory', adapters, start, () => {});
}

const OF_THE_BUNDLE: readonly BundleRefusalCode[] = [
  'bundle/manifest',
  'bundle/version',
  'bundle/graph',
  'bundle/part',
  'bundle/tensors',
  'bundle/not-finite',
  'bundle/adapter',
  'bundle/answers',
];
const OF_THE_FOLDER: readonly BundleRefusalCode[] = ['bundle/missing', 'bundle/unreadable', 'bundle/size', 'bundle/hash', 'bundle/path'];

it('every refusal of a bundle is either proof against it or a fault of the folder', () => {
  expect([...OF_THE_BUNDLE, ...OF_THE_FOLDER, 'bundle/engine', 'bundle/occupied'].sort()).toEqual(Object.keys(BUNDLE_REFUSALS).sort());
});

describe('a start with a confirmed bundle', () => {
  it.each(OF_THE_FOLDER)('that fails with %s is tried once more, and the bundle decides', async (code) => {
    const { record } = await started(new BundleRefusal(code, 'for once'), 1);
    expect(record).toMatchObject({ active: 'a', failed: [] });
  });

  it.each([
    ...[...OF_THE_FOLDER, 'bundle/engine' as const].map((code) => new BundleRefusal(code, 'each time')),
    systemError('EIO'),
    systemError('EMFILE'),
  ])('that fails each time (%s) takes what was before, and holds it against nobody', async (error) => {
    expect((await started(error, 9)).record).toMatchObject({ active: 'factory', slots: {}, failed: [] });
  });

  it.each(OF_THE_BUNDLE)('that is refused as it was signed (%s) condemns it', async (code) => {
    const { record } = await started(new BundleRefusal(code, 'proved'), 9);
    expect(record).toMatchObject({ active: 'factory', failed: [{ deployment: 'push-1' }] });
  });

  it('whose manifest a disk has spoilt condemns nothing, whatever that reads like', async () => {
    const { record } = await started(new BundleRefusal('bundle/manifest', 'no JSON'), 9, Buffer.from('{"formatVersion":'));
    expect(record).toMatchObject({ active: 'factory', failed: [] });
  });
});

describe('an error of a step', () => {
  it.each([
    ...OF_THE_FOLDER.map((code) => [new BundleRefusal(code, ''), 'update/disk'] as const),
    ...OF_THE_BUNDLE.map((code) => [new BundleRefusal(code, ''), code === 'bundle/answers' ? 'update/answers' : 'update/bundle'] as const),
    [new BundleRefusal('bundle/engine', ''), 'update/answers'],
    [systemError('EIO'), 'update/disk'],
    [Object.assign(new Error('no thread'), { code: 'ERR_WORKER_INIT_FAILED' }), 'update/disk'],
    [new Error('the graph has no output'), 'update/answers'],
  ] as const)('%s is %s', (error, code) => {
    expect(refusalOf(error, 'answers').code).toBe(code);
  });
});
