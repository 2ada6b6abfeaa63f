import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { FULL_SCALE_G, planPlant, SAMPLE_RATE_HZ, simulateRecording } from '../../firmware-bridge/simulator/pure/index.ts';
import { writeSetFolder } from '../data/import/replace-folder.ts';
import { ProgressBar } from '../io/progress.ts';
import { Refusal } from '../refusal.ts';
import { type Command, numberOption, textOption } from './command.ts';

const CHANNELS = ['x', 'y', 'z'];

export const simulate: Command = {
  verb: 'simulate',
  summary: 'record a simulated plant as a recording set',
  help: `usage: tremolo simulate --out SET [options]

Every machine of a simulated plant in each of twelve conditions, three axes at 1 kHz, as a recording set.

  --out FOLDER     the recording set to write
  --machines N     machines, each an individual (default 20)
  --seconds S      length of a recording (default 10)
  --seed N         (default 1)
  --replace        write over a recording set that is there

example: tremolo simulate --out plant --machines 20 --seconds 10`,
  options: {
    out: { type: 'string' },
    machines: { type: 'string' },
    seconds: { type: 'string' },
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
    const plans = [...planPlant({ machines, seconds, seed })];
    const scale = FULL_SCALE_G / 32_767;
    const recordings: Record<string, unknown>[] = [];
    const bar = new ProgressBar('simulate');
    await writeSetFolder(folder, args.values.replace === true, async (fresh) => {
      for (const [index, plan] of plans.entries()) {
        signal.throwIfAborted();
        const { samples, meta } = simulateRecording(plan);
        const codes = Int16Array.from(samples, (value) => Math.max(-32_767, Math.min(32_767, Math.round(value / scale))));
        const file = `rec/${String(index).padStart(5, '0')}_${meta.condition}.i16`;
        const bytes = new Uint8Array(codes.buffer);
        await writeFile(join(fresh, file), bytes);
        const rms = CHANNELS.map((_, channel) => {
          let sum = 0;
          for (let at = channel; at < samples.length; at += CHANNELS.length) sum += samples[at] ** 2;
          return Number(Math.sqrt((CHANNELS.length * sum) / samples.length).toFixed(6));
        });
        recordings.push({
          file,
          label: meta.condition,
          n_samples: samples.length / CHANNELS.length,
          n_channels: CHANNELS.length,
          channels: CHANNELS,
          dtype: 'int16',
          scale: CHANNELS.map(() => scale),
          sample_rate_hz: SAMPLE_RATE_HZ,
          ...meta,
          rms,
          sha256: createHash('sha256').update(bytes).digest('hex'),
        });
        bar.update((index + 1) / plans.length);
      }
      const set = { name: basename(folder), title: `simulated plant, ${machines} machines, seed ${seed}`, unit: 'g', recordings };
      await writeFile(join(fresh, 'dataset.json'), JSON.stringify(set));
    });
    bar.done(`${plans.length} recordings of ${seconds} s written to ${out}`);
    return { recordings: plans.length, machines, seconds, seed };
  },
};
