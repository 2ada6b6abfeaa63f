import { access, constants, mkdir, rm } from 'node:fs/promises';
import { pino } from 'pino';
import { readBundle } from '../../models/bundle/bundle.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { startGateway } from '../../runtime/gateway.ts';
import { ConfigurationRefusal, type GatewayConfiguration, isForeignTopic, readConfiguration } from '../../runtime/io/configuration.ts';
import { misfits } from '../../runtime/io/fit.ts';
import { createServiceNotifier } from '../../runtime/io/service-notifier.ts';
import { VERSION } from '../../runtime/version.ts';
import { Refusal } from '../refusal.ts';
import type { Command } from './command.ts';

/** What the gateway would do, in lines. */
function summaryLines(configuration: GatewayConfiguration, { manifest, digest }: Awaited<ReturnType<typeof readBundle>>): string[] {
  const { site, gateway, broker, serial, mqtt, foreign, engine, largestStreams, stateFolder, outbox, http } = configuration;
  const { recipe, classes } = manifest;
  const port = (line: { path?: string; usb?: string; serialNumber?: string; baudRate: number }) =>
    `${line.path ?? ['USB', line.usb, line.serialNumber].filter(Boolean).join(' ')} at ${line.baudRate} baud`;
  const protection = broker.cert ? 'TLS with a client certificate' : /^(mqtts|wss):/.test(broker.url) ? 'TLS' : 'in the clear';
  return [
    `gateway ${site}/${gateway}, up to ${largestStreams} streams, engine ${engine}`,
    `bundle ${manifest.name} ${digest.slice(0, 12)}: ${recipe.channels.join(', ')} at ${recipe.sampleRateHz} Hz, windows of ${recipe.window} each ${recipe.stride}; ${classes.length} classes: ${classes.join(', ')}`,
    `broker ${broker.url}, MQTT ${broker.protocolVersion === 5 ? '5' : '3.1.1'}, ${protection}${broker.username ? `, as ${broker.username}` : ''}, samples with QoS ${broker.qos}`,
    `  frames from ${gatewayTopics(site, gateway).allSamples}`,
    ...mqtt.map(({ topic, stream }) => `  frames from ${topic} as ${stream}`),
    ...foreign.filter(isForeignTopic).map(({ topic, stream, format }) => `  ${format.format} from ${topic} as ${stream}`),
    ...serial.map((line) => `port ${line.name}: frames from ${port(line)}`),
    ...foreign.flatMap((source) => (isForeignTopic(source) ? [] : [`port ${source.stream}: ${source.format.format} from ${port(source)}`])),
    `state in ${stateFolder}, outbox of at most ${(outbox.largestBytes / 2 ** 20).toFixed(1)} MiB`,
    http ? `metrics on http://${http.host}:${http.port}/metrics` : 'no metrics over HTTP',
  ];
}

/** @throws ConfigurationRefusal where the state folder cannot be written */
async function checkStateFolder(folder: string): Promise<void> {
  const made = await mkdir(folder, { recursive: true })
    .then(async (first) => {
      await access(folder, constants.W_OK);
      return first;
    })
    .catch((cause: NodeJS.ErrnoException) => {
      throw new ConfigurationRefusal(`stateFolder: ${folder} cannot be written (${cause.code}); name another`, { cause });
    });
  // A check leaves nothing behind.
  if (made) await rm(made, { recursive: true, force: true });
}

async function check(configuration: GatewayConfiguration): Promise<Record<string, unknown>> {
  const bundle = await readBundle(configuration.bundle);
  const unfit = misfits(configuration, bundle.manifest);
  if (unfit.length > 0) throw new ConfigurationRefusal(`foreign: ${unfit.join('; ')}`);
  await checkStateFolder(configuration.stateFolder);
  process.stdout.write(`${summaryLines(configuration, bundle).join('\n')}\n`);
  const { name, recipe, classes } = bundle.manifest;
  return { valid: true, configuration, bundle: { name, digest: bundle.digest, recipe, classes } };
}

export const run: Command = {
  verb: 'run',
  summary: 'run a gateway until it is stopped',
  help: `usage: tremolo run gateway.yaml [--check]

Reads frames from the broker and the serial ports that gateway.yaml names, decides every window with its bundle,
publishes decisions below tremolo/v1/SITE/GATEWAY/diagnosis/. Logs to stderr, one JSON object a line.

  --check   read the configuration and the bundle, print what the gateway would do, and end

example gateway.yaml:
  site: plant-1
  gateway: hall-3
  bundle: ./bundle
  broker: { url: mqtt://127.0.0.1:1883 }
  serial: [{ name: press, path: /dev/ttyUSB0, baudRate: 115200 }]
  foreign:
    - topic: hall/+/vibration
      stream: "{1}"
      format: { format: json, path: "$.values[*]", channels: 3, sampleRateHz: 1000, range: 160 }
  http: { port: 9464 }`,
  options: { check: { type: 'boolean' } },
  positionals: 1,
  async run(args, signal) {
    const [path] = args.positionals;
    if (!path) throw new Refusal('usage/arguments', 'no configuration given; run: tremolo run gateway.yaml');
    const configuration = await readConfiguration(path);
    if (args.values.check) return check(configuration);
    const log = pino({ base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
    const gateway = await startGateway(configuration, VERSION, new URL('./', import.meta.url), log);
    const notifier = createServiceNotifier(gateway.sickness, (error) => log.warn({ error: error.message }, 'systemd-notify'));
    notifier.ready();
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    notifier.stopping();
    const status = gateway.status();
    await gateway.stop();
    return { status };
  },
};
