import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { ObjectStore } from '../../trainer/server/object-store.ts';
import { openBooks } from '../../trainer/server/open-books.ts';
import { said, tellServer } from '../support/evidence.ts';
import { freePort } from '../support/live-gateway.ts';
import { beginLogging, type LoggingProcess, logged } from '../support/logging-process.ts';
import { BUCKET, KEY, OBJECT_SERVER, SECRET, startObjectServer, WHY_NO_OBJECT_SERVER } from '../support/object-server.ts';
import { SimulatedGateway } from '../support/simulated-gateway.ts';
import { tremolo } from '../support/tremolo-command.ts';
import { machine, trainedBundle, writeSet } from '../trainer/tune/machines.ts';

const patient = { timeout: 55_000, interval: 50 };

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

describe.skipIf(!OBJECT_SERVER)(`a server and workers that share a store and no folder${WHY_NO_OBJECT_SERVER}`, () => {
  it('retrain once, though a worker is killed and the store is gone when the model is to be kept; forget whom they must; and refuse a wrong key', async () => {
    const broker = await startEmbeddedBroker();
    open.push(() => broker.close());
    const home = await mkdtemp(join(tmpdir(), 'tremolo-machines-'));
    open.push(() => rm(home, { recursive: true, force: true }));
    const [port, health] = [await freePort(), await freePort()];
    let stopStore = await startObjectServer(join(home, 'store'), port);
    open.push(() => stopStore());
    const place = { endpoint: `http://127.0.0.1:${port}`, bucket: BUCKET };
    const { folder: bundle } = await trainedBundle();
    const known = await writeSet(machine(0, 8, 9));

    /** Each machine has a folder of its own; the books alone are one file. */
    const machineOf = (name: string, more: object = {}) => {
      mkdirSync(join(home, name));
      writeFileSync(
        join(home, name, 'server.yaml'),
        stringify({
          ...{ repository: '../server/fleet', broker: { url: broker.url }, database: '../server.db', lease: '4s', workers: 0 },
          ...{ objectStore: place, retrain: { bundle, known, labels: said.length, severity: 1000, tolerance: 0.05, suspicion: 0.08 } },
          rollout: { waves: '100%', settle: '0s', shadowSeconds: 1 },
          ...more,
        }),
      );
      return join(home, name, 'server.yaml');
    };
    const env = { AWS_ACCESS_KEY_ID: KEY, AWS_SECRET_ACCESS_KEY: SECRET };
    const begin = (args: readonly string[], own: Record<string, string> = env): LoggingProcess => {
      const one = beginLogging('tremolo.js', args, own);
      open.push(() => one.kill());
      return one;
    };
    writeFileSync(join(home, 'credentials'), `${KEY}:${SECRET}\n`, { mode: 0o600 });
    const serverYaml = machineOf('server', { http: { port: health } });
    const workerYaml = machineOf('worker', { objectStore: { ...place, credentialsFile: '../credentials' } });
    const otherYaml = machineOf('other');
    const made = (name: string) => readdirSync(join(home, name, 'state/models'));
    expect(await begin(['keys', 'init', '--out', join(home, 'server/fleet'), '--site', 'plant']).ended).toBe(0);

    const client = connectBroker(broker.url, () => {});
    open.push(() => client.endAsync(true));
    const gateway = new SimulatedGateway(broker.url, 'plant', 'hall', await readFile(join(home, 'server/fleet/1.root.json')), 'confirms');
    open.push(() => gateway.stop());
    await gateway.start();
    const server = begin(['serve', serverYaml]);
    await logged(server, 'serving');
    await vi.waitFor(async () => expect((await fetch(`http://127.0.0.1:${health}/healthz`)).status).toBe(200), patient);
    await tellServer(client);
    const first = begin(['serve', workerYaml, '--worker'], {});
    await logged(first, 'progress');
    await first.kill();
    expect(made('worker')).toHaveLength(1);

    // The second trains, and has nowhere to put it.
    const second = begin(['serve', otherYaml, '--worker']);
    await logged(second, 'progress');
    await stopStore();
    expect(await logged(second, 'store')).toMatchObject({ error: expect.stringMatching(/^bucket models of .* cannot be reached/) });
    expect(second.log.filter(({ msg }) => msg === 'failed')).toEqual([]);
    stopStore = await startObjectServer(join(home, 'store'), port);
    const finished = await logged(second, 'finished');
    expect(finished).toMatchObject({ counts: true, outcome: 'accepted' });
    await vi.waitFor(() => expect(gateway.ran, JSON.stringify(server.log.slice(-5))).toHaveLength(1), patient);
    await vi.waitFor(() => expect(server.log.find((line) => line.msg === 'model')).toMatchObject({ state: 'running' }), patient);
    const books = await openBooks({ database: join(home, 'server.db'), lease: 1000 }, undefined, () => {});
    open.push(() => books.close());
    const digest = finished.digest as string;
    expect(await books.jobs.list()).toMatchObject([{ state: 'done', attempts: 2, effect: gateway.ran[0] }]);
    expect([made('server'), made('other')]).toEqual([[digest], []]);

    expect(await begin(['data', 'erase', serverYaml, '--pseudonym', 'asset-1', '--yes']).ended).toBe(0);
    const store = new ObjectStore({ ...place, region: 'us-east-1', prefix: 'tremolo/', credentialsFile: join(home, 'credentials') });
    expect([await store.list(''), made('server')]).toEqual([[], []]);

    writeFileSync(join(home, 'credentials'), `${KEY}:another\n`);
    const refused = await tremolo('serve', workerYaml, '--worker', '--json');
    expect(refused).toMatchObject({ code: 2, report: { error: { code: 'server/objects' } } });
    expect(refused.stderr.trim().split('\n').at(-1)).toMatch(/refuses GET \(SignatureDoesNotMatch\); look at the credentials/);
    // What the killed one left lying is gone with the next one's start.
    expect(made('worker')).toEqual([]);
    await stopStore();
    const away = await tremolo('data', 'erase', workerYaml, '--pseudonym', 'asset-1', '--yes', '--json');
    expect(away).toMatchObject({ code: 1, report: { error: { code: 'server/objects' } } });
    expect(away.stderr.trim()).toMatch(/^server\/objects: bucket models of .* cannot be reached \(ECONNREFUSED\); run it again later$/);
  }, 180_000);
});
