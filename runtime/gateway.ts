import type { Logger } from 'pino';
import type { SampleFrame } from '../firmware-bridge/codec/frame.ts';
import { createSampleFrame, decodeFrame, FrameReader } from '../firmware-bridge/codec/index.ts';
import { openSerial, type SerialLink } from '../firmware-bridge/serial/serial.ts';
import { readBundle } from '../models/bundle/bundle.ts';
import { BundleRefusal } from '../models/bundle/schema/refusal.ts';
import type { Diagnosis, Status } from './contracts/messages.ts';
import { gatewayTopics, streamOfTopic } from './contracts/topics.ts';
import { connectBroker } from './io/broker-client.ts';
import type { GatewayConfiguration } from './io/configuration.ts';
import { InferenceThread } from './io/inference-thread.ts';
import { LARGEST_BATCH, RESULT } from './io/protocol.ts';
import { StreamGateway, type WindowJob } from './stream/stream-gateway.ts';
import { StreamMemory } from './stream/stream-memory.ts';

/** Longest wait for a broker that may be gone, when the gateway stops. */
const GOODBYE_MS = 1000;
/** Between two status messages. */
const STATUS_MS = 1000;

export interface RunningGateway {
  status(): Status;
  stop(): Promise<void>;
}

/**
 * Composition root of the gateway: broker and ports in, decisions out. Resolves when the bundle is proved, the broker reached and the gateway
 * listens.
 *
 * @throws BundleRefusal where the bundle is refused
 */
export async function startGateway(
  configuration: GatewayConfiguration,
  version: string,
  programs: URL,
  log: Logger,
): Promise<RunningGateway> {
  const { manifest, digest } = await readBundle(configuration.bundle);
  const { recipe, classes } = manifest;
  const channels = recipe.channels.length;
  const memory = new StreamMemory({ streams: configuration.largestStreams, window: recipe.window, channels });
  const streams = new StreamGateway(
    { window: recipe.window, stride: recipe.stride, channels, sampleRateHz: recipe.sampleRateHz, rateTolerance: 0.01 },
    memory,
  );
  const framesRefused: Record<string, number> = {};
  const inference = await InferenceThread.start(
    { bundleFolder: configuration.bundle, classes: classes.length, memory, engine: configuration.engine, programs },
    (error) => {
      // Without its model the gateway is of no use; the service manager starts it again.
      log.fatal({ error: error.message }, 'the inference thread ended');
      process.exit(1);
    },
  );
  if (inference.proof.digest !== digest) {
    await inference.stop();
    throw new BundleRefusal('bundle/manifest', `${configuration.bundle} was replaced while it was read; start again`);
  }
  const topics = gatewayTopics(configuration.site, configuration.gateway);
  const offline: Status = { state: 'offline', gateway: configuration.gateway, version };
  const client = connectBroker(configuration.broker.url, (error) => log.warn({ error: error.message }, 'broker'), {
    clientId: `tremolo-${configuration.site}-${configuration.gateway}`,
    will: { topic: topics.status, payload: Buffer.from(JSON.stringify(offline)), qos: 1, retain: true },
  });

  const status = (): Status => ({
    state: 'online',
    gateway: configuration.gateway,
    version,
    bundle: { name: manifest.name, digest: inference.proof.digest },
    engine: inference.proof.engine,
    streams: streams.streamCount,
    ledger: streams.ledger(),
    framesRefused: { ...framesRefused, ...streams.framesRefused, ...serialDamage(readers) },
  });

  const publish = (job: WindowJob, row: number) => {
    const { probabilities } = inference.results;
    const own = Array.from(probabilities.subarray(row * classes.length, (row + 1) * classes.length));
    const best = own.indexOf(Math.max(...own));
    const diagnosis: Diagnosis = {
      stream: job.name,
      epoch: job.epoch,
      endSequence: job.endSequence,
      endDeviceUs: job.endDeviceUs,
      decision: classes[best],
      confidence: own[best],
      probabilities: own,
      latencyMs: performance.now() - job.arrivedMs,
      bundle: inference.proof.digest.slice(0, 12),
      adapter: job.adapter,
    };
    client.publish(topics.diagnosis(job.name), JSON.stringify(diagnosis), { qos: 1, retain: true });
  };

  const pump = () => {
    if (inference.busy) return;
    const jobs = streams.take(LARGEST_BATCH);
    if (jobs.length === 0) return;
    inference.run(jobs, ({ failure }) => {
      if (failure) log.error({ failure, windows: jobs.length }, 'the engine failed');
      jobs.forEach((job, row) => {
        const state = inference.results.states[row];
        const outcome = failure ? 'failed' : state === RESULT.decided ? 'decided' : state === RESULT.overrun ? 'overrun' : 'notFinite';
        if (outcome === 'decided') publish(job, row);
        streams.settle(outcome);
      });
      pump();
    });
  };

  const accept = (name: string, frame: SampleFrame) => {
    streams.accept(name, frame, performance.now());
    pump();
  };

  // Frames that arrive by MQTT are decoded into one reused frame: nothing is allocated a sample.
  const reused = createSampleFrame();
  client.on('message', (topic, payload) => {
    const frame = decodeFrame(payload, reused);
    if (frame.kind === 'samples') accept(streamOfTopic(topic), frame);
    else if (frame.kind === 'refused') framesRefused[frame.code] = (framesRefused[frame.code] ?? 0) + 1;
  });
  // A broker may come later than the gateway, and go away: each connection is told anew what to send.
  client.on('connect', () => {
    client.subscribe(topics.allSamples, { qos: 0 }, (error) =>
      log.info({ broker: configuration.broker.url, error: error?.message }, 'listening'),
    );
  });

  const readers: FrameReader[] = [];
  const links: SerialLink[] = configuration.serial.map(({ name, path, baudRate }) => {
    const reader = new FrameReader((frame) => {
      if (frame.kind === 'samples') accept(`${name}-${frame.streamId}`, frame);
    });
    readers.push(reader);
    return openSerial(
      { path, baudRate },
      (bytes) => reader.push(bytes),
      (state, detail) => {
        if (state === 'open') reader.reset();
        log.info({ port: name, state, error: detail.error?.message }, 'serial');
      },
    );
  });

  // A status that is late is wrong: none is kept for a broker that is away.
  const sendStatus = () => client.connected && client.publish(topics.status, JSON.stringify(status()), { qos: 1, retain: true });
  sendStatus();
  const timer = setInterval(sendStatus, STATUS_MS);
  const { name, version: engineVersion } = inference.proof.engine;
  log.info({ bundle: manifest.name, digest: inference.proof.digest.slice(0, 12), engine: `${name} ${engineVersion}` }, 'deciding');

  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= (async () => {
      clearInterval(timer);
      await Promise.all(links.map((link) => link.close()));
      const farewell: Status = { ...status(), state: 'offline' };
      if (client.connected)
        await within(GOODBYE_MS, client.publishAsync(topics.status, JSON.stringify(farewell), { qos: 1, retain: true }));
      await within(GOODBYE_MS, client.endAsync(true));
      await inference.stop();
    })();
    return stopping;
  };
  return { status, stop };
}

/** Waits for work, but no longer than a limit. */
async function within(limitMs: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, limitMs);
  });
  await Promise.race([work.then(() => {}), limit]).finally(() => clearTimeout(timer));
}

/** What noise on the serial lines cost, by cause, over all ports. */
function serialDamage(readers: readonly FrameReader[]): Record<string, number> {
  const causes = ['cobsErrors', 'crcErrors', 'tooShort', 'tooLong', 'badVersion', 'badType', 'badLength', 'badField'] as const;
  const sum = (cause: (typeof causes)[number]) => readers.reduce((total, { health }) => total + health[cause], 0);
  return Object.fromEntries(causes.filter((cause) => sum(cause) > 0).map((cause) => [`serial.${cause}`, sum(cause)]));
}
