import { disturbedLine } from '../harness/disturbance.ts';
import { type BenchVerb, bundleFolder, numberIn, parseVerb, print } from '../verb.ts';
import { measureFleetPush } from './fleet.ts';

export const pushVerb: BenchVerb = {
  name: 'push',
  summary: 'one adapter to many gateways on one broker',
  help: `usage: tremolo bench push [options]

Pushes an adapter with tremolo push to simulated gateways, at most 20 to a process, on one broker on this machine: mosquitto where it is installed,
else the embedded one. Each gateway has its own connection, state machine, store on disk, verification of signatures, and thread that proves the known
answers with the real engine; it decides no windows, and there is no shadow. Seconds run from the command's start to its end.

  --gateways N     (default 100)
  --bundle FOLDER  default: the bundle shipped with Tremolo
  --json           one JSON object as the last line

example: tremolo bench push --gateways 5
`,
  async run(argv, context) {
    const { programs, signal } = context;
    const text = { type: 'string' } as const;
    const { values } = parseVerb('push', argv, { gateways: text, bundle: text });
    const result = await measureFleetPush({
      gateways: numberIn('gateways', values.gateways ?? '100', 1, 1000, true),
      bundle: await bundleFolder(context, values.bundle),
      programs,
      signal,
      progress: (line) => process.stderr.write(`push: ${line}\n`),
    });
    const { gateways, confirmed, seconds, chunksPublished, chunksDistinct, bytesOnWire, requests } = result;
    print(
      `${disturbedLine(result.disturbance)}${confirmed} of ${gateways} gateways confirmed in ${seconds} s; ${chunksPublished} chunks sent, ${chunksDistinct} different ones, ${bytesOnWire} bytes, for ${requests} requests\n`,
    );
    return result;
  },
};
