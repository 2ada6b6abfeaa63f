import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFrame } from '../../firmware-bridge/codec/index.ts';
import { type Bundle, bankLayout } from '../../models/bundle/bundle.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { type EmbeddedBroker, startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { type GatewayProcess, startGatewayProcess } from '../../trainer/io/gateway-process.ts';
import { noiseFrame, PROGRAMS } from '../support/live-gateway.ts';
import { numbers } from '../support/numbers.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';
import { tremolo } from '../support/tremolo-command.ts';
import { renamed } from '../support/update-site.ts';

const NAMES = ['hall-1', 'hall-2', 'hall-3'];

let folder: string;
let broker: EmbeddedBroker;
let client: MqttClient;
let factory: Bundle;
let better: { folder: string };
let stranger: { folder: string };
const gateways: GatewayProcess[] = [];
let sending: NodeJS.Timeout;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-fleet-'));
  const made = await makeTinyBundle();
  factory = made.bundle;
  better = await renamed(made.bundle, 'better');
  // The same network under other names: wrong on every window.
  stranger = await renamed(made.bundle, 'stranger', [...made.bundle.manifest.classes.slice(1), made.bundle.manifest.classes[0]]);
  broker = await startEmbeddedBroker();
  await tremolo('keys', 'init', '--out', join(folder, 'fleet'), '--site', 'plant');
  for (const gateway of NAMES) {
    const state = { stateFolder: join(folder, gateway), update: { root: join(folder, 'fleet', '1.root.json') } };
    gateways.push(
      await startGatewayProcess({ site: 'plant', gateway, bundle: made.folder, broker: { url: broker.url }, ...state }, PROGRAMS),
    );
  }
  client = connectBroker(broker.url, () => {});
  let sequence = 0;
  // Machines that run all the time: two windows a second and gateway at the least.
  sending = setInterval(() => {
    const frame = Buffer.from(encodeFrame(noiseFrame(sequence)));
    sequence += 64;
    for (const name of NAMES) client.publish(gatewayTopics('plant', name).samples('press'), frame);
  }, 20);
}, 120_000);

afterAll(async () => {
  clearInterval(sending);
  for (const gateway of gateways) await gateway.stop();
  await client?.endAsync(true);
  await broker?.close();
  await rm(folder, { recursive: true, force: true });
});

const here = () => ['--repository', join(folder, 'fleet'), '--broker', broker.url, '--json'];
const push = (...args: string[]) =>
  tremolo(
    'push',
    ...args,
    '--to',
    'plant/*',
    '--waves',
    '1,100%',
    '--settle',
    '0s',
    '--shadow-windows',
    '10',
    '--latency',
    '500',
    ...here(),
  );

interface Gateway {
  readonly gateway: string;
  readonly bundle: { readonly digest: string };
  readonly adapters: Readonly<Record<string, string>>;
}

/** What each gateway says that it runs. */
async function fleetStatus(): Promise<Gateway[]> {
  const { code, stderr, report } = await tremolo('fleet', 'status', ...here());
  expect(code, stderr).toBe(0);
  return report.gateways as Gateway[];
}

const digests = async () => (await fleetStatus()).map(({ bundle }) => bundle.digest);
const digestOf = ({ report }: Awaited<ReturnType<typeof push>>) => (report.target as { sha256: string }).sha256;

describe('a fleet of real gateways, each a process of its own with live streams', () => {
  it('takes a bundle in waves, after each has proved it on its own windows', async () => {
    const pushed = await push(better.folder);
    expect(pushed.code, pushed.stderr).toBe(0);
    expect(pushed.report).toMatchObject({ status: 'finished', confirmed: 3, failed: 0 });
    for (const phase of ['shadow', 'confirmed']) expect(pushed.stderr).toContain(phase);
    expect(await digests()).toEqual(NAMES.map(() => digestOf(pushed)));
  }, 120_000);

  it('stays with it when the canary finds the next one worse on live windows', async () => {
    const before = await digests();
    const pushed = await push(stranger.folder, '--shadow-windows', '60', '--agreement', '1');
    expect(pushed.code).toBe(1);
    expect(pushed.report).toMatchObject({ status: 'failed', confirmed: 0, failed: 1 });
    expect(pushed.report.reason).toMatch(/1 of 1 gateways of group 1 failed, more than 10 %; plant\/hall-1: update\//);
    expect(await digests()).toEqual(before);
  }, 120_000);

  it('takes an adapter for one stream, for few bytes', async () => {
    const path = join(folder, 'adapter.safetensors');
    const tensors = Object.fromEntries(
      bankLayout(factory.manifest).parameters.map(({ name, shape }, index) => {
        const size = shape.reduce((a, b) => a * b, 1);
        return [name, { type: 'float32' as const, shape: [...shape], values: Float32Array.from(numbers(size, index, -1e-4, 1e-4)) }];
      }),
    );
    const bytes = encodeSafetensors({ tensors, metadata: { base: factory.manifest.base } });
    await writeFile(path, bytes);
    const pushed = await push(path, '--stream', 'press');
    expect(pushed.code, pushed.stderr).toBe(0);
    for (const { adapters } of await fleetStatus()) expect(adapters).toEqual({ press: digestOf(pushed) });
    // Two waves of metadata and the file: for three gateways, from the server to the broker.
    const { bytesOnWire } = pushed.report.counters as Record<string, number>;
    expect(bytesOnWire).toBeLessThan(2 * (bytes.length + 20_000));
  }, 120_000);

  it('goes back at one gateway alone by one command, and the others stay', async () => {
    const before = await fleetStatus();
    const back = await tremolo('fleet', 'rollback', 'plant/hall-2', ...here());
    expect(back.code, back.stderr).toBe(0);
    expect(back.report).toMatchObject({ gateways: ['plant/hall-2'], rollouts: [{ status: 'finished', confirmed: 2, failed: 0 }] });
    const after = await fleetStatus();
    expect(after.map(({ adapters }) => adapters)).toEqual(
      before.map(({ gateway, adapters }) => (gateway === 'plant/hall-2' ? {} : adapters)),
    );
    expect(after.map(({ bundle }) => bundle)).toEqual(before.map(({ bundle }) => bundle));
  }, 120_000);

  it('goes back by one command', async () => {
    const before = await fleetStatus();
    const back = await tremolo('fleet', 'rollback', ...here(), '--reason', 'hall 2 complains');
    expect(back.code, back.stderr).toBe(0);
    expect(back.report).toMatchObject({ status: 'rolledBack', reason: 'hall 2 complains' });
    const after = await fleetStatus();
    expect(after.map(({ adapters }) => adapters)).toEqual(NAMES.map(() => ({})));
    expect(after.map(({ bundle }) => bundle)).toEqual(before.map(({ bundle }) => bundle));
  }, 120_000);
});
