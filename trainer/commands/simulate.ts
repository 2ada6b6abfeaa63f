import { resolve } from 'node:path';
import { writeSimulatedSet } from '../data/simulated-set.ts';
import { ProgressBar } from '../io/progress.ts';
import { Refusal } from '../refusal.ts';
import { type Command, numberOption, textOption } from './command.ts';

export const simulate: Command = {
  verb: 'simulate',
  summary: 'record a simulated plant as a recording set',
  help: `usage: tremolo simulate --out SET [options]

Every machine of a simulated plant in each of twelve conditions at three loads, three axes at 1 kHz, as a recording set.

  --out FOLDER     the recording set to write
  --machines N     machines, each an individual (default 20)
  --seconds S      length of a recording (default 10)
  --healthy        one recording of each machine, healthy, as its load and speed change: for --drift-set of tremolo train
  --seed N         (default 1)
  --replace        write over a recording set that is there

example: tremolo simulate --out plant --machines 20 --seconds 10`,
  options: {
    out: { type: 'string' },
    machines: { type: 'string' },
    seconds: { type: 'string' },
    healthy: { type: 'boolean' },
    seed: { type: 'string' },
    replace: { type: 'boolean' },
  },
  positionals: 0,
  async run(args, signal) {
    const out = textOption(args, 'out');
    if (!out) throw new Refusal('usage/arguments', 'name the folder to write with --out; see tremolo simulate --help');
    const machines = numberOption(args, 'machines', 20, { min: 1, max: 10_000, whole: true });
    const seconds = numberOption(args, 'seconds', 10, { min: 1, max: 3600 });
    const seed = numberOption(args, 'seed', 1, { max: 2 ** 32 - 1, whole: true });
    const folder = resolve(out);
    const bar = new ProgressBar('simulate');
    const recordings = await writeSimulatedSet(
      folder,
      { machines, seconds, seed, healthy: args.values.healthy === true },
      { replace: args.values.replace === true, onProgress: (share) => bar.update(share) },
      signal,
    );
    bar.done(`${recordings} recordings of ${seconds} s written to ${out}`);
    return { recordings, machines, seconds, seed };
  },
};
