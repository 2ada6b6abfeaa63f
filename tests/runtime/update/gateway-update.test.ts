import { createHash } from 'node:crypto';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Bundle, baseDigest, FILES, sha256, writeBundle } from '../../../models/bundle/bundle.ts';
import { decodeSafetensors, encodeSafetensors } from '../../../models/bundle/schema/safetensors.ts';
import { siteTopics } from '../../../runtime/contracts/topics.ts';
import { type UpdateState, updateStateSchema } from '../../../runtime/contracts/update.ts';
import { startEmbeddedBroker } from '../../../trainer/io/broker.ts';
import { type LiveGateway, liveGateway, observe, sendNoise, TOPICS } from '../../support/live-gateway.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';
import { adapterFile, EASY, renamed, UpdateSite } from '../../support/update-site.ts';

const patient = { timeout: 40_000, interval: 20 };

interface Made {
  readonly folder: string;
  readonly bundle: Bundle;
}
let factory: Made;
let better: Made;
let stranger: Made;
beforeAll(async () => {
  factory = await makeTinyBundle();
  better = await renamed(factory.bundle, 'better');
  stranger = await makeTinyBundle(7);
});

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

interface Plant {
  readonly url: string;
  readonly site: UpdateSite;
  readonly client: MqttClient;
  readonly gateway: LiveGateway;
  /** What the gateway said of its updates, oldest first. */
  readonly states: UpdateState[];
  readonly decided: { readonly bundle: string; readonly endSequence: number; readonly stream: string }[];
  state(): UpdateState | undefined;
}

/** A site with a server, and a gateway that takes updates. */
async function plant(more: Record<string, unknown> = {}): Promise<Plant> {
  const broker = await startEmbeddedBroker();
  open.push(() => broker.close());
  const site = new UpdateSite();
  open.push(await site.serve(broker.url));
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-update-'));
  await writeFile(join(folder, 'root.json'), site.objects.get('1.root.json')!);
  const gateway = await liveGateway(
    { bundle: factory.folder, broker: { url: broker.url }, update: { root: 'root.json' }, ...more },
    folder,
  );
  open.push(() => gateway.stop());
  const { client, messages } = await observe(broker.url);
  open.push(() => client.endAsync(true));
  await client.subscribeAsync(TOPICS.updateState, { qos: 1 });
  await vi.waitFor(() => expect(gateway.status().health?.broker.connected).toBe(true), patient);
  const of = (topic: string) => messages.filter((message) => message.topic.startsWith(topic)).map(({ value }) => value);
  return {
    url: broker.url,
    site,
    client,
    gateway,
    get states() {
      return of(TOPICS.updateState).map((value) => updateStateSchema.parse(value));
    },
    get decided() {
      return of(`${TOPICS.branch}/diagnosis/`) as unknown as Plant['decided'];
    },
    state: () =>
      of(TOPICS.updateState)
        .map((value) => updateStateSchema.parse(value))
        .at(-1),
  };
}

const phasesOf = ({ states }: Plant, deployment: string) => [
  ...new Set(states.filter((state) => state.deployment === deployment).map(({ phase }) => phase)),
];

/** Streams that send without end, faster than machines do. @returns samples of each stream that were sent, after the last */
function streaming({ client }: Plant, names: readonly string[]): () => Promise<number> {
  let at = 0;
  let sending: Promise<unknown> = Promise.resolve();
  const timer = setInterval(() => {
    const from = at;
    at += 64;
    sending = Promise.all([sending, ...names.map((name) => sendNoise(client, name, from, 64))]);
  }, 10);
  const end = async () => {
    clearInterval(timer);
    await sending;
    return at;
  };
  open.push(end);
  return end;
}

/** All that a gateway decided is what it had to: each window of each stream once. */
async function allDecidedOnce(made: Plant, names: readonly string[], end: () => Promise<number>): Promise<void> {
  const windows = names.length * (Math.floor((await end()) / 256) - 1);
  await vi.waitFor(() => expect(made.gateway.status().ledger).toMatchObject({ windowsExpected: windows, windowsWaiting: 0 }), patient);
  const { ledger } = made.gateway.status();
  expect(ledger).toMatchObject({ windowsDecided: windows, samplesLost: 0 });
  expect(Object.values(ledger!.windowsRefused)).toEqual([0, 0, 0, 0, 0]);
  const seen = made.decided.map(({ stream, endSequence }) => `${stream} ${endSequence}`);
  expect(new Set(seen).size).toBe(seen.length);
}

const ended = (made: Plant, deployment: string) =>
  vi.waitFor(
    () => expect([made.state()?.confirmed, made.state()?.failed.map((one) => one.deployment)].flat()).toContain(deployment),
    patient,
  );

/** Phases of an update that the gateway's log tells of. */
const toldInLog = ({ gateway }: Plant, deployment: string) =>
  gateway.log.filter((line) => line.deployment === deployment).map(({ phase }) => phase);

const SHADOW = { ...EASY, shadowWindows: 30, agreement: 0.95, alarmShareChange: 0.05 };

describe('a bundle that is pushed', () => {
  it('is shadowed on live windows and takes over without losing one or deciding one twice; what the gateway had is not sent', async () => {
    const made = await plant();
    const streams = ['a', 'b', 'c'];
    const end = streaming(made, streams);
    const deployment = await made.site.pushBundle(better.folder, better.bundle, { thresholds: SHADOW });
    made.site.publish();
    await ended(made, deployment);
    expect(made.gateway.status().bundle).toEqual({ name: 'better', digest: better.bundle.digest });
    expect(made.state()).toMatchObject({ phase: 'confirmed', failed: [], running: { bundle: better.bundle.digest } });
    expect(made.state()?.shadow).toMatchObject({ agreement: 1, alarmShareChange: 0 });
    expect(made.state()?.shadow?.windows).toBeGreaterThanOrEqual(30);
    expect(phasesOf(made, deployment)).toEqual(expect.arrayContaining(['fetch', 'shadow', 'active', 'confirmed']));
    expect(toldInLog(made, deployment)).toEqual(['verify', 'active', 'confirmed']);
    const objects = new Set(made.site.sent.map((name) => name.split('/')[0]).filter((name) => !name.endsWith('.json')));
    expect([...objects]).toEqual([better.bundle.digest]);
    await allDecidedOnce(made, streams, end);
    expect(new Set(made.decided.map(({ bundle }) => bundle)).size).toBe(2);
  });

  it('that is worse on live windows is refused by its shadow, the old one goes on deciding, and the next push works', async () => {
    const made = await plant();
    const end = streaming(made, ['a', 'b']);
    const worse = await renamed(stranger.bundle, 'worse', ['other', 'names', 'alone']);
    const bad = await made.site.pushBundle(worse.folder, worse.bundle, { thresholds: SHADOW });
    made.site.publish();
    await ended(made, bad);
    expect(made.state()?.failed).toEqual([{ deployment: bad, error: expect.stringMatching(/^update\/agreement: /) }]);
    expect(made.state()).toMatchObject({ phase: 'refused', running: { bundle: factory.bundle.digest } });
    expect(toldInLog(made, bad)).toEqual(['verify', 'refused']);
    const good = await made.site.pushBundle(better.folder, better.bundle, { thresholds: SHADOW });
    made.site.publish();
    await ended(made, good);
    expect(made.state()).toMatchObject({ confirmed: [good], running: { bundle: better.bundle.digest } });
    await allDecidedOnce(made, ['a', 'b'], end);
    expect(new Set(made.decided.map(({ bundle }) => bundle))).toEqual(
      new Set([factory, better].map(({ bundle }) => bundle.digest.slice(0, 12))),
    );
  });

  it('signed with keys that the gateway does not know is told of in its log, not with each timestamp', async () => {
    const made = await plant();
    const refusals = () => made.states.filter(({ phase }) => phase === 'refused').length;
    for (const round of [1, 2]) {
      await made.client.publishAsync(siteTopics('plant').timestamp, Buffer.from(new UpdateSite().repository.timestamp), { qos: 1 });
      await vi.waitFor(() => expect(refusals()).toBe(round), patient);
    }
    const told = made.gateway.log.filter(({ update }) => update === 'refused');
    expect(told).toEqual([expect.objectContaining({ level: 40, msg: 'update', error: made.state()!.error })]);
  });

  it('whose bytes are not those that were signed is fetched once more and then refused, and the next push works', async () => {
    const made = await plant();
    streaming(made, ['a']);
    const victim = stranger.bundle.manifest.parts.core['infer.onnx'].sha256;
    made.site.tamper = (object, index, payload) => {
      if (object === victim && index === 1) payload[100] ^= 1;
      return [payload];
    };
    const bad = await made.site.pushBundle(stranger.folder, stranger.bundle);
    made.site.publish();
    await ended(made, bad);
    expect(made.state()?.failed[0].error).toMatch(/^update\/hash: .*arbitrary software attack/);
    expect(made.site.sent.filter((name) => name === `${victim}/1`)).toHaveLength(2);
    expect(made.gateway.status().bundle?.digest).toBe(factory.bundle.digest);
    made.site.tamper = (_object, _index, payload) => [payload];
    const good = await made.site.pushBundle(stranger.folder, stranger.bundle);
    made.site.publish();
    await ended(made, good);
    expect(made.state()).toMatchObject({ confirmed: [good], running: { bundle: stranger.bundle.digest } });
  });

  it.each([
    ['whose outputs are no numbers', /^update\/answers: /, () => notNumbers(stranger.bundle), {}],
    [
      'whose graph is cut short',
      /^update\/answers: bundle\/engine: infer.onnx: /,
      async () => withGraph(stranger.bundle, (graph) => graph.subarray(0, graph.length >> 1)),
      {},
    ],
    [
      'whose graph is rubbish',
      /^update\/answers: bundle\/engine: infer.onnx: /,
      async () => withGraph(stranger.bundle, (graph) => graph.map((byte) => byte ^ 0x55)),
      {},
    ],
    [
      'that is too slow for this processor',
      /^update\/latency: p99 of a run is .* where 0.001 are allowed/,
      async () => better,
      { latencyMs: 0.001 },
    ],
    ['that takes too much memory', /^update\/memory: /, async () => better, { memoryBytes: 1 }],
  ])('%s is refused, the old one goes on deciding, and the next push works', async (_what, error, make, limits) => {
    const made = await plant();
    const end = streaming(made, ['a', 'b']);
    const worse = await make();
    const bad = await made.site.pushBundle(worse.folder, worse.bundle, { thresholds: { ...SHADOW, ...limits } });
    made.site.publish();
    await ended(made, bad);
    expect(made.state()).toMatchObject({ phase: 'refused', failed: [{ deployment: bad, error: expect.stringMatching(error) }] });
    expect(made.state()?.running).toEqual({ bundle: factory.bundle.digest, adapters: {} });
    const good = await made.site.pushBundle(better.folder, better.bundle, { thresholds: EASY });
    made.site.publish();
    await ended(made, good);
    expect(made.state()).toMatchObject({ confirmed: [good], running: { bundle: better.bundle.digest } });
    await allDecidedOnce(made, ['a', 'b'], end);
    const deciders = new Set(made.decided.map(({ bundle }) => bundle));
    expect([...deciders].toSorted()).toEqual([factory, better].map(({ bundle }) => bundle.digest.slice(0, 12)).toSorted());
  });

  it('is left again when the server withdraws it, and after a restart what was confirmed decides at once', async () => {
    const made = await plant();
    streaming(made, ['a', 'b']);
    const first = await made.site.pushBundle(better.folder, better.bundle);
    made.site.publish();
    await ended(made, first);
    const second = await made.site.pushBundle(stranger.folder, stranger.bundle);
    made.site.publish();
    await ended(made, second);
    expect(made.gateway.status().bundle?.digest).toBe(stranger.bundle.digest);
    made.site.withdraw(second);
    made.site.publish();
    await vi.waitFor(() => expect(made.gateway.status().bundle?.digest).toBe(better.bundle.digest), patient);
    await vi.waitFor(
      () => expect(made.state()).toMatchObject({ phase: 'rolledBack', deployment: second, running: { bundle: better.bundle.digest } }),
      patient,
    );
    expect(made.state()?.failed).toEqual([{ deployment: second, error: expect.stringMatching(/^update\/withdrawn/) }]);
    await made.gateway.stop();
    const again = await liveGateway(
      { bundle: factory.folder, broker: { url: made.url }, update: { root: 'root.json' } },
      made.gateway.folder,
    );
    open.push(() => again.stop());
    expect(again.status().bundle?.digest).toBe(better.bundle.digest);
    made.site.withdraw(first);
    made.site.publish();
    await vi.waitFor(() => expect(again.status().bundle?.digest).toBe(factory.bundle.digest), patient);
  });
});

/** Twice the rows and columns that the bundle's bank has room for. */
function otherRank(file: Uint8Array): Uint8Array {
  const { tensors, metadata } = decodeSafetensors(file, 'the adapter');
  const doubled = Object.entries(tensors).map(([name, { shape }]) => {
    const sizes = shape.map((size) => 2 * size);
    return [name, { type: 'float32' as const, shape: sizes, values: new Float32Array(sizes.reduce((a, b) => a * b, 1)) }];
  });
  return encodeSafetensors({ tensors: Object.fromEntries(doubled), metadata });
}

/** The same graph with weights so large that nothing but infinities and NaN comes out. */
async function notNumbers({ manifest, files }: Bundle): Promise<Made> {
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-bundle-')), 'bundle');
  const { parts: _parts, base: _base, ...description } = manifest;
  const weights = Buffer.alloc(files.get(FILES.weights)!.length, Buffer.from(Float32Array.of(3e38).buffer));
  const core = new Map([...files, [FILES.weights, weights]]);
  const { base } = (await writeBundle(folder, description, { core })).manifest;
  const adapter = decodeSafetensors(files.get(FILES.adapter)!, FILES.adapter);
  core.set(FILES.adapter, encodeSafetensors({ ...adapter, metadata: { ...adapter.metadata, base } }));
  return { folder, bundle: await writeBundle(folder, description, { core }) };
}

/** A bundle with another graph, which its manifest stands by: somebody with the site's key has signed it. */
async function withGraph({ manifest, files }: Bundle, change: (graph: Uint8Array) => Uint8Array): Promise<Made> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-bundle-'));
  const graph = change(files.get(FILES.infer)!);
  const changed = new Map([...files, [FILES.infer, graph]]);
  const core = { ...manifest.parts.core, [FILES.infer]: { bytes: graph.length, sha256: sha256(graph) } };
  const text = JSON.stringify({ ...manifest, base: baseDigest(changed), parts: { core } });
  await writeFile(join(folder, FILES.manifest), text);
  return { folder, bundle: { manifest, digest: sha256(Buffer.from(text)), files: changed } };
}

describe('an adapter that is pushed', () => {
  it('decides its stream and no other, costs little, outlives a restart, and is left again when withdrawn', async () => {
    const made = await plant();
    streaming(made, ['a', 'b']);
    const bytes = adapterFile(factory.bundle, 3);
    const target = { kind: 'adapter', base: factory.bundle.manifest.base, stream: 'a', thresholds: SHADOW } as const;
    const deployment = made.site.push(bytes, target);
    made.site.publish();
    await ended(made, deployment);
    const digest = createHash('sha256').update(bytes).digest('hex');
    expect(made.state()).toMatchObject({ phase: 'confirmed', kind: 'adapter', stream: 'a', running: { adapters: { a: digest } } });
    expect(made.state()?.wireBytes).toBeLessThan(32_000);
    expect(made.gateway.status().running?.adapters).toEqual({ a: digest });
    await made.gateway.stop();
    const again = await liveGateway(
      { bundle: factory.folder, broker: { url: made.url }, update: { root: 'root.json' } },
      made.gateway.folder,
    );
    open.push(() => again.stop());
    await vi.waitFor(() => expect(again.status().running?.adapters).toEqual({ a: digest }), patient);
    made.site.withdraw(deployment);
    made.site.publish();
    await vi.waitFor(() => expect(again.status().running?.adapters).toEqual({}), patient);
  });

  it.each([
    ['of another base', 'update/base', () => adapterFile(stranger.bundle, 3)],
    ['with a number that is none', 'update/bundle', () => adapterFile(factory.bundle, 3, 0.01, (values) => values.fill(Number.NaN, 0, 1))],
    ['so large that the logits are no numbers', 'update/answers', () => adapterFile(factory.bundle, 3, 3e38)],
    ['of another rank', 'update/bundle', () => otherRank(adapterFile(factory.bundle, 3))],
    ['that decides otherwise', 'update/agreement', () => adapterFile(factory.bundle, 5, 40)],
  ])('%s is refused', async (_what, code, make) => {
    const made = await plant();
    streaming(made, ['a']);
    const target = {
      kind: 'adapter',
      base: factory.bundle.manifest.base,
      stream: 'a',
      thresholds: { ...SHADOW, alarmShareChange: 1 },
    } as const;
    const deployment = made.site.push(make(), target);
    made.site.publish();
    await ended(made, deployment);
    expect(made.state()?.failed[0].error).toMatch(new RegExp(`^${code}: `));
    expect(made.gateway.status().running?.adapters).toEqual({});
  });
});
