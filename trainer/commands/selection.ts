import { REFERENCE_SHOTS, type ReferenceRule } from '../data/commissioning.ts';
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
  reference: { type: 'string' },
  'reference-shots': { type: 'string' },
} as const;

export const SELECTION_HELP = `  --where KEY=VALUE[,VALUE]   only recordings with that condition (repeatable); in a VALUE, * is any text: label=normal,*014*
  --channels A,B              only these channels
  --rate HZ                   resample every recording, band-limited
  --relabel PATTERN=CLASS     coarser classes, as in --relabel 'IR*=inner' (repeatable)
  --test KEY=VALUE[,VALUE]    test on recordings with that condition; recorded_label is the label before --relabel
  --group KEY                 70/15/15 of the values of a field: train on the first, validate on the next, test on the last
  --block N                   test on block N of 10 neighbouring recordings of each class, validate on the next
                              (none of these three: 70/15/15 of the recordings of each class, in file order)
  --reference KEY             the first healthy recordings (label normal) of each value of KEY are that machine's commissioning
                              reference and nothing else; networks may then decide on what differs from it
  --reference-shots N         so many recordings a reference (default ${REFERENCE_SHOTS})`;

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

/** Recordings of the same folder, beside the chosen ones, that should be found new. */
export async function novelSet(folder: string, args: ParsedArguments): Promise<RecordingSet | undefined> {
  const condition = textOption(args, 'novel');
  return condition === undefined ? undefined : select(await openRecordingSet(folder), [parseCondition(condition)]);
}

export function channelsOption(args: ParsedArguments): string[] | undefined {
  return textOption(args, 'channels')?.split(',');
}

export function rateOption(args: ParsedArguments): number | undefined {
  return textOption(args, 'rate') === undefined ? undefined : numberOption(args, 'rate', 0, { min: 1e-3, max: 1e9 });
}

/** Samples from window to window. */
export function strideOption(args: ParsedArguments): number | undefined {
  return textOption(args, 'stride') === undefined ? undefined : numberOption(args, 'stride', 0, { min: 1, max: 1e9, whole: true });
}

/** @throws Refusal usage/reference where shots are given for no reference */
export function referenceOption(args: ParsedArguments): ReferenceRule | undefined {
  const key = textOption(args, 'reference');
  if (key) return { key, shots: numberOption(args, 'reference-shots', REFERENCE_SHOTS, { min: 1, max: 1e6, whole: true }) };
  if (key === undefined && textOption(args, 'reference-shots') === undefined) return undefined;
  throw new Refusal('usage/reference', '--reference names no field; write --reference KEY, as in --reference machine');
}

/** Arguments with what a settings file says of the data where no option says it. */
export function withFileSelection(args: ParsedArguments, data: PipelineChoices['data']): ParsedArguments {
  const { where, channels, rate, relabel, test, group, block, stride, reference, referenceShots } = data;
  const fromFile: Record<string, string | string[] | undefined> = {
    where,
    relabel,
    channels: channels?.join(','),
    rate: rate?.toString(),
    stride: stride?.toString(),
    reference,
    'reference-shots': referenceShots?.toString(),
    // An option that splits replaces whatever split the file has.
    ...(SPLITS.every((name) => args.values[name] === undefined) && { test, group, block: block?.toString() }),
  };
  const told = Object.fromEntries(Object.entries(args.values).filter(([, value]) => value !== undefined));
  return { ...args, values: { ...fromFile, ...told } };
}
