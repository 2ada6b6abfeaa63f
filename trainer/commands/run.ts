import { pino } from 'pino';
import { startGateway } from '../../runtime/gateway.ts';
import { readConfiguration } from '../../runtime/io/configuration.ts';
import { VERSION } from '../../runtime/version.ts';
import { Refusal } from '../refusal.ts';
import { type Command, textOption } from './command.ts';

export const run: Command = {
  verb: 'run',
  summary: 'run a gateway until it is stopped',
  help: `usage: tremolo run gateway.yaml [--check]

Reads frames from the broker and the serial ports that gateway.yaml names, decides every window with its bundle,
publishes decisions below tremolo/v1/SITE/GATEWAY/diagnosis/. Logs to stderr, one JSON object a line.

  --check   only validate the configuration

example gateway.yaml:
  site: plant-1
  gateway: hall-3
  bundle: ./bundle
  broker: { url: mqtt://127.0.0.1:1883 }
  serial: [{ name: press, path: /dev/ttyUSB0, baudRate: 115200 }]`,
  options: { check: { type: 'boolean' } },
  positionals: 1,
  async run(args, signal) {
    const [path] = args.positionals;
    if (!path) throw new Refusal('usage/arguments', 'no configuration given; run: tremolo run gateway.yaml');
    const configuration = await readConfiguration(path);
    if (args.values.check || textOption(args, 'check')) return { valid: true, configuration };
    const log = pino({ base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
    const gateway = await startGateway(configuration, VERSION, new URL('./', import.meta.url), log);
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    const status = gateway.status();
    await gateway.stop();
    return { status };
  },
};
