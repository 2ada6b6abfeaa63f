import { describe, expect, it } from 'vitest';
import { parseCondition, type RecordingSet, select } from '../../../trainer/data/recording-set.ts';
import { globToRegExp, parseRelabel, relabelSet } from '../../../trainer/data/relabel.ts';

const set: RecordingSet = {
  name: 'bearings',
  folder: '/nowhere',
  recordings: ['normal', 'IR007', 'IR014', 'OR007@6', null].map((label, index) => ({
    file: `${index}`,
    label,
    n_samples: 1,
    n_channels: 1,
    dtype: 'float32' as const,
    sample_rate_hz: 1000,
  })),
};
const labelsBy = (...rules: string[]) => relabelSet(set, rules.map(parseRelabel)).recordings.map(({ label }) => label);

describe('relabelling', () => {
  it('makes coarser classes by pattern; the first rule that matches counts, the rest stay as they are', () => {
    expect(labelsBy('IR*=inner', '*@6=outer')).toEqual(['normal', 'inner', 'inner', 'outer', null]);
    expect(labelsBy('IR007=small', 'IR*=inner')).toEqual(['normal', 'small', 'inner', 'OR007@6', null]);
    expect(labelsBy('??0*=fault')).toEqual(['normal', 'fault', 'fault', 'fault', null]);
  });

  it('keeps the label as recorded as a condition, so that a split by it is possible', () => {
    const coarse = relabelSet(relabelSet(set, [parseRelabel('IR*=inner')]), [parseRelabel('inner=fault')]);
    expect(select(coarse, [parseCondition('recorded_label=IR014')]).recordings.map(({ label }) => label)).toEqual(['fault']);
    expect(set.recordings[1].label).toBe('IR007');
  });

  it('is nothing without rules', () => {
    expect(relabelSet(set, [])).toBe(set);
  });

  it('refuses a rule that matches nothing, and one that is none', () => {
    expect(() => labelsBy('ir*=inner')).toThrow(/no label of bearings matches "ir\*"; there are IR007, IR014, OR007@6, normal/);
    for (const text of ['', 'IR*', '=inner', 'IR*=']) expect(() => parseRelabel(text)).toThrow(/PATTERN=CLASS/);
  });

  it('takes everything but * and ? literally, over the whole text', () => {
    expect(globToRegExp('a.b(c)').test('a.b(c)')).toBe(true);
    expect(globToRegExp('a.b').test('axb')).toBe(false);
    expect(globToRegExp('IR').test('IR007')).toBe(false);
    expect(globToRegExp('m9/*').test('m9/deep/a.csv')).toBe(true);
  });
});
