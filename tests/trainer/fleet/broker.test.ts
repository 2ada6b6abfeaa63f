import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt, { type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatewayTopics, siteTopics } from '../../../runtime/contracts/topics.ts';
import { freePort } from '../../support/live-gateway.ts';
import { MOSQUITTO, startMosquitto } from '../../support/mosquitto.ts';

const EXAMPLE = new URL('../../../trainer/fleet/broker/', import.meta.url).pathname;
const OPENSSL = spawnSync('openssl', ['version']).error === undefined;

/** Connections that a broker does not let in say nothing more. */
async function connection(url: string, options: mqtt.IClientOptions): Promise<MqttClient> {
  return mqtt.connectAsync(url, { ...options, reconnectPeriod: 0, connectTimeout: 10_000 }, false);
}

describe.skipIf(!MOSQUITTO || !OPENSSL)('the example configuration of mosquitto (needs mosquitto and openssl)', () => {
  let folder: string;
  let url: string;
  let stop: () => Promise<unknown>;
  const open: MqttClient[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tremolo-broker-'));
    // mosquitto gives up root for a user of its own.
    chmodSync(folder, 0o755);
    const ssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
    const key = (name: string) => ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}.key`];
    for (const authority of ['ca', 'other'])
      ssl('req', '-x509', ...key(authority), '-out', `${authority}.crt`, '-subj', `/CN=${authority}`, '-days', '2');
    const names = {
      broker: 'localhost',
      server: 'tremolo-server',
      hall: 'plant/hall',
      press: 'plant/press',
      north: 'north/hall',
      stranger: 'plant/hall',
    };
    for (const [file, name] of Object.entries(names)) {
      ssl('req', ...key(file), '-out', `${file}.csr`, '-subj', `/CN=${name.replaceAll('/', '\\/')}`);
      writeFileSync(join(folder, `${file}.ext`), 'subjectAltName=IP:127.0.0.1');
      const authority = file === 'stranger' ? 'other' : 'ca';
      const by = ['-CA', `${authority}.crt`, '-CAkey', `${authority}.key`, '-CAcreateserial'];
      ssl('x509', '-req', '-in', `${file}.csr`, ...by, '-out', `${file}.crt`, '-days', '2', '-extfile', `${file}.ext`);
    }
    chmodSync(join(folder, 'broker.key'), 0o644);
    copyFileSync(join(EXAMPLE, 'acl.conf'), join(folder, 'acl.conf'));
    chmodSync(join(folder, 'acl.conf'), 0o644);
    const lines = readFileSync(join(EXAMPLE, 'mosquitto.conf'), 'utf8')
      .replaceAll('/etc/mosquitto/tremolo', folder)
      .split('\n')
      // A port of our own, and no state between tests.
      .filter((line) => !/^(listener|persistence)/.test(line));
    const port = await freePort();
    stop = await startMosquitto(lines, port);
    url = `mqtts://127.0.0.1:${port}`;
  });
  afterAll(async () => {
    for (const client of open) await client.endAsync(true);
    await stop?.();
    await rm(folder, { recursive: true, force: true });
  });

  const identity = (name: string) => ({
    ca: readFileSync(join(folder, 'ca.crt')),
    cert: readFileSync(join(folder, `${name}.crt`)),
    key: readFileSync(join(folder, `${name}.key`)),
  });

  /** A client with a certificate, and the topics of all that reaches it. */
  async function clientOf(name: string) {
    const client = await connection(url, { ...identity(name), clientId: name });
    open.push(client);
    const heard: string[] = [];
    client.on('message', (topic) => heard.push(topic));
    return { client, heard };
  }

  /** Publishes with QoS 1, which 3.1.1 acknowledges whether it is allowed or not. */
  const publish = (client: MqttClient, topic: string) => client.publishAsync(topic, 'x', { qos: 1 });

  const hall = gatewayTopics('plant', 'hall');
  const press = gatewayTopics('plant', 'press');
  const shared = siteTopics('plant');

  it('lets nobody in without a certificate of the authority', async () => {
    await expect(connection(url, { ca: identity('hall').ca })).rejects.toThrow();
    await expect(connection(url, { ...identity('stranger') })).rejects.toThrow();
    await expect(connection(url.replace('mqtts', 'mqtt'), {})).rejects.toThrow();
  });

  it('confines a gateway to its own branch: it writes no other, and not the shared one', async () => {
    const server = await clientOf('server');
    const gateway = await clientOf('hall');
    await server.client.subscribeAsync('tremolo/v1/#', { qos: 1 });
    const own = [hall.status, hall.diagnosis('s'), hall.alarm('s'), hall.updateRequest, hall.updateState];
    const others = [
      press.status,
      press.updateState,
      press.updateRequest,
      press.operator('s'),
      press.label('s'),
      gatewayTopics('north', 'hall').status,
    ];
    const sites = [shared.timestamp, shared.chunk('a'.repeat(64), 0), 'tremolo/v1/plant', 'other/topic'];
    for (const topic of [...others, ...sites, ...own]) await publish(gateway.client, topic);
    // Of one client's messages the last comes last.
    await expect.poll(() => server.heard.at(-1), { timeout: 20_000 }).toBe(own.at(-1));
    expect(server.heard).toEqual(own);
    await server.client.unsubscribeAsync('tremolo/v1/#');
  });

  it('lets a gateway hear its own branch and what the server says to all, whatever it subscribes to', async () => {
    const server = await clientOf('server');
    const gateway = await clientOf('press');
    const other = await clientOf('hall');
    await gateway.client.subscribeAsync('#', { qos: 1 }).catch(() => {});
    await gateway.client
      .subscribeAsync(['tremolo/v1/#', press.updateRefusal, press.allOperators, shared.timestamp], { qos: 1 })
      .catch(() => {});
    for (const topic of [hall.updateState, hall.status]) await publish(other.client, topic);
    for (const topic of [
      hall.updateRefusal,
      hall.operator('s'),
      press.updateRefusal,
      shared.chunk('b'.repeat(64), 3),
      press.operator('s'),
      shared.timestamp,
    ])
      await publish(server.client, topic);
    await expect.poll(() => gateway.heard.includes(shared.timestamp), { timeout: 20_000 }).toBe(true);
    expect(new Set(gateway.heard)).toEqual(
      new Set([press.updateRefusal, shared.chunk('b'.repeat(64), 3), press.operator('s'), shared.timestamp]),
    );
  });

  it('lets the server write what is its to write, and no status or decision in a gateway’s name', async () => {
    const server = await clientOf('server');
    const gateway = await clientOf('hall');
    await gateway.client.subscribeAsync(`${hall.branch}/#`, { qos: 1 });
    const allowed = [hall.label('s'), hall.updateRefusal];
    const refused = [hall.status, hall.updateState, hall.diagnosis('s'), hall.samples('s'), hall.drift('s'), hall.adapter('s')];
    for (const topic of [...refused, ...allowed]) await publish(server.client, topic);
    await expect.poll(() => gateway.heard.at(-1), { timeout: 20_000 }).toBe(allowed.at(-1));
    expect(gateway.heard).toEqual(allowed);
  });
});
