import { Refusal } from '../refusal.ts';
import { type BlockOptions, nextStretch, originOf, type Piece, timeBlocks } from './pieces.ts';
import type { RecordingEntry } from './recording-set.ts';
import { type Split, type SplitRule, splitRecordings } from './split.ts';

/** Share that validates, and as much again that tests. */
const HELD_SHARE = 0.15;

/**
 * Divides recordings of one class. As {@link splitRecordings}, but where no rule is asked for and there are fewer than three recordings, each is cut
 * by time: the last 15 % test, the 15 % before them validate, with gaps of one window between. A machine's health is often one long recording.
 *
 * @throws Refusal data/split, data/short
 */
export function splitHealthy(recordings: readonly RecordingEntry[], rule: SplitRule, options: BlockOptions = {}): Split {
  const labelled = recordings.filter(({ label }) => label !== null);
  const origins = new Set(labelled.map(originOf));
  if (rule.kind !== 'recordings' || origins.size >= 3) return splitRecordings(recordings, rule, options);
  const blocks = labelled.map((entry) => threeBlocks(entry, options, nextStretch(entry, labelled)));
  const short = labelled.find((_, index) => !blocks[index]);
  if (short) throw new Refusal('data/short', `${short.file} is too short to be cut into training, validation and test; record longer`);
  const part = (index: 0 | 1 | 2) => blocks.map((three) => three![index]);
  return {
    train: part(0),
    validation: part(1),
    test: part(2),
    description: 'test the last 15 % of each recording',
    validationDescription: 'validation the 15 % before, with gaps of one window',
  };
}

function threeBlocks(entry: RecordingEntry, options: BlockOptions, next?: RecordingEntry): [Piece, Piece, Piece] | undefined {
  const outer = timeBlocks(entry, HELD_SHARE, options, next);
  if (!outer) return undefined;
  const [early, test] = outer;
  const inner = timeBlocks({ ...entry, n_samples: early.range!.length }, HELD_SHARE / (1 - HELD_SHARE), options);
  if (!inner) return undefined;
  const [train, validation] = inner.map(({ range }) => ({ entry, range }));
  return [train, validation, test];
}
