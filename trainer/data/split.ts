import { Refusal } from '../refusal.ts';
import { type Condition, type RecordingEntry, satisfies } from './recording-set.ts';

export interface Split {
  readonly train: readonly RecordingEntry[];
  readonly test: readonly RecordingEntry[];
  /** What was held out, for people. */
  readonly description: string;
}

export type SplitRule =
  /** The recordings that satisfy a condition are the test. */
  | { readonly kind: 'condition'; readonly condition: Condition }
  /** One of `of` blocks of neighbouring recordings of each class, counted from 1: for sets whose file order is all that is known. */
  | { readonly kind: 'block'; readonly block: number; readonly of: number }
  /** About a share of the values of a field, the last ones. */
  | { readonly kind: 'group'; readonly key: string; readonly share: number };

/**
 * Divides recordings, never windows, so that no window of the test has a neighbour in training.
 *
 * @throws Refusal data/split where a side is empty or the test has a class that training never saw
 */
export function splitRecordings(recordings: readonly RecordingEntry[], rule: SplitRule): Split {
  const labelled = recordings.filter(({ label }) => label !== null);
  const inTest = testMembership(labelled, rule);
  const train = labelled.filter((_, index) => !inTest[index]);
  const test = labelled.filter((_, index) => inTest[index]);
  const description = describe(rule);
  if (rule.kind === 'block') {
    const tested = new Set(test.map(({ label }) => label));
    const missing = [...new Set(labelled.map(({ label }) => label))].filter((label) => !tested.has(label));
    if (missing.length > 0) {
      throw new Refusal(
        'data/split',
        `class ${missing.join(', ')} has fewer than ${rule.of} recordings, so none is in "${description}"; hold out by --test KEY=VALUE or --group KEY`,
      );
    }
  }
  if (train.length === 0 || test.length === 0) {
    throw new Refusal(
      'data/split',
      `the split "${description}" leaves ${train.length} recordings to train and ${test.length} to test; choose another`,
    );
  }
  const known = new Set(train.map(({ label }) => label));
  const unseen = [...new Set(test.map(({ label }) => label))].filter((label) => !known.has(label));
  if (unseen.length > 0) {
    throw new Refusal('data/split', `class ${unseen.join(', ')} is only in the test "${description}"; relabel it or choose another test`);
  }
  return { train, test, description };
}

function testMembership(recordings: readonly RecordingEntry[], rule: SplitRule): boolean[] {
  if (rule.kind === 'condition') return recordings.map((recording) => satisfies(recording, rule.condition));
  if (rule.kind === 'group') {
    if (!recordings.some((recording) => rule.key in recording)) throw new Refusal('data/split', `no recording has a field ${rule.key}`);
    const values = [...new Set(recordings.map((recording) => String(recording[rule.key])))];
    const held = new Set(values.slice(Math.min(values.length - 1, Math.ceil(values.length * (1 - rule.share)))));
    return recordings.map((recording) => held.has(String(recording[rule.key])));
  }
  const seen = new Map<string | null, number>();
  const total = new Map<string | null, number>();
  for (const { label } of recordings) total.set(label, (total.get(label) ?? 0) + 1);
  return recordings.map(({ label }) => {
    const at = seen.get(label) ?? 0;
    seen.set(label, at + 1);
    return Math.floor((at * rule.of) / total.get(label)!) === rule.block - 1;
  });
}

function describe(rule: SplitRule): string {
  if (rule.kind === 'condition') return `test ${rule.condition.key}=${rule.condition.values}`;
  if (rule.kind === 'group') return `test the last ${Math.round(100 * rule.share)} % of ${rule.key}`;
  return `test block ${rule.block} of ${rule.of} by file order`;
}
