import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { sha256 } from '../../../models/bundle/bundle.ts';
import type { Manifest } from '../../../models/bundle/schema/manifest.ts';
import type { Target } from '../../../runtime/contracts/update.ts';
import { nodeDisk } from '../../../runtime/io/update-disk.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';
import { type SimulatedGateway, simulateGateway } from '../../support/update-simulation.ts';
import { EASY, UpdateSite } from '../../support/update-site.ts';

const patient = { timeout: 20_000, interval: 2 };

interface PaperBundle {
  readonly folder: string;
  readonly digest: string;
  readonly manifest: Buffer;
  readonly file: Buffer;
}

let described: Manifest;
let factory: PaperBundle;
let next: PaperBundle;

/** A real manifest and a file that no engine ever reads. */
async function paperBundle(name: string, length: number): Promise<PaperBundle> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-paper-'));
  const file = Buffer.from(Uint8Array.from({ length }, (_, at) => at * 3 + name.length));
  const core = { 'infer.onnx': { bytes: file.length, sha256: sha256(file) } };
  const base = createHash('sha256').update(name).digest('hex');
  const manifest = Buffer.from(JSON.stringify({ ...described, name, base, parts: { core } }));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'manifest.json'), manifest);
  await writeFile(join(folder, 'infer.onnx'), file);
  return { folder, digest: sha256(manifest), manifest, file };
}

beforeAll(async () => {
  described = JSON.parse(await readFile(join((await makeTinyBundle()).folder, 'manifest.json'), 'utf8')) as Manifest;
  factory = await paperBundle('factory', 100);
  next = await paperBundle('next', 30_000);
});

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

const push = (site: UpdateSite, target: Partial<Target> = {}) => {
  const deployment = site.push(next.manifest, { kind: 'bundle', parts: ['core'], ...target } as Partial<Target>, [next.file]);
  site.publish();
  return deployment;
};

async function gatewayOf(site: UpdateSite, folder?: string): Promise<SimulatedGateway> {
  const made = await simulateGateway(nodeDisk, folder ?? (await mkdtemp(join(tmpdir(), 'tremolo-attack-'))), factory.folder, site);
  open.push(() => made.service.stop());
  return made;
}

/** Tells the gateway, and waits for the end of what it makes of it. */
async function ended({ service, tell }: SimulatedGateway): Promise<string | undefined> {
  tell();
  await vi.waitFor(() => expect(['refused', 'rolledBack', 'confirmed']).toContain(service.machine.phase), patient);
  return service.machine.error;
}

/** What the server, or somebody in between, does to the chunks of the bundle's file. */
const OF_FILE: readonly [what: string, error: RegExp, tamper: (payload: Buffer, index: number) => readonly Buffer[]][] = [
  [
    'has other bytes',
    /^update\/hash: .*arbitrary software attack/,
    (payload, index) => {
      if (index === 3) payload[77]++;
      return [payload];
    },
  ],
  ['sends the same chunk for ever', /^update\/budget: \d+ bytes have come/, (payload) => Array.from({ length: 40 }, () => payload)],
];

describe.each(OF_FILE)('a server that %s', (_what, error, tamper) => {
  it('is refused by name, the old model goes on deciding, and an honest server is believed afterwards', async () => {
    const site = new UpdateSite();
    const victim = sha256(next.file);
    site.tamper = (object, index, payload) => (object === victim ? tamper(payload, index) : [payload]);
    const bad = push(site, { budgetBytes: 200_000 });
    const gateway = await gatewayOf(site);
    expect(await ended(gateway)).toMatch(error);
    expect(gateway.running()).toBe(factory.digest);
    expect(gateway.service.machine.record.failed).toEqual([{ deployment: bad, error: expect.stringMatching(error) }]);
    site.tamper = (_object, _index, payload) => [payload];
    const good = push(site);
    gateway.tell();
    await vi.waitFor(() => expect(gateway.service.machine.record.confirmed).toEqual([good]), patient);
    expect(gateway.running()).toBe(next.digest);
  });
});

describe('a transfer', () => {
  it('takes chunks that come twice, in disorder, cut short, of another object or of a forged length for what they are', async () => {
    const site = new UpdateSite();
    push(site);
    site.tamper = (object, index, payload) => {
      if (object !== sha256(next.file)) return [payload];
      const forged = (length: number) => {
        const copy = Buffer.from(payload);
        copy.writeUInt32LE(length);
        return copy;
      };
      if (index === 2) return [forged(1e9), forged(29_999), payload];
      return index % 2 === 0 ? [payload.subarray(0, 50), payload, payload] : [Buffer.concat([payload, payload]), payload];
    };
    const gateway = await gatewayOf(site);
    expect(await ended(gateway)).toBeUndefined();
    expect(gateway.running()).toBe(next.digest);
  });

  it('stops and says so where the server has lost an object, and goes on when it is back', async () => {
    const site = new UpdateSite();
    push(site);
    site.objects.delete(sha256(next.file));
    const gateway = await gatewayOf(site);
    expect(await ended(gateway)).toMatch(/^update\/missing: .*there is none/);
    expect(gateway.service.machine.record.failed).toEqual([]);
    const asked = gateway.asked.length;
    site.objects.set(sha256(next.file), next.file);
    site.publish();
    gateway.tell();
    await vi.waitFor(() => expect(gateway.running()).toBe(next.digest), patient);
    // The manifest was there already.
    expect(gateway.asked.slice(asked).filter((name) => name.startsWith(next.digest))).toEqual([]);
  });

  it('is not begun where it cannot be had for its budget, whatever was spent before a restart counting', async () => {
    const site = new UpdateSite();
    push(site, { budgetBytes: 20_000 });
    const gateway = await gatewayOf(site);
    expect(await ended(gateway)).toMatch(/^update\/budget: needs \d+ bytes more/);
    expect(gateway.asked.filter((name) => name.startsWith(sha256(next.file)))).toEqual([]);
  });

  it('of a manifest that is none, or lacks a part, is refused', async () => {
    const site = new UpdateSite();
    site.push(Buffer.from('{}'), { kind: 'bundle', parts: ['core'] });
    site.publish();
    expect(await ended(await gatewayOf(site))).toMatch(/^update\/bundle: .*manifest\.json/);
    const other = new UpdateSite();
    push(other, { parts: ['core', 'adapt'] } as Partial<Target>);
    expect(await ended(await gatewayOf(other))).toMatch(/^update\/bundle: .*partial bundle/);
    const twice = new UpdateSite();
    const named = JSON.parse(next.manifest.toString()) as { parts: { core: Record<string, unknown> } };
    named.parts.core['manifest.json'] = Object.values(named.parts.core)[0];
    twice.push(Buffer.from(JSON.stringify(named)), { kind: 'bundle', parts: ['core'] } as Partial<Target>, [next.file]);
    twice.publish();
    expect(await ended(await gatewayOf(twice))).toMatch(/^update\/bundle: .*two files of the bundle are called manifest\.json/);
  });
});

describe('slow retrieval and drop-request', () => {
  afterEach(() => vi.useRealTimers());

  it.each([
    ['answers no request', () => []],
    ['sends what is of no use', (payload: Buffer) => [payload.subarray(0, 9)]],
  ] as const)(
    'by a server that %s end by name, the old model goes on deciding, and an honest server is believed afterwards',
    async (_what, tamper) => {
      vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] });
      const site = new UpdateSite();
      site.tamper = (object, _index, payload) => (object === sha256(next.file) ? tamper(payload) : [payload]);
      push(site);
      const gateway = await gatewayOf(site);
      gateway.tell();
      await vi.waitFor(() => expect(gateway.asked.some((name) => name.startsWith(sha256(next.file)))).toBe(true), patient);
      for (let minute = 0; minute < 11; minute++) await vi.advanceTimersByTimeAsync(60_000);
      await vi.waitFor(() => expect(gateway.service.machine.phase).toBe('refused'), patient);
      expect(gateway.service.machine.error).toMatch(/^update\/slow: .* slow retrieval or drop-request attack, or no server/);
      expect(gateway.running()).toBe(factory.digest);
      expect(gateway.service.machine.record.failed).toEqual([]);
      vi.useRealTimers();
      site.tamper = (_object, _index, payload) => [payload];
      site.publish();
      gateway.tell();
      await vi.waitFor(() => expect(gateway.running()).toBe(next.digest), patient);
    },
  );
});

describe('what is meant for others', () => {
  it.each([
    ['another gateway', { gateways: ['else'] }],
    ['another platform', { platforms: ['plan9-mips'] }],
  ])('%s is left alone', async (_what, target) => {
    const site = new UpdateSite();
    push(site, target);
    const gateway = await gatewayOf(site);
    gateway.tell();
    await vi.waitFor(() => expect([gateway.service.machine.looking, gateway.service.machine.wanted]).toEqual([false, []]), patient);
    await vi.waitFor(() => expect(gateway.service.machine.phase).toBe('idle'), patient);
    expect(gateway.running()).toBe(factory.digest);
  });

  it('costs an update of this gateway nothing, however often it was looked at', async () => {
    const site = new UpdateSite();
    const gateway = await gatewayOf(site);
    for (let pushes = 0; pushes < 12; pushes++) {
      push(site, { gateways: ['else'] });
      gateway.tell();
      await vi.waitFor(() => expect(gateway.service.machine.looking).toBe(false), patient);
    }
    push(site, { budgetBytes: 80_000 });
    expect(await ended(gateway)).toBeUndefined();
    expect(gateway.running()).toBe(next.digest);
  });

  it('a timestamp that nobody signed changes nothing, by name', async () => {
    const site = new UpdateSite();
    push(site);
    const stranger = new UpdateSite();
    const gateway = await gatewayOf(site);
    gateway.service.onMessage('tremolo/v1/plant/shared/update/timestamp', stranger.repository.timestamp);
    await vi.waitFor(() => expect(gateway.service.machine.phase).toBe('refused'), patient);
    expect(gateway.service.machine.error).toMatch(/^update\/arbitrary-software: /);
    expect(gateway.running()).toBe(factory.digest);
    gateway.tell();
    await vi.waitFor(() => expect(gateway.running()).toBe(next.digest), patient);
  });
});

describe('a slot that was spoilt while the gateway was off', () => {
  it('does not decide: the one before it does, and at last the factory’s; it is not held against the bundle, which is fetched anew', async () => {
    const site = new UpdateSite();
    push(site, { thresholds: EASY });
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-attack-'));
    const gateway = await gatewayOf(site, folder);
    await ended(gateway);
    expect(gateway.running()).toBe(next.digest);
    await gateway.service.stop();
    await writeFile(join(folder, 'slots', 'a', 'infer.onnx'), 'something else');
    const again = await gatewayOf(site, folder);
    expect(again.startedWith).toBe(factory.digest);
    expect(again.record.failed).toEqual([]);
    again.tell();
    await vi.waitFor(() => expect(again.running()).toBe(next.digest), patient);
    await again.service.stop();
    await writeFile(join(folder, 'slots', 'pointer.json'), 'rubbish');
    expect((await gatewayOf(site, folder)).startedWith).toBe(factory.digest);
  });
});
