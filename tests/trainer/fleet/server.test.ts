import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeSafetensors } from '../../../models/bundle/schema/safetensors.ts';
import { gatewayTopics } from '../../../runtime/contracts/topics.ts';
import { connectBroker } from '../../../runtime/io/broker-client.ts';
import { createRepository } from '../../../trainer/fleet/authority.ts';
import { beginRollout, type Plan, readCargo } from '../../../trainer/fleet/deployment.ts';
import { Repository } from '../../../trainer/fleet/repository.ts';
import { releasedTo } from '../../../trainer/fleet/rollout.ts';
import { changeRollout, readRollout, readRollouts } from '../../../trainer/fleet/rollout-store.ts';
import { RolloutView } from '../../../trainer/fleet/rollout-view.ts';
import { FleetServer } from '../../../trainer/fleet/server.ts';
import { startEmbeddedBroker } from '../../../trainer/io/broker.ts';
import { freePort } from '../../support/live-gateway.ts';
import { BASE, type Behaviour, SimulatedGateway } from '../../support/simulated-gateway.ts';

const patient = { timeout: 40_000, interval: 20 };

let folder: string;
let repositories = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-server-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function repositoryOf(): Promise<Repository> {
  const path = join(folder, `fleet-${repositories++}`);
  return createRepository(path, { folder: join(path, 'keys'), keys: 1, threshold: 1 }, ['plant', 'north'], new Date());
}

async function serve(repository: Repository, url: string): Promise<FleetServer> {
  const events: string[] = [];
  const broker = { url, protocolVersion: 4 as const, qos: 1 as const };
  const server = (await FleetServer.tryStart(repository, broker, { onEvent: (event) => events.push(event) }))!;
  open.push(() => server.close());
  return server;
}

async function gatewayOf(repository: Repository, url: string, name: string, behaviour: Behaviour = 'confirms'): Promise<SimulatedGateway> {
  const gateway = new SimulatedGateway(url, 'plant', name, await readFile(join(repository.folder, '1.root.json')), behaviour);
  open.push(() => gateway.stop());
  await gateway.start();
  return gateway;
}

async function cargoOf(value: number) {
  const path = join(folder, `${value}.safetensors`);
  const weights = { type: 'float32' as const, shape: [3000], values: new Float32Array(3000).fill(value) };
  await writeFile(path, encodeSafetensors({ tensors: { weights }, metadata: { base: BASE } }));
  return readCargo(path, { stream: 'press', adapt: false });
}

const planOf = (...groups: string[][]): Plan => ({
  groups,
  rules: { success: 0.9, error: 0.1, silentAfterMs: 600_000, settleMs: 0 },
  thresholds: { shadowWindows: 0, shadowSeconds: 1, agreement: 0.9, latencyMs: 100, alarmShareChange: 1, memoryBytes: 1 << 20 },
  budgetBytes: 200_000,
  platforms: [],
});

describe('rollouts', () => {
  it('are parsed again only where another process has changed them', async () => {
    const repository = await repositoryOf();
    const cargo = await cargoOf(9);
    const first = await beginRollout(repository, cargo, planOf(['plant/a']), new Date());
    await beginRollout(repository, cargo, planOf(['plant/b']), new Date());
    const before = await readRollouts(repository);
    expect((await readRollouts(repository)).every((rollout, index) => rollout === before[index])).toBe(true);
    const other = await Repository.open(repository.folder);
    await changeRollout(other, first.deployment, (rollout) => ({ ...rollout, reason: 'elsewhere' }), new Date());
    const after = await readRollouts(repository);
    expect(after[0]).toEqual({ ...before[0], reason: 'elsewhere' });
    expect(after[1]).toBe(before[1]);
  });
});

describe('a server', () => {
  it('goes on when the broker restarts in mid-rollout and has forgotten everything', async () => {
    const port = await freePort();
    const first = await startEmbeddedBroker(port);
    const repository = await repositoryOf();
    const [a, b] = [await gatewayOf(repository, first.url, 'a'), await gatewayOf(repository, first.url, 'b', 'ignores')];
    await serve(repository, first.url);
    const { deployment } = await beginRollout(repository, await cargoOf(1), planOf(['plant/a'], ['plant/b']), new Date());
    await vi.waitFor(async () => expect(releasedTo(await readRollout(repository, deployment))).toContain('plant/b'), patient);
    await first.close();
    b.behaviour = 'confirms';
    const second = await startEmbeddedBroker(port);
    open.push(() => second.close());
    await vi.waitFor(async () => expect((await readRollout(repository, deployment)).status).toBe('finished'), patient);
    for (const gateway of [a, b]) expect(gateway.ran).toEqual([deployment]);
  });

  it('signs what a process that was killed had begun and not signed', async () => {
    const broker = await startEmbeddedBroker();
    open.push(() => broker.close());
    const repository = await repositoryOf();
    const { deployment } = await beginRollout(repository, await cargoOf(2), planOf(['plant/a']), new Date());
    // Its group has begun on disk, and no signature says so.
    const path = join(repository.folder, 'rollouts', `${deployment}.json`);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('"groups":[{"gateways":["plant/a"]', `"groups":[{"gateways":["plant/a"],"beganMs":${Date.now()}`));
    expect(releasedTo(await readRollout(repository, deployment))).toEqual(['plant/a']);
    expect(Object.keys((await repository.site('plant')).signed.targets)).toEqual([]);
    await gatewayOf(repository, broker.url, 'a');
    await serve(repository, broker.url);
    await vi.waitFor(async () => expect((await readRollout(repository, deployment)).status).toBe('finished'), patient);
  });

  it('sends everyone back when too many lose it after the end', async () => {
    const broker = await startEmbeddedBroker();
    open.push(() => broker.close());
    const repository = await repositoryOf();
    const [a, b] = [await gatewayOf(repository, broker.url, 'a'), await gatewayOf(repository, broker.url, 'b')];
    await serve(repository, broker.url);
    const { deployment } = await beginRollout(repository, await cargoOf(3), planOf(['plant/a', 'plant/b']), new Date());
    const status = async () => (await readRollout(repository, deployment)).status;
    await vi.waitFor(async () => expect(await status()).toBe('finished'), patient);
    await a.fallBack(deployment);
    await vi.waitFor(async () => expect(await status()).toBe('failed'), patient);
    expect((await readRollout(repository, deployment)).reason).toContain('plant/a: fell back after it had confirmed: update/crash');
    await vi.waitFor(() => expect(b.ran).toEqual([deployment, 'factory']), patient);
  });

  it('gives a site nothing of another site, and of the folder only what is signed', async () => {
    const broker = await startEmbeddedBroker();
    open.push(() => broker.close());
    const repository = await repositoryOf();
    const cargo = await cargoOf(4);
    const server = await serve(repository, broker.url);
    await beginRollout(repository, cargo, planOf(['plant/a']), new Date());
    const client = connectBroker(broker.url, () => {});
    open.push(() => client.endAsync(true));
    const topics = gatewayTopics('north', 'spy');
    const refused: string[] = [];
    client.on('message', (_topic, payload) => refused.push(JSON.parse(payload.toString()).object));
    await client.subscribeAsync(topics.updateRefusal, { qos: 1 });
    const wanted = [cargo.target.sha256, '1.site-plant.json', 'f'.repeat(64)];
    await vi.waitFor(async () => {
      for (const object of wanted) await client.publishAsync(topics.updateRequest, JSON.stringify({ object, ranges: [[0, 1]] }));
      expect(new Set(refused)).toEqual(new Set(wanted));
    }, patient);
    expect(server.counters.chunksPublished).toBe(0);
  });

  it('sends to twenty gateways about what it sends to one', async () => {
    const broker = await startEmbeddedBroker();
    open.push(() => broker.close());
    const repository = await repositoryOf();
    const names = Array.from({ length: 20 }, (_, index) => `g${index}`);
    for (const name of names) await gatewayOf(repository, broker.url, name);
    const server = await serve(repository, broker.url);
    const { deployment } = await beginRollout(repository, await cargoOf(8), planOf(names.map((name) => `plant/${name}`)), new Date());
    await vi.waitFor(async () => expect((await readRollout(repository, deployment)).status).toBe('finished'), patient);
    // Each alone would ask for each: twenty times as much. On a busy machine some come late.
    const { chunksPublished, chunksDistinct } = server.counters;
    expect(chunksPublished).toBeLessThanOrEqual(4 * chunksDistinct);
  });

  it('is one at a time', async () => {
    const broker = await startEmbeddedBroker();
    open.push(() => broker.close());
    const repository = await repositoryOf();
    const server = await serve(repository, broker.url);
    const other = { url: broker.url, protocolVersion: 4 as const, qos: 1 as const };
    expect(await FleetServer.tryStart(repository, other, { onEvent: () => {} })).toBeUndefined();
    await server.close();
    await serve(repository, broker.url);
  });

  it('gives each push of two processes a number of its own, and loses none of what both change', async () => {
    const repository = await repositoryOf();
    const cargo = await cargoOf(5);
    const begun = await Promise.all(
      ['a', 'b', 'c', 'd'].map((name) => beginRollout(repository, cargo, planOf([`plant/${name}`]), new Date())),
    );
    expect(new Set(begun.map(({ number }) => number))).toEqual(new Set([1, 2, 3, 4]));
    const [{ deployment }] = begun;
    const add = (name: string) =>
      changeRollout(repository, deployment, (rollout) => ({ ...rollout, platforms: [...rollout.platforms, name] }), new Date());
    await Promise.all(['w', 'x', 'y', 'z'].map(add));
    expect((await readRollout(repository, deployment)).platforms.toSorted()).toEqual(['w', 'x', 'y', 'z']);
    expect(await readRollouts(repository)).toHaveLength(4);
  });

  it('says what is wrong with a rollout that a disk has spoilt', async () => {
    const repository = await repositoryOf();
    const { deployment } = await beginRollout(repository, await cargoOf(6), planOf(['plant/a']), new Date());
    await writeFile(join(repository.folder, 'rollouts', `${deployment}.json`), '{"half":');
    await expect(readRollout(repository, deployment)).rejects.toMatchObject({ code: 'fleet/damaged' });
  });
});

describe('the view of a rollout', () => {
  const screen = (isTTY: boolean) => {
    let text = '';
    const write = (part: string) => {
      text += part;
      return true;
    };
    const stream = { isTTY, columns: 100, write } as unknown as NodeJS.WriteStream;
    return { view: new RolloutView(stream), text: () => text };
  };

  it('has a bar for all and one a gateway on a terminal, drawn in place, and lines elsewhere, each once', async () => {
    const repository = await repositoryOf();
    const begun = await beginRollout(repository, await cargoOf(7), planOf(['plant/a', 'plant/b']), new Date());
    const device = { said: '', heardMs: 0, runs: false, succeeded: false };
    const devices = {
      'plant/a': { ...device, outcome: 'updating' as const, phase: 'fetch' as const, progress: 0.5 },
      'plant/b': { ...device, outcome: 'confirmed' as const },
    };
    const rollout = { ...begun, groups: [{ ...begun.groups[0], beganMs: 1 }], devices };
    const [terminal, file] = [screen(true), screen(false)];
    for (const { view } of [terminal, file]) for (let times = 0; times < 3; times++) view.update(rollout);
    const frame = terminal.text().split('\x1b[3A').at(-1)!;
    expect(frame).toContain('█'.repeat(10) + '░'.repeat(10));
    expect(frame).toMatch(/1 of 2 confirmed, 0 failed; group 1 of 1; running/);
    expect(frame).toMatch(/██████████░░░░░░░░░░ plant\/a fetch/);
    expect(terminal.text().split('\x1b[3A')).toHaveLength(3);
    expect(file.text().trim().split('\n')).toEqual([
      'group 1 of 1: 2 gateways',
      'plant/a fetch',
      'plant/b confirmed',
      `${rollout.deployment}: running`,
    ]);
  });
});
