import { basename, resolve } from 'node:path';
import { openRecordingSet, parseCondition, type RecordingSet, select } from '../data/recording-set.ts';
import { parseRelabel, relabelSet } from '../data/relabel.ts';
import type { SplitRule } from '../data/split.ts';
import { Refusal } from '../refusal.ts';
import { type PipelineResult, type PipelineSettings, trainBundle } from '../train/pipeline.ts';
import { DEFAULT_SETTINGS } from '../train/train-network.ts';
import { type Command, listOption, numberOption, type ParsedArguments, textOption } from './command.ts';

export const SELECTION_OPTIONS = {
  where: { type: 'string', multiple: true },
  test: { type: 'string' },
  group: { type: 'string' },
  block: { type: 'string' },
  channels: { type: 'string' },
  rate: { type: 'string' },
  relabel: { type: 'string', multiple: true },
  'learning-rate': { type: 'string' },
} as const;

export const SELECTION_HELP = `  --where KEY=VALUE[,VALUE]   only recordings with that condition (repeatable)
  --channels A,B              only these channels
  --rate HZ                   resample every recording, band-limited
  --relabel PATTERN=CLASS     coarser classes, as in --relabel 'IR*=inner' (repeatable)
  --test KEY=VALUE[,VALUE]    test on recordings with that condition
  --group KEY                 test on the last tenth of the values of a field
  --block N                   test on block N of 10 neighbouring recordings of each class (default 10)`;

/** The rule that the options ask for. @throws Refusal usage/split where they ask for two */
export function splitRuleOf(args: ParsedArguments): SplitRule {
  const [test, group, block] = ['test', 'group', 'block'].map((name) => textOption(args, name));
  if ([test, group, block].filter(Boolean).length > 1) throw new Refusal('usage/split', '--test, --group and --block exclude each other');
  if (test) return { kind: 'condition', condition: parseCondition(test) };
  if (group) return { kind: 'group', key: group, share: 0.1 };
  return { kind: 'block', block: numberOption(args, 'block', 10, { min: 1, max: 10, whole: true }), of: 10 };
}

/** The recordings that the options choose, relabelled. */
export async function chosenSet(folder: string, args: ParsedArguments): Promise<RecordingSet> {
  const set = select(await openRecordingSet(folder), listOption(args, 'where').map(parseCondition));
  return relabelSet(set, listOption(args, 'relabel').map(parseRelabel));
}

/** Settings of the pipeline that the options ask for. */
export function pipelineSettings(args: ParsedArguments, name: string, defaults: { steps: number; learningRate: number }): PipelineSettings {
  return {
    name,
    split: splitRuleOf(args),
    channels: textOption(args, 'channels')?.split(','),
    rateHz: textOption(args, 'rate') === undefined ? undefined : numberOption(args, 'rate', 0, { min: 1e-3, max: 1e9 }),
    train: {
      ...DEFAULT_SETTINGS,
      steps: numberOption(args, 'steps', defaults.steps, { min: 1, max: 1e6, whole: true }),
      learningRate: numberOption(args, 'learning-rate', defaults.learningRate, { min: 1e-8, max: 1 }),
      seed: numberOption(args, 'seed', DEFAULT_SETTINGS.seed, { max: 2 ** 32 - 1, whole: true }),
    },
  };
}

/** What `--json` prints of a training. */
export function trainReport({ bundle, split, classes, params, seconds, test, baselines }: PipelineResult): Record<string, unknown> {
  const { core, adapt } = bundle.manifest.parts;
  const bytes = (files: Record<string, { bytes: number }> | undefined) =>
    Object.values(files ?? {}).reduce((sum, file) => sum + file.bytes, 0);
  const brief = ({ accuracy, balancedAccuracy, macroF1, windows }: PipelineResult['test'] | PipelineResult['baselines']['ridge']) => ({
    windows,
    accuracy,
    balancedAccuracy,
    macroF1,
  });
  return {
    classes,
    split,
    params,
    bytes: { core: bytes(core), adapt: bytes(adapt) },
    seconds,
    test: { ...brief(test), recordingAccuracy: test.recordingAccuracy },
    baselines: { ridge: brief(baselines.ridge) },
    digest: bundle.digest,
  };
}

export const train: Command = {
  verb: 'train',
  summary: 'train a bundle from a recording set',
  help: `usage: tremolo train SET --out BUNDLE [options]

Trains student and back-up, turns them into int8, and writes a bundle measured on recordings that training never saw.

  --out FOLDER                the bundle to write
${SELECTION_HELP}
  --steps N                   training steps (default ${DEFAULT_SETTINGS.steps})
  --learning-rate X           (default ${DEFAULT_SETTINGS.learningRate})
  --seed N                    (default 1)

example: tremolo simulate --out plant --machines 20 --seconds 10
         tremolo train plant --out bundle --group machine`,
  options: { ...SELECTION_OPTIONS, out: { type: 'string' }, steps: { type: 'string' }, seed: { type: 'string' } },
  positionals: 1,
  async run(args, signal) {
    const [folder] = args.positionals;
    const out = textOption(args, 'out');
    if (!folder || !out) throw new Refusal('usage/arguments', 'name a recording set and --out; see tremolo train --help');
    const set = await chosenSet(folder, args);
    const result = await trainBundle(set, resolve(out), pipelineSettings(args, basename(resolve(out)), DEFAULT_SETTINGS), signal);
    const { test, baselines, split } = result;
    const row = (name: string, { accuracy, balancedAccuracy, macroF1 }: typeof baselines.ridge) =>
      `  ${name.padEnd(24)}${accuracy.toFixed(3).padStart(9)}${balancedAccuracy.toFixed(3).padStart(10)}${macroF1.toFixed(3).padStart(10)}`;
    process.stdout.write(
      [
        `${split}: ${test.windows} windows`,
        `  ${''.padEnd(24)} accuracy  balanced  macro-F1`,
        row('int8 student', test),
        row('ridge on log spectrum', baselines.ridge),
        `bundle ${result.bundle.digest.slice(0, 12)} written to ${out}`,
        '',
      ].join('\n'),
    );
    if (test.balancedAccuracy < baselines.ridge.balancedAccuracy) {
      process.stderr.write('warning: the baseline is better than the bundle on this split; try more --steps or another --learning-rate\n');
    }
    return trainReport(result);
  },
};
