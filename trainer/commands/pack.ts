import { fileURLToPath } from 'node:url';
import { Refusal } from '../refusal.ts';
import { packGateway } from '../release/pack.ts';
import { PACK_TARGET_NAMES, PACK_TARGETS, type PackTarget } from '../release/pack-targets.ts';
import { type Command, type ParsedArguments, textOption } from './command.ts';

const SHIPPED = fileURLToPath(new URL('../models/shipped/plant', import.meta.url));
const PROGRAMS = fileURLToPath(new URL('./', import.meta.url));

function required(args: ParsedArguments, name: string): string {
  const text = textOption(args, name);
  if (!text) throw new Refusal('usage/arguments', `--${name} is missing; see tremolo pack --help`);
  return text;
}

/** Which Node goes into the folder. */
function nodeProgram(args: ParsedArguments, { node }: PackTarget): string | undefined {
  const named = textOption(args, 'node');
  if (named || !args.values['with-node']) return named;
  if (node !== undefined && node !== `${process.platform}-${process.arch}`)
    throw new Refusal('pack/node', `this machine has no Node for ${node} to pack; name one with --node FILE`);
  return process.execPath;
}

export const pack: Command = {
  verb: 'pack',
  summary: 'make the folder that is copied to a gateway',
  help: `usage: tremolo pack --target TARGET --site S --gateway G --broker URL --out FOLDER [options]

Programs, bundle, native libraries of one platform, gateway.yaml, systemd unit and install script in one folder,
without node_modules. Copy it to the gateway and run install.sh there.

  --target TARGET    ${PACK_TARGET_NAMES.join(', ')}
                     (any, linux-armv7: the slower wasm engine; linux-*: glibc)
  --site S           names of the site and of the gateway, levels of its topics
  --gateway G
  --broker URL       mqtt://HOST:PORT or mqtts://HOST:PORT
  --out FOLDER       new or empty
  --bundle FOLDER    default: the bundle shipped with Tremolo
  --with-node        packs the Node that runs this command, where the target is this platform
  --node FILE        packs this program as Node: of the target's platform, 20.19 or later

example: tremolo pack --target linux-arm64 --site plant-1 --gateway hall-3 --broker mqtt://10.0.0.5:1883 --out hall-3`,
  options: {
    target: { type: 'string' },
    site: { type: 'string' },
    gateway: { type: 'string' },
    broker: { type: 'string' },
    out: { type: 'string' },
    bundle: { type: 'string' },
    'with-node': { type: 'boolean' },
    node: { type: 'string' },
  },
  positionals: 0,
  async run(args) {
    const named = required(args, 'target');
    const target = PACK_TARGET_NAMES.find((name) => name === named);
    if (!target) throw new Refusal('usage/choice', `--target is "${named}"; choose ${PACK_TARGET_NAMES.join(' or ')}`);
    const packed = await packGateway({
      target,
      site: required(args, 'site'),
      gateway: required(args, 'gateway'),
      broker: required(args, 'broker'),
      out: required(args, 'out'),
      bundle: textOption(args, 'bundle') ?? SHIPPED,
      node: nodeProgram(args, PACK_TARGETS[target]),
      programs: PROGRAMS,
    });
    process.stdout.write(
      `${packed.folder}: ${(packed.bytes / 1e6).toFixed(1)} MB, bundle ${packed.bundle.name}, engine ${packed.engine}\n`,
    );
    return { ...packed };
  },
};
