import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { readManifest } from '../../models/bundle/bundle.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { type EmbeddedBroker, startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { openBooks } from '../../trainer/server/open-books.ts';
import { said, tellServer } from '../support/evidence.ts';
import { freePort } from '../support/live-gateway.ts';
import { beginLogging, type LoggingProcess, logged } from '../support/logging-process.ts';
import { type Cluster, POSTGRES, startPostgres } from '../support/postgres.ts';
import { SimulatedGateway } from '../support/simulated-gateway.ts';
import { machine, trainedBundle, writeSet } from '../trainer/tune/machines.ts';

const patient = { timeout: 55_000, interval: 50 };

const running: LoggingProcess[] = [];
function begin(args: readonly string[], env: Record<string, string> = {}): LoggingProcess {
  const one = beginLogging('tremolo.js', args, env);
  running.push(one);
  return one;
}

let bundle: string;
let known: string;
let cluster: Cluster | undefined;
beforeAll(async () => {
  bundle = (await trainedBundle()).folder;
  known = await writeSet(machine(0, 8, 9));
  if (POSTGRES) cluster = await startPostgres();
});
afterAll(() => cluster?.stop());

let broker: EmbeddedBroker;
let folder: string;
let yaml: string;
let client: MqttClient;
let gateway: SimulatedGateway;
let port: number;

beforeEach(async () => {
  broker = await startEmbeddedBroker();
  folder = await mkdtemp(join(tmpdir(), 'tremolo-server-'));
  port = await freePort();
  yaml = join(folder, 'server.yaml');
  const keys = begin(['keys', 'init', '--out', join(folder, 'fleet'), '--site', 'plant']);
  expect(await keys.ended).toBe(0);
  await configure({});
  client = connectBroker(broker.url, () => {});
  gateway = new SimulatedGateway(broker.url, 'plant', 'hall', await readFile(join(folder, 'fleet', '1.root.json')), 'confirms');
  await gateway.start();
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.kill();
  await gateway.stop();
  await client.endAsync(true);
  await broker.close();
  await rm(folder, { recursive: true, force: true });
});

const configure = (more: Record<string, unknown>) =>
  writeFile(
    yaml,
    stringify({
      repository: 'fleet',
      broker: { url: broker.url },
      http: { port },
      lease: '4s',
      // Every single label is needed: one that is lost, and nothing is retrained.
      retrain: { bundle, known, labels: said.length, severity: 1000, tolerance: 0.05, suspicion: 0.08 },
      rollout: { waves: '100%', settle: '0s', shadowSeconds: 1 },
      ...more,
    }),
  );

/** Subscribed: from here on the broker keeps for it what comes. */
const health = async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).status;
const isWell = () => vi.waitFor(async () => expect(await health()).toBe(200), patient);

const tell = (from: number, to: number) => tellServer(client, from, to);

async function books(url?: string) {
  const open = await openBooks({ database: join(folder, 'state/server.db'), lease: 1000 }, url, () => {});
  const found = { counts: await open.store.counts(), jobs: await open.jobs.list(), models: await open.store.models('plant') };
  await open.close();
  return found;
}

const rollouts = () => readdir(join(folder, 'fleet/rollouts')).catch((): string[] => []);

/** One retraining from all that was said, in effect once, and the gateway runs it. */
async function expectOneRetraining(server: LoggingProcess, url?: string): Promise<void> {
  await vi.waitFor(() => expect(gateway.ran, JSON.stringify(server.log.slice(-10))).toHaveLength(1), patient);
  await vi.waitFor(() => expect(server.log.find((line) => line.msg === 'model')).toMatchObject({ state: 'running' }), patient);
  // What came last may still be on its way: the labels alone have asked for the retraining.
  await vi.waitFor(
    async () => expect((await books(url)).counts).toEqual({ 'signal.kept': said.length, 'label.kept': said.length }),
    patient,
  );
  const { jobs, models } = await books(url);
  expect(jobs).toHaveLength(1);
  expect(jobs[0]).toMatchObject({ state: 'done', effect: gateway.ran[0], result: { outcome: 'accepted' } });
  expect(await rollouts()).toHaveLength(1);
  const { digest } = await readManifest(join(folder, 'state/models', models[0].digest));
  expect(models).toMatchObject([{ digest, state: 'running', deployment: gateway.ran[0] }]);
}

describe('a server that learns', () => {
  it('loses and repeats nothing, though it is killed while it listens, after it has asked, and its worker in mid-job', async () => {
    const first = begin(['serve', yaml]);
    await logged(first, 'serving');
    await isWell();
    await tell(0, 5);
    await first.kill();
    // Nobody is there: the broker keeps it.
    await tell(5, 12);
    await configure({ workers: 0 });
    const second = begin(['serve', yaml]);
    await tell(10, said.length);
    await logged(second, 'asked');
    await second.kill();
    await configure({});
    const third = begin(['serve', yaml]);
    const { worker } = await logged(third, 'job');
    process.kill(Number(String(worker).split('-').at(-1)), 'SIGKILL');
    const finished = await logged(third, 'finished');
    expect(finished).toMatchObject({ counts: true, outcome: 'accepted' });
    await third.kill();
    const fourth = begin(['serve', yaml]);
    await expectOneRetraining(fourth);
  }, 180_000);

  it.skipIf(!POSTGRES)(
    'with Postgres deals one job to one of two workers, to the other when that is killed, and forgets whom it must',
    async () => {
      await configure({ workers: 0 });
      const url = await cluster!.database();
      const env = { DATABASE_URL: url };
      const server = begin(['serve', yaml], env);
      await logged(server, 'serving');
      const workers = [begin(['serve', yaml, '--worker'], env), begin(['serve', yaml, '--worker'], env)];
      await tell(0, said.length);
      const holder = await vi.waitFor(() => {
        const found = workers.find(({ log }) => log.some((line) => line.msg === 'job'));
        expect(found).toBeDefined();
        return found!;
      }, patient);
      holder.child.kill('SIGKILL');
      const heir = workers.find((one) => one !== holder)!;
      expect(await logged(heir, 'finished')).toMatchObject({ counts: true });
      await expectOneRetraining(server, url);

      const [{ digest }] = (await books(url)).models;
      const { parts } = (await readManifest(join(folder, 'state/models', digest))).manifest;
      const replay = join(folder, 'fleet/objects', parts.adapt!['replay.safetensors'].sha256);
      expect(existsSync(replay)).toBe(true);
      expect(await begin(['data', 'erase', yaml, '--pseudonym', 'asset-1', '--yes'], env).ended).toBe(0);
      expect(existsSync(replay)).toBe(false);
      expect(existsSync(join(folder, 'state/models', digest))).toBe(false);
      const after = await books(url);
      expect(after.counts).toEqual({ 'signal.erased': said.length, 'label.kept': said.length });
      expect(after.models).toMatchObject([{ digest, state: 'tainted' }]);
      expect(JSON.stringify(after)).not.toContain('asset-1');
    },
  );

  it('says that it is sick while the broker is gone, and takes what comes when it is back', async () => {
    const server = begin(['serve', yaml]);
    await logged(server, 'serving');
    await isWell();
    await tell(0, 3);
    // This broker forgets what it has not delivered yet when it goes.
    await vi.waitFor(async () => expect((await books()).counts).toEqual({ 'signal.kept': 3, 'label.kept': 3 }), patient);
    const at = Number(new URL(broker.url).port);
    await broker.close();
    await vi.waitFor(async () => expect(await health()).toBe(503), patient);
    broker = await startEmbeddedBroker(at);
    await isWell();
    expect(server.log.map(({ error }) => error)).toContainEqual(expect.stringContaining('has forgotten this server'));
    // As a gateway's outbox does with what was not acknowledged: some of it twice.
    await tell(2, 5);
    await vi.waitFor(async () => expect((await books()).counts).toEqual({ 'signal.kept': 5, 'label.kept': 5 }), patient);
  });
});
