import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeFrame, encodeSerialFrame } from '../../firmware-bridge/codec/index.ts';
import { openPty, type Pty } from '../../firmware-bridge/serial/pty.ts';
import { alarmChangeSchema } from '../../runtime/contracts/alarm-change.ts';
import { ConfigurationRefusal } from '../../runtime/io/configuration.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { freePort, type LiveGateway, liveGateway, noiseFrame, observe, sendNoise, TOPICS } from '../support/live-gateway.ts';
import { MOSQUITTO, startMosquitto } from '../support/mosquitto.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';

let bundle: string;
beforeAll(async () => {
  bundle = (await makeTinyBundle()).folder;
});

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

const patient = { timeout: 30_000, interval: 20 };

async function broker(port?: number) {
  const made = await startEmbeddedBroker(port);
  open.push(() => made.close());
  return made;
}

async function gatewayOn(url: string, more: Record<string, unknown> = {}, folder?: string): Promise<LiveGateway> {
  const made = await liveGateway({ bundle, broker: { url }, ...more }, folder);
  open.push(() => made.stop());
  return made;
}

async function watcher(url: string) {
  const made = await observe(url);
  open.push(() => made.client.endAsync(true));
  return made;
}

async function plant(more: Record<string, unknown> = {}) {
  const { url } = await broker();
  const gateway = await gatewayOn(url, more);
  const seen = await watcher(url);
  await vi.waitFor(() => expect(seen.status()?.state).toBe('online'), patient);
  return { url, gateway, seen };
}

const warnings = ({ log }: LiveGateway, text: string) => log.filter((line) => JSON.stringify(line).includes(text));

describe('foreign sources', () => {
  const format = { format: 'json', path: '$.v[*]', channels: 2, sampleRateHz: 1000, range: 10 };
  const document = (from: number) =>
    JSON.stringify({ v: Array.from({ length: 64 }, (_, at) => [Math.sin((from + at) / 7), Math.cos((from + at) / 5)]) });

  it('over MQTT become streams named by their topics, with their counters in the status', async () => {
    const { seen, gateway } = await plant({ foreign: [{ topic: 'hall/+/vib', stream: 'f-{1}', format }] });
    for (let n = 0; n < 8; n++) for (const name of ['press', 'saw 2']) await seen.client.publishAsync(`hall/${name}/vib`, document(64 * n));
    await seen.client.publishAsync('hall/press/vib', '{"v":[[1,null]]}');
    await seen.client.publishAsync('hall/press/vib', 'no json');
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('f-press'))).toHaveLength(1), patient);
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('f-saw-2'))).toHaveLength(1), patient);
    await vi.waitFor(
      () => expect(gateway.status().health?.foreign['f-{1}']).toMatchObject({ samples: 1024, notFinite: 1, malformed: 1 }),
      patient,
    );
  });

  it('over a serial line become streams too', async () => {
    const pty = await openPty();
    open.push(() => pty.close());
    const { seen, gateway } = await plant({
      foreign: [{ stream: 'pump', path: pty.path, format: { ...format, format: 'csv', path: undefined } }],
    });
    await vi.waitFor(() => expect(gateway.status().health?.ports.pump.state).toBe('open'), patient);
    await pty.write(Buffer.from(`half a line\n${Array.from({ length: 600 }, (_, at) => `${(at % 13) / 2},${(at % 7) / 3}\n`).join('')}`));
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('pump'))).toHaveLength(1), patient);
    expect(gateway.status().health?.ports.pump).toMatchObject({ opened: 1, lost: 0, counters: { samples: 600, skippedBytes: 11 } });
  });

  it('that the bundle cannot read are named at once, and refused when they come, without harm to others', async () => {
    const { seen, gateway } = await plant({
      foreign: [{ topic: 'odd', stream: 'odd', format: { ...format, path: ['$.x', '$.y', '$.z'], channels: 3 } }],
    });
    expect(warnings(gateway, 'odd has 3 channels')).toHaveLength(1);
    await seen.client.publishAsync('odd', '{"x":1,"y":2,"z":3}');
    await sendNoise(seen.client, 'good', 0, 512);
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('good'))).toHaveLength(1), patient);
    expect(gateway.status()).toMatchObject({ framesRefused: { channels: 1 }, health: { troubled: { odd: ['channels'] } } });
  });
});

describe('frames on topics of their own', () => {
  it('are taken like those on the gateway’s', async () => {
    const { seen } = await plant({ mqtt: [{ topic: 'devices/+/frames', stream: 'd-{1}' }] });
    for (let at = 0; at < 512; at += 64) await seen.client.publishAsync('devices/7/frames', Buffer.from(encodeFrame(noiseFrame(at))));
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('d-7'))).toHaveLength(1), patient);
  });
});

describe('bad input', () => {
  it('is counted, said once a minute, shown by stream, and stops no other stream', async () => {
    const { seen, gateway } = await plant();
    const { client } = seen;
    await client.publishAsync(TOPICS.samples('noise'), 'what is this');
    await client.publishAsync(`${TOPICS.branch}/samples/bad name`, 'x');
    for (let n = 0; n < 20; n++) await sendNoise(client, 'slow', 64 * n, 64, { sampleRateHz: 900 });
    await sendNoise(client, 'wide', 0, 640, { channelCount: 3 });
    await sendNoise(client, 'clipped', 0, 64, { samples: new Int16Array(128).fill(32_767) });
    await sendNoise(client, 'stuck', 0, 2112, { samples: new Int16Array(128).fill(5) });
    await sendNoise(client, 'jumpy', 0, 64);
    await sendNoise(client, 'jumpy', 64, 64, { deviceTimeUs: 9e9 });
    await sendNoise(client, 'good', 0, 512);
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('good'))).toHaveLength(1), patient);
    const { framesRefused, health } = gateway.status();
    expect(framesRefused).toMatchObject({ badCrc: 1, topic: 1, rate: 20, channels: 10 });
    expect(health?.signals).toMatchObject({ clockJumps: 1, saturatedSamples: 128, stuck: 1 });
    expect(health?.troubled).toMatchObject({ slow: ['rate'], wide: ['channels'], stuck: ['stuck'] });
    expect(health?.troubled.good).toBeUndefined();
    for (const kind of ['rate', 'channels', 'saturated', 'stuck', 'clockJump'])
      expect(warnings(gateway, `"kind":"${kind}"`)).toHaveLength(1);
    const { ledger } = gateway.status();
    expect(ledger!.windowsDecided + ledger!.windowsWaiting + ledger!.windowsRefused.overrun).toBe(ledger!.windowsExpected);
  });

  it('of a cable that is pulled is shown by the port, and another port goes on', async () => {
    const [first, second]: Pty[] = [await openPty(), await openPty()];
    open.push(
      () => first.close(),
      () => second.close(),
    );
    const { seen, gateway } = await plant({ serial: [first, second].map(({ path }, index) => ({ name: `p${index}`, path })) });
    await vi.waitFor(
      () => expect(Object.values(gateway.status().health!.ports).map(({ state }) => state)).toEqual(['open', 'open']),
      patient,
    );
    await first.close();
    await vi.waitFor(() => expect(gateway.status().health?.ports.p0).toMatchObject({ state: 'retrying', lost: 1 }), patient);
    for (let at = 0; at < 512; at += 64) await second.write(encodeSerialFrame(noiseFrame(at)));
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('p1-0'))).toHaveLength(1), patient);
    expect(gateway.status().health?.ports.p1).toMatchObject({ state: 'open', lost: 0 });
  });
});

describe('a broker that goes away', () => {
  it('finds the newest diagnosis of each stream and every alarm change when it returns, and the drop is counted', async () => {
    const port = await freePort();
    const pty = await openPty();
    open.push(() => pty.close());
    const first = await startEmbeddedBroker(port);
    const gateway = await gatewayOn(first.url, { serial: [{ name: 'p', path: pty.path }] });
    await vi.waitFor(() => expect(gateway.status().health?.broker.connected).toBe(true), patient);
    await first.close();
    await vi.waitFor(() => expect(gateway.status().health?.broker.connected).toBe(false), patient);
    for (let at = 0; at < 512 + 4 * 256; at += 64) await pty.write(encodeSerialFrame(noiseFrame(at)));
    await vi.waitFor(() => expect(gateway.status().ledger?.windowsDecided).toBe(5), patient);
    // An operator's word is a change of alarm state like any other.
    expect(gateway.operate('p-0', 'shelve')).toBe('shelved');
    expect(gateway.operate('p-0', 'unshelve')).toMatch(/normal|unacknowledged/);
    await vi.waitFor(() => expect(gateway.status().health?.outbox.accepted).toBeGreaterThanOrEqual(2), patient);
    expect(gateway.status().health).toMatchObject({ diagnosesReplaced: 4, outbox: { waiting: expect.any(Number) } });

    const again = await broker(port);
    const seen = await watcher(again.url);
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('p-0'))).toHaveLength(1), patient);
    expect(seen.of(TOPICS.diagnosis('p-0'))[0].endSequence).toBe(512 + 4 * 256);
    await vi.waitFor(() => expect(gateway.status().health?.outbox.waiting).toBe(0), patient);
    await vi.waitFor(() => expect(seen.of(TOPICS.alarm('p-0')).length).toBeGreaterThanOrEqual(2), patient);
    const changes = seen.of(TOPICS.alarm('p-0')).map((value) => alarmChangeSchema.parse(value));
    for (const [index, { from }] of changes.entries()) expect(from).toBe(index === 0 ? 'normal' : changes[index - 1].to);
    expect(gateway.status().health?.broker).toMatchObject({ connections: 2, lost: 1 });
    expect(warnings(gateway, '"msg":"broker"').length).toBeLessThanOrEqual(1);
  });

  it('gets the alarms of a gateway that ended before it returned', async () => {
    const port = await freePort();
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-restart-'));
    const pty = await openPty();
    open.push(() => pty.close());
    const first = await liveGateway(
      { bundle, broker: { url: `mqtt://127.0.0.1:${port}` }, serial: [{ name: 'p', path: pty.path }] },
      folder,
    );
    await vi.waitFor(() => expect(first.status().health?.ports.p.state).toBe('open'), patient);
    for (let at = 0; at < 512; at += 64) await pty.write(encodeSerialFrame(noiseFrame(at)));
    await vi.waitFor(() => expect(first.status().ledger?.windowsDecided).toBe(1), patient);
    first.operate('p-0', 'shelve');
    await vi.waitFor(() => expect(first.status().health?.outbox.waiting).toBeGreaterThan(0), patient);
    await first.stop();
    const { url } = await broker(port);
    const seen = await watcher(url);
    await gatewayOn(url, {}, folder);
    await vi.waitFor(() => expect(seen.of(TOPICS.alarm('p-0')).at(-1)).toMatchObject({ to: 'shelved' }), patient);
  });
});

describe('an operator', () => {
  it('speaks over MQTT; what cannot be used is said, not obeyed', async () => {
    const { seen, gateway } = await plant();
    await sendNoise(seen.client, 'm', 0, 512);
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('m'))).toHaveLength(1), patient);
    await seen.client.publishAsync(TOPICS.operator('m'), '{"command":"explode"}');
    await seen.client.publishAsync(TOPICS.operator('m'), '{"command":"shelve"}');
    await vi.waitFor(() => expect(seen.of(TOPICS.alarm('m')).at(-1)).toMatchObject({ to: 'shelved' }), patient);
    expect(warnings(gateway, 'an operator message')).toHaveLength(1);
  });
});

describe('two gateways of one name', () => {
  it.each(MOSQUITTO ? ['aedes', 'mosquitto'] : ['aedes'])(
    'on %s do not fight: the later waits, says so, and takes over when the first ends',
    async (kind) => {
      const port = await freePort();
      const url = `mqtt://127.0.0.1:${port}`;
      if (kind === 'aedes') await broker(port);
      else open.push(await startMosquitto(['allow_anonymous true'], port));
      const first = await gatewayOn(url);
      await vi.waitFor(() => expect(first.status().health?.broker.connected).toBe(true), patient);
      const second = await gatewayOn(url);
      await vi.waitFor(() => expect(second.status().health?.broker.waitingForName).toBe(true), patient);
      expect(warnings(second, 'another gateway of this name is at work')).toHaveLength(1);
      await vi.waitFor(() => expect(first.status().health?.broker).toMatchObject({ connected: true, waitingForName: false }), patient);
      // From now on neither throws the other off.
      const connections = () => [first, second].map(({ status }) => status().health?.broker.connections);
      await vi.waitFor(() => expect(second.status().health?.broker.connected).toBe(true), patient);
      const before = connections();
      const seen = await watcher(url);
      await vi.waitFor(() => expect(seen.of(TOPICS.status).length).toBeGreaterThan(4), patient);
      expect(connections()).toEqual(before);
      expect(new Set(seen.of(TOPICS.status).map(({ instance }) => instance))).toEqual(new Set([first.status().instance]));
      await first.stop();
      await vi.waitFor(() => expect(second.status().health?.broker).toMatchObject({ connected: true, waitingForName: false }), patient);
      await vi.waitFor(() => expect(seen.status()).toMatchObject({ state: 'online', instance: second.status().instance }), patient);
    },
  );
});

describe('a restart', () => {
  it('neither forgets an alarm nor tells of it again; a second gateway on the same state folder is refused meanwhile', async () => {
    const { url } = await broker();
    const seen = await watcher(url);
    const first = await gatewayOn(url);
    await vi.waitFor(() => expect(seen.status()?.state).toBe('online'), patient);
    await sendNoise(seen.client, 'm', 0, 512);
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('m'))).toHaveLength(1), patient);
    first.operate('m', 'shelve');
    await vi.waitFor(() => expect(seen.of(TOPICS.alarm('m'))).toHaveLength(1), patient);
    await expect(liveGateway({ bundle, broker: { url } }, first.folder)).rejects.toThrow(
      /^stateFolder: .* is in use by process \d+ of .+; stop it/,
    );
    await first.stop();

    const second = await gatewayOn(url, {}, first.folder);
    await vi.waitFor(() => expect(seen.status()?.instance).toBe(second.status().instance), patient);
    // Known to the operator before its first window has come.
    expect(second.operate('m', 'acknowledge')).toBe('shelved');
    await sendNoise(seen.client, 'm', 0, 512, { epoch: 1 });
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('m')).at(-1)).toMatchObject({ epoch: 1, alarm: 'shelved' }), patient);
    expect(second.operate('m', 'unshelve')).not.toBe('shelved');
    await vi.waitFor(() => expect(seen.of(TOPICS.alarm('m'))).toHaveLength(2), patient);
  });
});

describe('over HTTP', () => {
  it('gives counters to Prometheus and health to whoever asks', async () => {
    const { seen, gateway } = await plant({ http: { port: 0 } });
    await sendNoise(seen.client, 'm', 0, 768);
    await vi.waitFor(() => expect(gateway.status().ledger?.windowsDecided).toBe(2), patient);
    const get = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${gateway.httpPort}${path}`, { method });
    const metrics = await get('/metrics');
    expect(metrics.headers.get('content-type')).toContain('version=0.0.4');
    const text = await metrics.text();
    expect(text).toContain('\ntremolo_windows_decided_total 2\n');
    expect(text).toContain('\ntremolo_broker_connected 1\n');
    expect(await (await get('/healthz')).text()).toBe('ok\n');
    expect((await get('/other')).status).toBe(404);
    expect((await get('/metrics', 'POST')).status).toBe(405);
    const port = gateway.httpPort!;
    await expect(liveGateway({ bundle, broker: { url: 'mqtt://127.0.0.1:9' }, http: { port } })).rejects.toThrow(ConfigurationRefusal);
  });
});

describe('a state folder that cannot be written', () => {
  it('costs the outbox and the references, not the decisions', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-state-'));
    await writeFile(join(folder, 'file'), '');
    const { seen, gateway } = await plant({ stateFolder: join(folder, 'file', 'state') });
    await sendNoise(seen.client, 'm', 0, 512);
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('m'))).toHaveLength(1), patient);
    gateway.operate('m', 'shelve');
    await vi.waitFor(() => expect(gateway.status().health?.outbox.failures).toBeGreaterThan(0), patient);
    await vi.waitFor(() => expect(warnings(gateway, 'the disk takes no messages')).toHaveLength(1), patient);
  });
});
