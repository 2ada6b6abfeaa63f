import { mkdtemp, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { pino } from 'pino';
import { stringify } from 'yaml';
import { encodeFrame, type SampleFrame } from '../../firmware-bridge/codec/index.ts';
import { type Status, statusSchema } from '../../runtime/contracts/messages.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { type RunningGateway, startGateway } from '../../runtime/gateway.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { readConfiguration } from '../../runtime/io/configuration.ts';

export const PROGRAMS = new URL('../../dist/', import.meta.url);
export const TOPICS = gatewayTopics('plant', 'hall');

/** A port that nobody has at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function writeYaml(configuration: Record<string, unknown>, folder?: string): Promise<string> {
  const path = join(folder ?? (await mkdtemp(join(tmpdir(), 'tremolo-gateway-'))), 'gateway.yaml');
  await writeFile(path, stringify(configuration));
  return path;
}

export type LogLine = Record<string, unknown> & { msg: string };

export interface LiveGateway extends RunningGateway {
  readonly log: readonly LogLine[];
  /** Folder of its gateway.yaml and state. */
  readonly folder: string;
}

/** A gateway called plant/hall in this process. */
export async function liveGateway(configuration: Record<string, unknown>, folder?: string): Promise<LiveGateway> {
  const path = await writeYaml({ site: 'plant', gateway: 'hall', ...configuration }, folder);
  const log: LogLine[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void log.push(JSON.parse(line)) });
  const gateway = await startGateway(await readConfiguration(path), '0.0.0', PROGRAMS, logger);
  return { ...gateway, log, folder: path.replace(/\/gateway\.yaml$/, '') };
}

export interface Observer {
  readonly client: MqttClient;
  /** JSON messages by topic, in the order of their arrival. */
  readonly messages: { readonly topic: string; readonly value: Record<string, unknown> }[];
  of(topic: string): Record<string, unknown>[];
  /** The gateway's latest status. */
  status(): Status | undefined;
}

/** Sees what any subscriber would. */
export async function observe(url: string): Promise<Observer> {
  const client = connectBroker(url, () => {});
  const messages: Observer['messages'] = [];
  client.on('message', (topic, payload) => void messages.push({ topic, value: JSON.parse(payload.toString()) }));
  await client.subscribeAsync([TOPICS.allDiagnoses, TOPICS.allAlarms, TOPICS.status], { qos: 1 });
  const of = (topic: string) => messages.filter((one) => one.topic === topic).map(({ value }) => value);
  return {
    client,
    messages,
    of,
    status: () => {
      const last = of(TOPICS.status).at(-1);
      return last && statusSchema.parse(last);
    },
  };
}

/** A frame of 64 samples of two channels at 1 kHz: noise that nothing can find fault with. */
export function noiseFrame(sequence: number, more: Partial<SampleFrame> = {}): SampleFrame {
  const channels = more.channelCount ?? 2;
  const samples = Int16Array.from(
    { length: 64 * channels },
    (_, at) => ((Math.imul(sequence * channels + at + 1, 2_654_435_761) >>> 16) & 0xfff) - 2048,
  );
  return {
    kind: 'samples',
    streamId: 0,
    epoch: 0,
    sequence,
    deviceTimeUs: sequence * 1000,
    sampleRateHz: 1000,
    shaftSpeedRpm: undefined,
    channelCount: channels,
    samplesPerChannel: 64,
    scales: new Float32Array(channels).fill(0.001),
    samples,
    ...more,
  };
}

/** Sends so many samples of a stream, frame by frame. */
export async function sendNoise(
  client: MqttClient,
  stream: string,
  from: number,
  count: number,
  more: Partial<SampleFrame> = {},
): Promise<void> {
  for (let sequence = from; sequence < from + count; sequence += 64)
    await client.publishAsync(TOPICS.samples(stream), Buffer.from(encodeFrame(noiseFrame(sequence, more))), { qos: 1 });
}
