import { describe, expect, it } from 'vitest';
import type { RecordingEntry } from '../../../trainer/data/recording-set.ts';
import { changesOf, conditionChange, costliest } from '../../../trainer/demo/loop/changes.ts';

const entry = (label: string | null, load: number, more: Record<string, unknown> = {}): RecordingEntry => ({
  file: `${label}-${load}`,
  label,
  n_samples: 8000,
  n_channels: 2,
  channels: ['DE', 'FE'],
  dtype: 'float32',
  sample_rate_hz: 1000,
  load,
  // Parts the recordings as the load does.
  rpm: 1800 - 10 * load,
  ...more,
});
const setOf = (...recordings: RecordingEntry[]) => ({ name: 'set', folder: '/nowhere', recordings });
const PLANT = setOf(entry('a', 0), entry('b', 0), entry('c', 0), entry('a', 1), entry('b', 1), entry('a', 2), entry('b', 2), entry('c', 2));
const names = (entries: readonly RecordingEntry[]) => entries.map(({ file }) => file);

describe('what can change in a recording set', () => {
  it('is each condition from each value to each other, once where two fields part the recordings alike', () => {
    const texts = changesOf(PLANT, {}).map(({ text }) => text);
    expect(texts).toHaveLength(6);
    expect(texts).toContain('load goes from 2 to 0');
  });

  it('is of classes alone that were known before', () => {
    const change = conditionChange(PLANT, 'load', 1, 0)!;
    expect(names(change.train)).toEqual(['a-1', 'b-1']);
    expect(names(change.after)).toEqual(['a-0', 'b-0']);
    expect(conditionChange(setOf(entry('a', 0), entry('b', 0), entry('c', 1), entry('a', 1)), 'load', 0, 1)).toBeUndefined();
  });

  it('is the sensor too, where one of several channels was chosen: on a machine that no training saw', () => {
    const change = changesOf(PLANT, { channels: ['DE'] }).at(-1)!;
    expect(change).toMatchObject({ channelsAfter: ['FE'], tested: { field: 'load', value: 0 } });
    expect(names(change.train)).toEqual(['a-1', 'b-1', 'a-2', 'b-2', 'c-2']);
    expect(names(change.before)).toEqual(['a-0', 'b-0', 'c-0']);
    expect(changesOf(PLANT, { channels: ['DE', 'FE'] }).some(({ channelsAfter }) => channelsAfter)).toBe(false);
  });

  it.each([
    ['recordings are too short to be played', setOf(...PLANT.recordings.map((one) => ({ ...one, n_samples: 2000 })))],
    ['no field has few numbers', setOf(...PLANT.recordings.map((one) => ({ ...one, load: 'high', rpm: undefined })))],
    [
      'only one has the field',
      setOf(...PLANT.recordings.map((one, index) => (index === 0 ? one : { ...one, load: undefined, rpm: undefined }))),
    ],
    ['all are of one value', setOf(...PLANT.recordings.map((one) => ({ ...one, load: 1, rpm: 1 })))],
  ])('is nothing where %s', (_, set) => {
    expect(changesOf(set, { channels: ['DE'] })).toEqual([]);
  });

  it('is shown by what costs most', () => {
    const [one, other] = changesOf(PLANT, {});
    const measured = [
      { change: one, before: 1, after: 0.9 },
      { change: other, before: 0.9, after: 0.7 },
    ];
    expect(costliest(measured).change).toBe(other);
  });
});
