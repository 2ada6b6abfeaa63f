import { Refusal } from '../refusal.ts';
import { type BlockOptions, nextStretch, originOf, type Piece, timeBlocks } from './pieces.ts';
import { type Condition, type RecordingEntry, satisfies } from './recording-set.ts';

export type { Piece } from './pieces.ts';

/** Share of what is there that becomes validation, and as much again test. */
const HELD_SHARE = 0.15;
/** Most folds in which settings are tried. */
const MOST_FOLDS = 4;

export interface Split {
  readonly train: readonly Piece[];
  readonly validation: readonly Piece[];
  readonly test: readonly Piece[];
  /** What was held out as test, for people. */
  readonly description: string;
  /** What validation is made of, for people. */
  readonly validationDescription: string;
}

/** A way to train and judge settings without the test. */
export interface Fold {
  readonly train: readonly Piece[];
  readonly validation: readonly Piece[];
  readonly description: string;
}

export type SplitRule =
  /** 70/15/15 of the recordings of each class, neighbours in file order together. */
  | { readonly kind: 'recordings' }
  /** The recordings that satisfy a condition are the test; time blocks of the others validate. */
  | { readonly kind: 'condition'; readonly condition: Condition }
  /** One of `of` blocks of neighbouring recordings of each class, counted from 1; the next one validates. */
  | { readonly kind: 'block'; readonly block: number; readonly of: number }
  /** 70/15/15 of the values of a field, in the order in which they appear. */
  | { readonly kind: 'group'; readonly key: string };

const labelsOf = (entries: readonly RecordingEntry[]) => [...new Set(entries.map(({ label }) => label!))];
const whole = (entries: readonly RecordingEntry[]): Piece[] => entries.map((entry) => ({ entry }));
const counted = (count: number, name: string) => `${count} ${name}${count === 1 ? '' : 's'}`;
const refuse = (message: string) => new Refusal('data/split', message);

/**
 * Divides recordings, never windows, so that no window of the test has a neighbour in training. Validation never comes out of the test. It is
 * made of recordings where the rule can hold some out and leave every class in training; otherwise of time blocks: the last 15 % of each recording
 * after a gap of one window. These are late by rule, so they tell of a machine that went on, and of the same machine, load and assembly as training:
 * that is why recipes are chosen by {@link validationFolds} and not by them where the rule holds out values of a field. A class whose recordings are too short for that lends its last recordings, where it has two.
 *
 * Recordings without a label are left out.
 *
 * @param options window and rate of the windows that will be cut: length of the gap
 * @throws Refusal data/split where a part is empty, a class is too small, or the test has a class that training never saw
 */
export function splitRecordings(recordings: readonly RecordingEntry[], rule: SplitRule, options: BlockOptions = {}): Split {
  const labelled = recordings.filter(({ label }) => label !== null);
  if (labelled.length < 2) {
    const what = labelled.length === 0 ? 'no recording has a label' : `${labelled[0].file} is the only recording with a label`;
    throw refuse(`${what}; a split needs three of each class, or two and --test KEY=VALUE: a part of one recording proves nothing`);
  }
  const { description, partOf, validates } = division(labelled, rule);
  const [train, validation, test] = (['train', 'validation', 'test'] as const).map((part) =>
    labelled.filter((_, index) => partOf[index] === part),
  );
  const remaining = labelled.filter((_, index) => partOf[index] !== 'test');
  refuseUnknown(remaining, test, description);
  const canHoldOut = validation.length > 0 && labelsOf(train).length === labelsOf(remaining).length;
  if (canHoldOut) {
    return { train: whole(train), validation: whole(validation), test: whole(test), description, validationDescription: validates };
  }
  return { ...blocksOf(remaining, options), test: whole(test), description };
}

type Part = 'train' | 'validation' | 'test';

interface Division {
  readonly description: string;
  /** Of each recording; no validation where time blocks are to make it. */
  readonly partOf: readonly Part[];
  readonly validates: string;
}

function division(labelled: readonly RecordingEntry[], rule: SplitRule): Division {
  if (rule.kind === 'condition') return byCondition(labelled, rule.condition);
  if (rule.kind === 'group') return byGroup(labelled, rule.key);
  if (rule.kind === 'block') return byBlock(labelled, rule);
  return byRecordings(labelled);
}

function byCondition(labelled: readonly RecordingEntry[], condition: Condition): Division {
  refuseUnknownField(labelled, condition.key);
  const partOf = labelled.map((entry) => (satisfies(entry, condition) ? 'test' : 'train'));
  return { description: `test ${condition.key}=${condition.values}`, partOf, validates: '' };
}

function byGroup(labelled: readonly RecordingEntry[], key: string): Division {
  refuseUnknownField(labelled, key);
  const values = valuesOf(labelled, key);
  if (values.length < 2) throw refuse(`every recording has ${key}=${values[0]}; --group needs a field with two values or more`);
  const [trainEnd, validationEnd] = values.length === 2 ? [1, 1] : thirds(values.length);
  const [validated, tested] = [values.slice(trainEnd, validationEnd), values.slice(validationEnd)];
  const partOf = labelled.map((entry) => partAt(values.indexOf(String(entry[key])), [trainEnd, validationEnd]));
  return { description: `test ${named(key, tested)}`, partOf, validates: `validation ${named(key, validated)}` };
}

/** `machine=7,8`, or how many values where that would be long. */
function named(key: string, values: readonly string[]): string {
  return values.length <= 4 ? `${key}=${values}` : `${key}=${values[0]} to ${values.at(-1)} (${values.length} values)`;
}

function byBlock(labelled: readonly RecordingEntry[], { block, of }: { block: number; of: number }): Division {
  const description = `test block ${block} of ${of} by file order`;
  const next = (block % of) + 1;
  const blocks = placesByClass(labelled).map(({ at, total }) => Math.floor((at * of) / total) + 1);
  const partOf = blocks.map((at): Part => (at === block ? 'test' : at === next ? 'validation' : 'train'));
  const tested = labelsOf(labelled.filter((_, index) => partOf[index] === 'test'));
  const missing = labelsOf(labelled).filter((label) => !tested.includes(label));
  if (missing.length > 0) {
    throw refuse(
      `class ${missing.join(', ')} has fewer than ${of} recordings, so none is in "${description}"; hold out by --test KEY=VALUE or --group KEY`,
    );
  }
  return { description, partOf, validates: `validation block ${next} of ${of}` };
}

function byRecordings(labelled: readonly RecordingEntry[]): Division {
  const places = placesByClass(labelled);
  const small = [...new Set(labelled.filter((_, index) => places[index].total < 3).map(({ label }) => label))];
  if (small.length > 0) {
    const which = small.length === 1 ? `class ${small[0]} has` : `classes ${small.join(', ')} have`;
    throw refuse(`${which} fewer than three recordings, too few for 70/15/15; hold out by --test KEY=VALUE or --group KEY`);
  }
  return {
    description: 'test the last 15 % of the recordings of each class',
    partOf: places.map(({ at, total }) => partAt(at, thirds(total))),
    validates: 'validation the 15 % of the recordings before the test',
  };
}

/** Where training and where validation ends among `count` things: 70 and 85 %, at least one in each of the three parts. */
function thirds(count: number): [number, number] {
  const trainEnd = Math.max(1, Math.min(count - 2, Math.round(count * (1 - 2 * HELD_SHARE))));
  return [trainEnd, Math.max(trainEnd + 1, Math.min(count - 1, Math.round(count * (1 - HELD_SHARE))))];
}

function partAt(at: number, [trainEnd, validationEnd]: readonly [number, number]): Part {
  if (at < trainEnd) return 'train';
  return at < validationEnd ? 'validation' : 'test';
}

/** For each recording, its place among those of its class, in file order; stretches of one recording share a place. */
function placesByClass(recordings: readonly RecordingEntry[]): { at: number; total: number }[] {
  const origins = new Map<string | null, Map<string, number>>();
  const places = recordings.map((entry) => {
    const own = origins.get(entry.label) ?? new Map<string, number>();
    origins.set(entry.label, own);
    const origin = originOf(entry);
    if (!own.has(origin)) own.set(origin, own.size);
    return { own, at: own.get(origin)! };
  });
  return places.map(({ own, at }) => ({ at, total: own.size }));
}

/** Values of a field in the order in which they appear; recordings without it have one value together. */
function valuesOf(recordings: readonly RecordingEntry[], key: string): string[] {
  return [...new Set(recordings.map((recording) => String(recording[key])))];
}

/** Validation as time blocks; whole recordings of classes that have none long enough, where they can spare one. */
function blocksOf(
  entries: readonly RecordingEntry[],
  options: BlockOptions,
): Pick<Split, 'train' | 'validation' | 'validationDescription'> {
  const pairs = new Map(entries.map((entry) => [entry, timeBlocks(entry, HELD_SHARE, options, nextStretch(entry, entries))]));
  const blockless = labelsOf(entries).filter((label) => !entries.some((entry) => entry.label === label && pairs.get(entry)));
  const lent = blockless.flatMap((label) => {
    const own = entries.filter((entry) => entry.label === label);
    const origins = [...new Set(own.map(originOf))];
    const late = origins.length < 2 ? [] : origins.slice(origins.length - Math.max(1, Math.round(origins.length * HELD_SHARE)));
    return own.filter((entry) => late.includes(originOf(entry)));
  });
  const blocks = [...pairs.values()].flatMap((pair) => (pair ? [pair[1]] : []));
  const validation = [...blocks, ...whole(lent)];
  if (validation.length === 0) {
    throw refuse(
      `the ${counted(entries.length, 'recording')} left to train on are too short to validate on a part of them and too few to spare one; record longer, or more`,
    );
  }
  const train = entries.filter((entry) => !lent.includes(entry)).map((entry) => pairs.get(entry)?.[0] ?? { entry });
  const said = [
    ...(blocks.length > 0 ? [`the last 15 % of ${counted(blocks.length, 'recording')} after a gap of one window`] : []),
    ...(lent.length > 0 ? [`${counted(lent.length, 'whole recording')} of classes with short ones`] : []),
  ];
  return { train, validation, validationDescription: `validation ${said.join(', ')}` };
}

function refuseUnknownField(recordings: readonly RecordingEntry[], key: string): void {
  if (!recordings.some((recording) => key in recording)) {
    throw refuse(`no recording has a field ${key}; data info lists the fields`);
  }
}

function refuseUnknown(train: readonly RecordingEntry[], test: readonly RecordingEntry[], description: string): void {
  if (train.length === 0 || test.length === 0) {
    throw refuse(
      `the split "${description}" leaves ${counted(train.length, 'recording')} to train and ${test.length} to test; choose another`,
    );
  }
  const known = labelsOf(train);
  const unseen = labelsOf(test).filter((label) => !known.includes(label));
  if (unseen.length > 0) throw refuse(`class ${unseen.join(', ')} is only in the test "${description}"; relabel it or choose another test`);
}

/**
 * Parts for choosing settings, as unlike each other as training and test are. Where the rule holds out values of a field and the rest has two
 * or more: each of them left out in turn, at most four, evenly chosen; time blocks are joined back to their recordings. Where every value has one
 * class only (recorded labels, or machines that each broke in one way), a fold leaves out a value of each class that can spare one: the first
 * of each, the second of each, and so on. Otherwise one fold, the split's own training and validation.
 *
 * In a fold, recordings of a class that the fold's training lacks are left out of validation; a fold of which nothing remains is dropped.
 */
export function validationFolds(split: Split, rule: SplitRule): Fold[] {
  const own = [{ train: split.train, validation: split.validation, description: split.validationDescription }];
  const key = rule.kind === 'condition' ? rule.condition.key : rule.kind === 'group' ? rule.key : undefined;
  if (key === undefined) return own;
  const entries = [...new Set([...split.train, ...split.validation].map(({ entry }) => entry))];
  const folds = heldOut(entries, key).flatMap((values): Fold[] => {
    const isOut = (entry: RecordingEntry) => values.includes(String(entry[key]));
    const train = entries.filter((entry) => !isOut(entry));
    const known = labelsOf(train);
    const validation = entries.filter((entry) => isOut(entry) && known.includes(entry.label!));
    return validation.length > 0
      ? [{ train: whole(train), validation: whole(validation), description: `validation ${named(key, values)}` }]
      : [];
  });
  if (folds.length === 0) return own;
  const count = Math.min(MOST_FOLDS, folds.length);
  return Array.from({ length: count }, (_, index) => folds[Math.floor(((index + 0.5) * folds.length) / count)]);
}

/** The values of a field that each fold leaves out; none where that would leave nothing to train or tell apart. */
function heldOut(entries: readonly RecordingEntry[], key: string): string[][] {
  const values = valuesOf(entries, key);
  if (values.length < 2) return [];
  const classesOf = (value: string) => labelsOf(entries.filter((entry) => String(entry[key]) === value));
  const classes = values.map(classesOf);
  if (classes.some((labels) => labels.length > 1) || labelsOf(entries).length < 2) return values.map((value) => [value]);
  const ofClass = new Map<string, string[]>();
  for (const [index, [label]] of classes.entries()) ofClass.set(label, [...(ofClass.get(label) ?? []), values[index]]);
  const spare = [...ofClass.values()].filter((own) => own.length > 1);
  const most = Math.max(0, ...spare.map((own) => own.length));
  return Array.from({ length: most }, (_, at) => spare.flatMap((own) => own[at] ?? [])).filter((some) => some.length > 1);
}
