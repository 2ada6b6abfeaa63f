import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { readManifest } from '../../models/bundle/bundle.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { startGatewayUnderTest } from './gateway-under-test.ts';
import { startGenerator } from './measure.ts';
import { findMosquitto, startMosquitto } from './mosquitto.ts';
import { Schedule, type SchedulePlan } from './schedule.ts';

export const SITE = 'bench';
export const GATEWAY = 'under-load';
const FRAME_SAMPLES = 64;

export interface MarkedLoadOptions {
  readonly streams: number;
  readonly seconds: number;
  readonly bundle: string;
  /** Folder of the built programs. */
  readonly programs: URL;
}

/** A gateway that decides live streams, to which something happens in their midst. */
export interface MarkedLoad {
  readonly brokerUrl: string;
  readonly client: MqttClient;
  readonly generator: ReturnType<typeof startGenerator>;
  readonly windowsExpected: number;
}

/**
 * Starts broker, gateway and streams, and hands them to `use` before the first sample.
 *
 * @param prepare further settings of the gateway, given a folder that goes at the end
 */
export async function withMarkedLoad<T>(
  { streams, seconds, bundle, programs }: MarkedLoadOptions,
  prepare: (folder: string) => Promise<Record<string, unknown>>,
  use: (load: MarkedLoad) => Promise<T>,
): Promise<T | { readonly skipped: string }> {
  const found = findMosquitto();
  if (!found) return { skipped: 'mosquitto is not installed (Debian: apt-get install mosquitto)' };
  if (process.platform !== 'linux') return { skipped: 'processor time of other processes is read from /proc, which only Linux has' };
  const { recipe } = (await readManifest(bundle)).manifest;
  const plan: SchedulePlan = { streams, seconds, aligned: false, seed: 1, frameSamples: FRAME_SAMPLES, ...recipe };
  const { windowsExpected } = new Schedule(plan);
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-load-'));
  const closers: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const broker = await startMosquitto(folder, found);
    closers.unshift(broker.stop);
    const configuration = {
      ...{ site: SITE, gateway: GATEWAY, bundle, broker: { url: broker.url }, largestStreams: streams },
      stateFolder: join(folder, 'state'),
      ...(await prepare(folder)),
    };
    const gateway = await startGatewayUnderTest(configuration, programs, folder, undefined);
    closers.unshift(gateway.stop);
    const generator = startGenerator({ broker: broker.url, site: SITE, gateway: GATEWAY, plan }, programs);
    closers.unshift(generator.stop);
    const client = connectBroker(broker.url, () => {});
    closers.unshift(() => client.endAsync(true));
    await generator.ready;
    return await use({ brokerUrl: broker.url, client, generator, windowsExpected });
  } finally {
    for (const close of closers) await close();
  }
}
