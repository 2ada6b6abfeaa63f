import { resolve } from 'node:path';
import { isTopicName } from '../../runtime/contracts/topics.ts';
import { readConfiguration } from '../../runtime/io/configuration.ts';
import type { MessageSourceSettings } from '../../runtime/io/message-sources.ts';
import { ProgressBar } from '../io/progress.ts';
import { recordStreams } from '../record/record-streams.ts';
import { Refusal } from '../refusal.ts';
import { type Command, numberOption, type ParsedArguments, textOption } from './command.ts';

const DIRECT = ['broker', 'site', 'gateway'] as const;

async function settingsOf(args: ParsedArguments): Promise<MessageSourceSettings> {
  const [path] = args.positionals;
  const given = DIRECT.filter((name) => textOption(args, name) !== undefined);
  if (path) {
    if (given.length > 0) throw new Refusal('usage/arguments', `${path} already says what --${given[0]} would`);
    return readConfiguration(path);
  }
  const [url, site, gateway] = DIRECT.map((name) => textOption(args, name));
  if (!url || !site || !gateway) throw new Refusal('usage/arguments', 'name a gateway.yaml, or --broker, --site and --gateway');
  if (!/^(mqtts?|wss?):\/\/[^/]/.test(url)) throw new Refusal('usage/broker', `--broker is "${url}"; write mqtt://HOST:1883`);
  for (const name of [site, gateway])
    if (!isTopicName(name)) throw new Refusal('usage/name', `"${name}" is no name of a site or gateway: letters, digits, ".", "_" or "-"`);
  return { site, gateway, broker: { url, protocolVersion: 4, qos: 0 }, mqtt: [], foreign: [], largestStreams: 10_000 };
}

export const record: Command = {
  verb: 'record',
  summary: 'turn live streams into a recording set',
  help: `usage: tremolo record gateway.yaml --out SET --seconds N [options]
       tremolo record --broker URL --site SITE --gateway GATEWAY --out SET --seconds N [options]

Listens on the broker to all that a gateway's sensors send and writes it as a recording set: the codes as they came. A
recording ends where samples are missing, where the device restarts, and where scale, rate or channels change. With a
gateway.yaml, its other topics, its foreign sources over MQTT and its certificates are used too. Serial ports are the
gateway's: what comes there does not pass the broker. Ctrl-C keeps what was recorded until then.

  --out FOLDER      the recording set to write
  --seconds N       how long to listen
  --label CLASS     condition of the machines; without it the recordings have none
  --replace         write over a recording set that is there

example: tremolo record --broker mqtt://127.0.0.1:1883 --site plant-1 --gateway hall-3 --out healthy --seconds 60 --label normal`,
  options: {
    broker: { type: 'string' },
    site: { type: 'string' },
    gateway: { type: 'string' },
    out: { type: 'string' },
    seconds: { type: 'string' },
    label: { type: 'string' },
    replace: { type: 'boolean' },
  },
  positionals: 1,
  async run(args, signal) {
    const out = textOption(args, 'out');
    if (!out) throw new Refusal('usage/arguments', 'name the folder to write with --out; see tremolo record --help');
    if (textOption(args, 'seconds') === undefined) throw new Refusal('usage/arguments', 'say how long with --seconds');
    const seconds = numberOption(args, 'seconds', 0, { min: 0.1, max: 31 * 86_400 });
    const bar = new ProgressBar('record');
    const made = await recordStreams(
      {
        settings: await settingsOf(args),
        out: resolve(out),
        replace: args.values.replace === true,
        seconds,
        label: textOption(args, 'label') ?? null,
      },
      (share, note) => bar.update(share, note),
      signal,
    );
    bar.done(`${made.recordings} recordings of ${made.streams} streams written to ${out}`);
    process.stdout.write(
      `${made.samples} samples a channel in ${made.recordings} recordings of ${made.streams} streams, ${made.lost} lost on the way\n`,
    );
    return { ...made };
  },
};
