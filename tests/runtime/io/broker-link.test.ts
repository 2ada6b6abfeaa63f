import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type BrokerEvents, BrokerLink } from '../../../runtime/io/broker-link.ts';
import { brokerOptions } from '../../../runtime/io/broker-options.ts';
import { type BrokerConfiguration, readConfiguration } from '../../../runtime/io/configuration.ts';
import { LatestMessages } from '../../../runtime/io/latest-messages.ts';
import { startEmbeddedBroker } from '../../../trainer/io/broker.ts';
import { freePort, writeYaml } from '../../support/live-gateway.ts';
import { MOSQUITTO, startMosquitto } from '../../support/mosquitto.ts';

const patient = { timeout: 20_000, interval: 10 };
const has = (program: string, argument: string) => spawnSync(program, [argument]).error === undefined;

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

function linkTo(broker: BrokerConfiguration, clientId = 'link') {
  const received: string[] = [];
  const troubles: string[] = [];
  const events: BrokerEvents = {
    onMessage: (topic, payload) => received.push(`${topic} ${Buffer.from(payload)}`),
    onOnline: () => {},
    onOffline: () => {},
    onTrouble: (error) => troubles.push(error),
  };
  const link = new BrokerLink(
    broker.url,
    () => brokerOptions(broker),
    { clientId, subscriptions: { 'in/#': { qos: broker.qos } } },
    events,
  );
  open.push(() => link.close());
  const goesRound = async () => {
    await vi.waitFor(() => expect(link.online).toBe(true), patient);
    const delivered = await new Promise((resolve) => link.publish('in/x', 'hello', false, resolve));
    expect(delivered).toBe(true);
    await vi.waitFor(() => expect(received).toContain('in/x hello'), patient);
  };
  return { link, received, troubles, goesRound };
}

const plain = (url: string): BrokerConfiguration => ({ url, protocolVersion: 4, qos: 1 });

describe('a link to a broker', () => {
  it('says with MQTT 5 that another client has taken the name, where the broker says so', async () => {
    const port = await freePort();
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (bytes) => {
        if (bytes[0] === 0x10) socket.write(Buffer.from([0x20, 3, 0, 0, 0]));
        // The subscription's answer, and then DISCONNECT with reason 0x8E (MQTT 5.0, 3.14).
        if (bytes[0] === 0x82) socket.end(Buffer.from([0x90, 4, bytes[2], bytes[3], 0, 1, 0xe0, 2, 0x8e, 0]));
      });
    }).listen(port, '127.0.0.1');
    open.push(() => new Promise((resolve) => server.close(resolve)));
    const { link, troubles } = linkTo({ ...plain(`mqtt://127.0.0.1:${port}`), protocolVersion: 5 });
    await vi.waitFor(() => expect(link.health.takenOver).toBeGreaterThan(0), patient);
    expect(troubles.join()).toContain('each gateway needs a name of its own');
    // And waits longer and longer instead of fighting.
    await vi.waitFor(() => expect(troubles.join()).toContain('does another client call itself link?'), patient);
    await link.close();
  });

  it('hears what was subscribed while the broker’s first answer was on its way, and gives up what was unsubscribed then', async () => {
    const port = await freePort();
    const packets: Buffer[] = [];
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => {});
      socket.on('data', (bytes) => {
        packets.push(bytes);
        if (bytes[0] === 0x10) socket.write(Buffer.from([0x20, 2, 0, 0]));
      });
    }).listen(port, '127.0.0.1');
    open.push(() => new Promise((resolve) => server.close(resolve)));
    open.push(async () => {
      for (const socket of sockets) socket.destroy();
    });
    const { link } = linkTo(plain(`mqtt://127.0.0.1:${port}`));
    const sent = (type: number) => packets.filter((bytes) => bytes[0] === type).map(String);
    await vi.waitFor(() => expect(sent(0x82)).toHaveLength(1), patient);
    link.subscribe('late/x');
    link.unsubscribe('in/#');
    const [first] = packets.filter((bytes) => bytes[0] === 0x82);
    sockets[0].write(Buffer.from([0x90, 3, first[2], first[3], 1]));
    await vi.waitFor(() => expect(packets.map(String).join()).toMatch(/late\/x/), patient);
    await vi.waitFor(() => expect(packets.some((bytes) => bytes.includes(0xa2) && bytes.includes('in/#'))).toBe(true), patient);
  });

  it('waits for a broker that comes later, and says why it is not there', async () => {
    const port = await freePort();
    const { link, goesRound } = linkTo(plain(`mqtt://127.0.0.1:${port}`));
    await vi.waitFor(() => expect(link.health.failed).toBeGreaterThan(1), patient);
    expect(link.health.lastError).toMatch(/ECONNREFUSED|closed/);
    expect(link.publish('in/x', 'lost', false)).toBe(false);
    const broker = await startEmbeddedBroker(port);
    open.push(() => broker.close());
    await goesRound();
    expect(link.health).toMatchObject({ connections: 1, lost: 0 });
  });

  it('reports what was in flight when the connection was lost as not delivered, each once', async () => {
    const port = await freePort();
    // Takes a connection and subscriptions, and never acknowledges a message.
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('data', (bytes) => {
        if (bytes[0] === 0x10) socket.write(Buffer.from([0x20, 2, 0, 0]));
        if (bytes[0] === 0x82) socket.write(Buffer.from([0x90, 3, bytes[2], bytes[3], 1]));
      });
    }).listen(port, '127.0.0.1');
    open.push(() => new Promise((resolve) => server.close(resolve)));
    const { link } = linkTo(plain(`mqtt://127.0.0.1:${port}`));
    await vi.waitFor(() => expect(link.online).toBe(true), patient);
    const results: boolean[] = [];
    for (let n = 0; n < 5; n++) link.publish('out', `${n}`, false, (delivered) => results.push(delivered));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(results).toEqual([]);
    for (const socket of sockets) socket.destroy();
    await vi.waitFor(() => expect(results).toEqual([false, false, false, false, false]), patient);
    await link.close();
    for (const socket of sockets) socket.destroy();
  });
});

describe('the newest messages', () => {
  function sender() {
    const sent: string[] = [];
    const line = { open: true };
    const messages = new LatestMessages(
      (key) => `topic/${key}`,
      (topic, payload) => {
        if (line.open) sent.push(`${topic.slice('topic/'.length)}=${Buffer.from(payload)}`);
        return line.open;
      },
    );
    return { sent, line, messages };
  }

  it('wait one a topic while there is no connection; what a newer one replaced is counted', () => {
    const { sent, line, messages } = sender();
    line.open = false;
    for (let n = 0; n < 5; n++) for (const topic of ['a', 'b']) messages.send(topic, `${n}`);
    expect(messages).toMatchObject({ waiting: 2, replaced: 8 });
    line.open = true;
    messages.flush();
    expect(sent).toEqual(['a=4', 'b=4']);
    expect(messages.waiting).toBe(0);
  });

  it('that are not known to have arrived wait again when the connection is lost: of one topic the newest', () => {
    const { sent, line, messages } = sender();
    messages.send('known', '1');
    messages.send('t', 'old');
    messages.confirm(1);
    messages.send('t', 'new');
    line.open = false;
    messages.interrupted();
    expect(messages).toMatchObject({ waiting: 1, replaced: 1 });
    messages.send('t', 'newest');
    expect(messages).toMatchObject({ waiting: 1, replaced: 2 });
    line.open = true;
    messages.flush();
    expect(sent.slice(3)).toEqual(['t=newest']);
  });

  it('are each known to have arrived, sent again or counted, whatever happens when', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('send' as const), topic: fc.constantFrom('a', 'b', 'c') }),
      fc.record({ do: fc.constantFrom('open' as const, 'lose' as const, 'confirm' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { sent, line, messages } = sender();
        let made = 0;
        // What the broker has: all that was sent before the last confirmation, and nothing of what was sent after it on a lost connection.
        let [confirmed, before]: [string[], number] = [[], 0];
        for (const one of steps) {
          if (one.do === 'send') messages.send(one.topic, `${made++}`);
          else if (one.do === 'confirm' && line.open) {
            messages.confirm(messages.sent);
            confirmed = confirmed.concat(sent.slice(before));
            before = sent.length;
          } else if (one.do === 'lose' && line.open) {
            line.open = false;
            messages.interrupted();
            before = sent.length;
          } else if (one.do === 'open' && !line.open) {
            line.open = true;
            messages.flush();
          }
        }
        line.open = true;
        messages.flush();
        const arrived = new Set(confirmed.concat(sent.slice(before)));
        expect(messages.waiting).toBe(0);
        expect(arrived.size + messages.replaced).toBe(made);
      }),
    );
  });
});

async function mosquitto(lines: readonly string[], port: number): Promise<void> {
  open.push(await startMosquitto(lines, port));
}

describe.skipIf(!MOSQUITTO)('mosquitto (skipped where it is not installed)', () => {
  it.each([
    ['3.1.1', 4],
    ['5', 5],
  ] as const)('carries MQTT %s', async (_name, protocolVersion) => {
    const port = await freePort();
    await mosquitto(['allow_anonymous true'], port);
    await linkTo({ ...plain(`mqtt://127.0.0.1:${port}`), protocolVersion }).goesRound();
  });

  describe.skipIf(!has('openssl', 'version'))('over TLS with client certificates', () => {
    let folder: string;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'tremolo-tls-'));
      // mosquitto gives up root for a user of its own.
      chmodSync(folder, 0o755);
      const ssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
      const key = (name: string) => ['-newkey', 'rsa:2048', '-nodes', '-keyout', `${name}.key`];
      ssl('req', '-x509', ...key('ca'), '-out', 'ca.crt', '-subj', '/CN=plant CA', '-days', '2');
      ssl('req', '-x509', ...key('other'), '-out', 'other.crt', '-subj', '/CN=other CA', '-days', '2');
      for (const name of ['server', 'gateway']) {
        ssl('req', ...key(name), '-out', `${name}.csr`, '-subj', `/CN=${name === 'server' ? 'localhost' : name}`);
        writeFileSync(join(folder, `${name}.ext`), 'subjectAltName=IP:127.0.0.1,DNS:localhost');
        ssl(
          'x509',
          '-req',
          '-in',
          `${name}.csr`,
          '-CA',
          'ca.crt',
          '-CAkey',
          'ca.key',
          '-CAcreateserial',
          '-out',
          `${name}.crt`,
          '-days',
          '2',
          '-extfile',
          `${name}.ext`,
        );
      }
      chmodSync(join(folder, 'server.key'), 0o644);
      chmodSync(join(folder, 'gateway.key'), 0o600);
      writeFileSync(join(folder, 'password'), 'secret\n', { mode: 0o600 });
    });

    const secured = async () => {
      const port = await freePort();
      const at = (name: string) => join(folder, name);
      await mosquitto(
        [
          'allow_anonymous true',
          `cafile ${at('ca.crt')}`,
          `certfile ${at('server.crt')}`,
          `keyfile ${at('server.key')}`,
          'require_certificate true',
        ],
        port,
      );
      return port;
    };
    const configured = async (port: number, broker: Record<string, unknown>) =>
      (
        await readConfiguration(
          await writeYaml({ site: 's', gateway: 'g', bundle: 'b', broker: { url: `mqtts://127.0.0.1:${port}`, ...broker } }, folder),
        )
      ).broker;

    it('a message goes round, as read from gateway.yaml', async () => {
      const port = await secured();
      await linkTo(await configured(port, { ca: 'ca.crt', cert: 'gateway.crt', key: 'gateway.key', qos: 1 })).goesRound();
    });

    it('a broker of another authority is not spoken to', async () => {
      const port = await secured();
      const { link } = linkTo(await configured(port, { ca: 'other.crt', cert: 'gateway.crt', key: 'gateway.key' }));
      await vi.waitFor(() => expect(link.health.failed).toBeGreaterThan(0), patient);
      expect(link.health.lastError).toMatch(/certificate/);
      expect(link.health.connections).toBe(0);
    });

    it('a gateway without a certificate is not let in', async () => {
      const port = await secured();
      const { link } = linkTo(await configured(port, { ca: 'ca.crt' }));
      await vi.waitFor(() => expect(link.health.failed).toBeGreaterThan(1), patient);
      expect(link.online).toBe(false);
    });

    it('a user with a password from a file is let in, another is refused and tries again', async () => {
      const port = await freePort();
      execFileSync('mosquitto_passwd', ['-b', '-c', join(folder, 'users'), 'hall', 'secret'], { stdio: 'ignore' });
      chmodSync(join(folder, 'users'), 0o644);
      await mosquitto(['allow_anonymous false', `password_file ${join(folder, 'users')}`], port);
      const url = `mqtt://127.0.0.1:${port}`;
      await linkTo(await configured(port, { url, username: 'hall', passwordFile: 'password' })).goesRound();
      const { link } = linkTo(await configured(port, { url, username: 'nobody', passwordFile: 'password' }), 'nobody');
      await vi.waitFor(() => expect(link.health.failed).toBeGreaterThan(1), patient);
      expect(link.health.lastError).toMatch(/[Nn]ot authorized/);
    });
  });
});
