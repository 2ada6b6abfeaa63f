import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readManifest } from '../../models/bundle/bundle.ts';
import { siteTopics } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { type Disturbance, DisturbanceWatch, familyCpuMs } from '../harness/disturbance.ts';
import { findMosquitto, startMosquitto } from '../streams/mosquitto.ts';
import { rounded } from '../streams/quantiles.ts';
import { writeAdapter } from './adapter-file.ts';
import { createFleet } from './fleet-folder.ts';
import type { GatewaysOrder } from './gateways.ts';
import { pushAdapter } from './push-command.ts';

export const SITE = 'bench';
/** A gateway is a small program, and a process for each of a hundred would be a measurement of process starts. */
const GATEWAYS_PER_PROCESS = 20;

export interface FleetOptions {
  readonly gateways: number;
  readonly bundle: string;
  /** Folder of the built programs. */
  readonly programs: URL;
  readonly signal?: AbortSignal;
  progress(line: string): void;
}

export interface FleetResult {
  readonly gateways: number;
  readonly confirmed: number;
  /** From the start of the command to its end: every gateway has confirmed, or the rollout has ended otherwise. */
  readonly seconds: number;
  readonly chunksPublished: number;
  readonly chunksDistinct: number;
  /** PUBLISH packets of chunks and refusals, from the server to the broker. */
  readonly bytesOnWire: number;
  readonly requests: number;
  readonly status: string;
  readonly broker: string;
  readonly processes: number;
  readonly disturbance: Disturbance;
}

/** One adapter for many gateways on one broker: `tremolo push` as it is shipped, and gateways whose updates are as they are shipped. */
export async function measureFleetPush({ gateways, bundle, programs, signal, progress }: FleetOptions): Promise<FleetResult> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-push-'));
  const closers: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const broker = await startBroker(folder);
    closers.unshift(broker.stop);
    const { folder: repository, root } = await createFleet(folder, SITE);
    const names = Array.from({ length: gateways }, (_, index) => `g${index}`);
    const order = { broker: broker.url, site: SITE, bundle, root, folder: join(folder, 'gateways') };
    const processes: Gateways[] = [];
    for (let from = 0; from < gateways; from += GATEWAYS_PER_PROCESS)
      processes.push(startGateways({ ...order, gateways: names.slice(from, from + GATEWAYS_PER_PROCESS) }, programs));
    closers.unshift(() => Promise.all(processes.map((one) => one.stop())));
    await Promise.all(processes.map((one) => one.ready));
    await allSeen(broker.url, gateways);
    progress(`${gateways} gateways in ${processes.length} processes on ${broker.name}`);
    const adapter = await writeAdapter(join(folder, 'adapter.safetensors'), (await readManifest(bundle)).manifest, 1);
    const watch = new DisturbanceWatch(familyCpuMs);
    const pushed = await pushAdapter({ adapter, to: `${SITE}/*`, repository, broker: broker.url, programs, signal });
    return {
      gateways,
      confirmed: pushed.report.confirmed,
      seconds: rounded(pushed.seconds, 2),
      ...pushed.report.counters,
      status: pushed.report.status,
      broker: broker.name,
      processes: processes.length,
      disturbance: watch.finish(),
    };
  } finally {
    for (const close of closers) await close();
  }
}

async function startBroker(folder: string): Promise<{ url: string; name: string; stop: () => Promise<void> }> {
  const found = findMosquitto();
  if (found) {
    const { url, stop } = await startMosquitto(folder, found);
    return { url, name: `mosquitto ${found.version}`, stop };
  }
  const { url, close } = await startEmbeddedBroker();
  return { url, name: 'aedes', stop: close };
}

type Gateways = ReturnType<typeof startGateways>;

function startGateways(order: GatewaysOrder, programs: URL) {
  const child: ChildProcess = spawn(process.execPath, [fileURLToPath(new URL('push-gateways.js', programs)), JSON.stringify(order)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const ready = new Promise<void>((resolve, reject) => {
    child.stdout!.once('data', () => resolve());
    void ended.then((code) => reject(new Error(`a process of gateways ended with ${code}`)));
  });
  ready.catch(() => {});
  return {
    ready,
    async stop() {
      child.stdin!.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Resolves when the broker has heard of all gateways. */
async function allSeen(url: string, gateways: number): Promise<void> {
  const client = connectBroker(url, () => {});
  const { allStatuses, allUpdateStates } = siteTopics(SITE);
  const seen = new Set<string>();
  await new Promise<void>((resolve, reject) => {
    client.on('message', (topic) => {
      seen.add(topic);
      if (seen.size === 2 * gateways) resolve();
    });
    client.subscribeAsync([allStatuses, allUpdateStates], { qos: 1 }).catch(reject);
  });
  await client.endAsync();
}
