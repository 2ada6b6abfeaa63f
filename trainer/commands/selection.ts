import { openRecordingSet, parseCondition, type RecordingSet, select } from '../data/recording-set.ts';
import { parseRelabel, relabelSet } from '../data/relabel.ts';
import type { SplitRule } from '../data/split.ts';
import { Refusal } from '../refusal.ts';
import type { PipelineChoices } from '../train/settings.ts';
import { listOption, numberOption, type ParsedArguments, textOption } from './command.ts';

/** Which recordings, and how they are split. */
export const SELECTION_OPTIONS = {
  where: { type: 'string', multiple: true },
  test: { type: 'string' },
  group: { type: 'string' },
  block: { type: 'string' },
  channels: { type: 'string' },
  rate: { type: 'string' },
  relabel: { type: 'string', multiple: true },
} as const;

export const SELECTION_HELP = `  --where KEY=VALUE[,VALUE]   only recordings with that condition (repeatable)
  --channels A,B              only these channels
  --rate HZ                   resample every recording, band-limited
  --relabel PATTERN=CLASS     coarser classes, as in --relabel 'IR*=inner' (repeatable)
  --test KEY=VALUE[,VALUE]    test on recordings with that condition
  --group KEY                 70/15/15 of the values of a field: train on the first, validate on the next, test on the last
  --block N                   test on block N of 10 neighbouring recordings of each class, validate on the next
                              (none of these three: 70/15/15 of the recordings of each class, in file order)`;

const SPLITS = ['test', 'group', 'block'] as const;

/** The rule that the options ask for. @throws Refusal usage/split where they ask for two */
export function splitRuleOf(args: ParsedArguments): SplitRule {
  const [test, group, block] = SPLITS.map((name) => textOption(args, name));
  const given = [test, group, block].filter((text) => text !== undefined);
  if (given.length > 1) throw new Refusal('usage/split', '--test, --group and --block exclude each other');
  if (given[0] === '') throw new Refusal('usage/split', 'a split option is empty; write --test KEY=VALUE, --group KEY or --block N');
  if (test) return { kind: 'condition', condition: parseCondition(test) };
  if (group) return { kind: 'group', key: group };
  if (block) return { kind: 'block', block: numberOption(args, 'block', 10, { min: 1, max: 10, whole: true }), of: 10 };
  return { kind: 'recordings' };
}

/** The recordings that the options choose, relabelled. */
export async function chosenSet(folder: string, args: ParsedArguments): Promise<RecordingSet> {
  const set = select(await openRecordingSet(folder), listOption(args, 'where').map(parseCondition));
  return relabelSet(set, listOption(args, 'relabel').map(parseRelabel));
}

export function channelsOption(args: ParsedArguments): string[] | undefined {
  return textOption(args, 'channels')?.split(',');
}

export function rateOption(args: ParsedArguments): number | undefined {
  return textOption(args, 'rate') === undefined ? undefined : numberOption(args, 'rate', 0, { min: 1e-3, max: 1e9 });
}

/** Arguments with what a settings file says of the data where no option says it. */
export function withFileSelection(args: ParsedArguments, data: PipelineChoices['data']): ParsedArguments {
  const { where, channels, rate, relabel, test, group, block } = data;
  const fromFile: Record<string, string | string[] | undefined> = {
    where,
    relabel,
    channels: channels?.join(','),
    rate: rate?.toString(),
    // An option that splits replaces whatever split the file has.
    ...(SPLITS.every((name) => args.values[name] === undefined) && { test, group, block: block?.toString() }),
  };
  const told = Object.fromEntries(Object.entries(args.values).filter(([, value]) => value !== undefined));
  return { ...args, values: { ...fromFile, ...told } };
}
