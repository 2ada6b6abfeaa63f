import { describe, expect, it } from 'vitest';
import { commission } from '../../../trainer/data/commissioning.ts';
import { parseCondition, type RecordingEntry, satisfies } from '../../../trainer/data/recording-set.ts';

const entry = (machine: unknown, label: string | null, index: number): RecordingEntry => ({
  file: `${machine}-${label}-${index}`,
  label,
  n_samples: 1000,
  n_channels: 1,
  dtype: 'int16',
  sample_rate_hz: 1000,
  ...(machine !== undefined && { machine }),
});
const recordings = [7, 3].flatMap((machine) => [
  entry(machine, 'broken', 0),
  ...[0, 1, 2].map((index) => entry(machine, 'normal', index)),
  entry(machine, null, 0),
]);

describe('commissioning references', () => {
  it('are the first healthy recordings of each machine, and nothing else is lost', () => {
    const { references, rest, machineOf } = commission(recordings, { key: 'machine', shots: 2 });
    expect(references.map(({ file }) => file)).toEqual(['7-normal-0', '7-normal-1', '3-normal-0', '3-normal-1']);
    expect(rest).toEqual(recordings.filter((one) => !references.includes(one)));
    expect(recordings.map(machineOf)).toEqual([1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
  });

  it.each([
    ['too few healthy recordings', recordings, 4, /^machine=7 has 3 recordings labelled normal where its reference needs 4;/],
    ['a recording without the field', [entry(undefined, 'normal', 0)], 1, /^undefined-normal-0 has no field machine to say which/],
  ])('refuse %s in one line', (_, entries, shots, line) => {
    expect(() => commission(entries, { key: 'machine', shots })).toThrow(line);
  });
});

describe('a condition with a pattern', () => {
  it.each([
    ['label=IR014', ['IR014'], ['IR01', 'XIR014']],
    ['label=*014*', ['IR014', 'OR014@6', '014'], ['IR007']],
    ['label=normal,IR0?7', ['normal', 'IR007'], ['IR0007', 'normals']],
    ['label=a.c*', ['a.c', 'a.cd'], ['abc']],
  ])('%s holds of what it matches as a whole', (text, matching, others) => {
    const holds = (label: string) => satisfies(entry(1, label, 0), parseCondition(text));
    expect([matching.every(holds), others.some(holds)]).toEqual([true, false]);
  });
});
