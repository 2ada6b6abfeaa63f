import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { sha256 } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { nodeDisk } from '../../runtime/io/update-disk.ts';
import { neededObjects } from '../../runtime/update/record.ts';
import { CutDisk } from '../support/cut-disk.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';
import { simulateGateway } from '../support/update-simulation.ts';
import { UpdateSite } from '../support/update-site.ts';

interface PaperBundle {
  readonly folder: string;
  readonly digest: string;
  readonly manifest: Buffer;
  readonly files: readonly Buffer[];
}

let manifest: Manifest;
let factory: PaperBundle;
let next: PaperBundle;

/** A bundle of a real manifest and small files that no engine ever reads. */
async function paperBundle(name: string, lengths: readonly number[]): Promise<PaperBundle> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-paper-'));
  const files = lengths.map((length, index) => Buffer.from(Uint8Array.from({ length }, (_, at) => at * (index + 3) + name.length)));
  const core = Object.fromEntries(files.map((bytes, index) => [`file${index}.bin`, { bytes: bytes.length, sha256: sha256(bytes) }]));
  const base = createHash('sha256').update(name).digest('hex');
  const text = Buffer.from(JSON.stringify({ ...manifest, name, base, parts: { core } }));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'manifest.json'), text);
  for (const [index, bytes] of files.entries()) await writeFile(join(folder, `file${index}.bin`), bytes);
  return { folder, digest: sha256(text), manifest: text, files };
}

beforeAll(async () => {
  const tiny = await makeTinyBundle();
  manifest = JSON.parse(await readFile(join(tiny.folder, 'manifest.json'), 'utf8')) as Manifest;
  factory = await paperBundle('factory', [100]);
  next = await paperBundle('next', [9000, 0, 4096]);
});

const patient = { timeout: 20_000, interval: 2 };

function pushed(): UpdateSite {
  const site = new UpdateSite();
  site.push(next.manifest, { kind: 'bundle', parts: ['core'] }, next.files);
  site.publish();
  return site;
}

describe.each(['kill', 'power'] as const)('a power cut (%s) at every write of an update', (how) => {
  it('leaves a gateway that decides with the old bundle or the new one, whole, and an update that comes to its end', async () => {
    const site = pushed();
    let cuts = 0;
    for (let at = 1; ; at++) {
      const folder = await mkdtemp(join(tmpdir(), 'tremolo-cut-'));
      const disk = new CutDisk(how, at);
      const first = await simulateGateway(disk, folder, factory.folder, site).catch((error: Error) => {
        // A disk that dies before the broker is there: nothing was begun.
        expect(disk.cut, error.stack).toBe(true);
        return undefined;
      });
      first?.tell();
      await vi.waitFor(() => expect(disk.cut || first?.service.machine.phase === 'confirmed').toBe(true), patient);
      await first?.service.stop();
      if (!disk.cut) {
        expect(first?.running()).toBe(next.digest);
        break;
      }
      cuts++;
      const again = await simulateGateway(nodeDisk, folder, factory.folder, site);
      expect([factory.digest, next.digest], `cut ${at}`).toContain(again.startedWith);
      again.tell();
      await vi.waitFor(
        () => expect(again.service.machine.record.confirmed, `cut ${at}: ${again.service.machine.error}`).toEqual(['push-1']),
        patient,
      );
      expect(again.running()).toBe(next.digest);
      const { record } = again.service.machine;
      expect(record.failed).toEqual([]);
      // Neither bundle's objects are lost, and of what the cut has left nothing stays.
      await vi.waitFor(
        async () => expect((await readdir(join(folder, 'objects'))).sort()).toEqual([...neededObjects(record)].sort()),
        patient,
      );
      await again.service.stop();
      await rm(folder, { recursive: true, force: true });
    }
    expect(cuts).toBeGreaterThan(50);
  });
});

describe('years of pushes', () => {
  it('leave on a gateway the bundle that decides, the one before it, and what is under way', async () => {
    const site = new UpdateSite();
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-years-'));
    const gateway = await simulateGateway(nodeDisk, folder, factory.folder, site);
    const objects = async () => (await readdir(join(folder, 'objects'))).sort();
    for (let year = 1; year <= 12; year++) {
      const bundle = await paperBundle(`year ${year}`, [6000 + year, 5000]);
      if (year % 3 === 0) {
        // One that never comes whole gives way to the next in the midst of its transfer.
        const cut = await paperBundle(`cut ${year}`, [90_000 + year]);
        site.tamper = (_name, index, payload) => (index > 12 ? [] : [payload]);
        site.push(cut.manifest, { kind: 'bundle', parts: ['core'] }, cut.files);
        site.publish();
        gateway.tell();
        await vi.waitFor(async () => expect((await objects()).some((name) => name.endsWith('.part'))).toBe(true), patient);
        site.tamper = (_name, _index, payload) => [payload];
      }
      const deployment = site.push(bundle.manifest, { kind: 'bundle', parts: ['core'] }, bundle.files);
      site.publish();
      gateway.tell();
      await vi.waitFor(() => expect(gateway.service.machine.record.confirmed).toContain(deployment), patient);
      const { slots } = gateway.service.machine.record;
      const kept = [slots.a, slots.b].flatMap((slot) => slot?.objects ?? []);
      expect(kept).toContain(bundle.digest);
      await vi.waitFor(async () => expect(await objects()).toEqual([...new Set(kept)].sort()), patient);
    }
    await gateway.service.stop();
  });
});

describe('an interrupted transfer', () => {
  it('goes on at the first chunk that is not on disk', async () => {
    const site = pushed();
    const big = Buffer.from(Uint8Array.from({ length: 400_000 }, (_, at) => at * 7 + (at >> 9)));
    const large = await paperBundle('large', [big.length]);
    const object = sha256(large.files[0]);
    site.push(large.manifest, { kind: 'bundle', parts: ['core'] }, large.files);
    site.publish();
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-cut-'));
    const chunks = Math.ceil(big.length / 4096);
    let answered = 0;
    site.tamper = (name, _index, payload) => (name === object && ++answered > 70 ? [] : [payload]);
    const first = await simulateGateway(nodeDisk, folder, factory.folder, site);
    first.tell();
    await vi.waitFor(
      async () => expect((await readFile(join(folder, 'objects', `${object}.map`)).catch(() => '')).length).toBeGreaterThan(0),
      patient,
    );
    await vi.waitFor(() => expect(answered).toBeGreaterThan(70), patient);
    await first.service.stop();
    site.tamper = (_name, _index, payload) => [payload];
    const again = await simulateGateway(nodeDisk, folder, factory.folder, site);
    again.tell();
    await vi.waitFor(() => expect(again.running()).toBe(large.digest), patient);
    const asked = again.asked.filter((name) => name.startsWith(object));
    expect(asked.length).toBeLessThanOrEqual(chunks - 48);
    expect(new Set(asked).size).toBe(asked.length);
    await again.service.stop();
  });
});
