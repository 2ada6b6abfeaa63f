import { resolve } from 'node:path';
import * as z from 'zod';
import { check, optionMistakes } from '../../models/checks/mistakes.ts';
import type { BrokerConfiguration } from '../../runtime/io/configuration.ts';
import { fileSetting } from '../../runtime/io/secret-file.ts';
import { Repository } from '../fleet/repository.ts';
import { Refusal } from '../refusal.ts';
import { parseDuration } from '../train/settings.ts';
import { numberOption, type Options, type ParsedArguments, textOption } from './command.ts';

export const FLEET_OPTIONS = {
  repository: { type: 'string' },
  broker: { type: 'string' },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  username: { type: 'string' },
  'password-file': { type: 'string' },
  rate: { type: 'string' },
} as const satisfies Options;

export const FLEET_HELP = `  --repository DIR        folder made by tremolo keys init (default: ./fleet)
  --broker URL            mqtt://HOST:PORT, mqtts, ws or wss (default: mqtt://127.0.0.1:1883)
  --ca FILE  --cert FILE  --key FILE        certificates of TLS
  --username NAME  --password-file FILE     keys and passwords that others can read are refused
  --rate BYTES            chunks together take at most so much a second (default: 4000000)`;

export function openRepository(args: ParsedArguments): Promise<Repository> {
  return Repository.open(resolve(textOption(args, 'repository') ?? 'fleet'));
}

const brokerSchema = z.strictObject({
  url: z.string().regex(/^(mqtts?|wss?):\/\/[^/]/, 'write mqtt://HOST:1883'),
  protocolVersion: z.literal(4),
  qos: z.literal(1),
  ca: fileSetting('.').optional(),
  cert: fileSetting('.').optional(),
  key: fileSetting('.', true).optional(),
  username: z.string().min(1).optional(),
  passwordFile: fileSetting('.', true).optional(),
});

/** @throws Refusal usage/broker with every mistake */
export function brokerOption(args: ParsedArguments): BrokerConfiguration {
  const broker = check(brokerSchema, {
    url: textOption(args, 'broker') ?? 'mqtt://127.0.0.1:1883',
    protocolVersion: 4,
    qos: 1,
    ca: textOption(args, 'ca'),
    cert: textOption(args, 'cert'),
    key: textOption(args, 'key'),
    username: textOption(args, 'username'),
    passwordFile: textOption(args, 'password-file'),
  });
  if ('mistakes' in broker) throw new Refusal('usage/broker', optionMistakes(broker.mistakes));
  const { cert, key, username, passwordFile } = broker.data;
  if ((cert === undefined) !== (key === undefined)) throw new Refusal('usage/broker', '--cert and --key go together');
  if (passwordFile !== undefined && username === undefined) throw new Refusal('usage/broker', '--password-file needs --username');
  return broker.data;
}

export function rateOption(args: ParsedArguments): number {
  return numberOption(args, 'rate', 4_000_000, { min: 1000, whole: true });
}

/** A duration in milliseconds. @throws Refusal usage/duration */
export function durationOption(args: ParsedArguments, name: string, fallback: string): number {
  const text = textOption(args, name) ?? fallback;
  const seconds = parseDuration(text);
  if (seconds === undefined) throw new Refusal('usage/duration', `--${name} is "${text}"; write 90s, 10m or 1h`);
  return 1000 * seconds;
}
