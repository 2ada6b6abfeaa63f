import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextStretch, type Piece, pieceLength, readPieces, timeBlocks } from '../../../trainer/data/pieces.ts';
import { openRecordingSet, parseCondition, type RecordingEntry, select } from '../../../trainer/data/recording-set.ts';
import { parseRelabel, relabelSet } from '../../../trainer/data/relabel.ts';
import { type Fold, type Split, type SplitRule, splitRecordings, validationFolds } from '../../../trainer/data/split.ts';
import { Refusal } from '../../../trainer/refusal.ts';
import { samplesOf } from '../../support/recordings.ts';
import { folderWith } from './files.ts';

const WINDOW = 512;

const entry = (label: string | null, index: number, more: Record<string, unknown> = {}): RecordingEntry => ({
  file: `${label}${index}`,
  label,
  n_samples: 10_000,
  n_channels: 1,
  dtype: 'int16',
  sample_rate_hz: 1000,
  ...more,
});
/** So many recordings of each class, by turns at the loads. */
const recordings = (counts: Readonly<Record<string, number>>, loads = 4, more: Record<string, unknown> = {}) =>
  Object.entries(counts).flatMap(([label, count]) =>
    Array.from({ length: count }, (_, index) => entry(label, index, { load: index % loads, ...more })),
  );
const filesOf = (pieces: readonly Piece[]) => pieces.map(({ entry: { file } }) => file);
const whole = (pieces: readonly Piece[]) => pieces.every(({ range }) => range === undefined);
const condition = (text: string): SplitRule => ({ kind: 'condition', condition: parseCondition(text) });

/** What must hold of every split or fold: no sample on two sides, a window between blocks of one recording, nothing out of bounds. */
function expectApart(sides: readonly (readonly Piece[])[], window = WINDOW): void {
  const placed = sides.flatMap((pieces, side) => pieces.map((piece) => ({ side, piece })));
  for (const [index, one] of placed.entries()) {
    const { start, length } = one.piece.range ?? { start: 0, length: one.piece.entry.n_samples };
    expect(start >= 0 && length > 0 && start + length <= one.piece.entry.n_samples, one.piece.entry.file).toBe(true);
    for (const other of placed.slice(index + 1)) {
      if (other.piece.entry.file !== one.piece.entry.file) continue;
      expect(one.side, `${one.piece.entry.file} twice on a side`).not.toBe(other.side);
      const [early, late] = [one.piece.range!, other.piece.range!].sort((a, b) => a.start - b.start);
      expect(late.start - early.start - early.length, `gap in ${one.piece.entry.file}`).toBeGreaterThanOrEqual(window);
    }
  }
}

const labelsOf = (pieces: readonly Piece[]) => new Set(pieces.map((piece) => piece.entry.label));

describe('a split', () => {
  it('by recordings takes 70, 15 and 15 % of each class, neighbours together', () => {
    const split = splitRecordings(recordings({ a: 20, b: 3 }), { kind: 'recordings' });
    expect(filesOf(split.train)).toEqual([...Array.from({ length: 14 }, (_, at) => `a${at}`), 'b0']);
    expect(filesOf(split.validation)).toEqual(['a14', 'a15', 'a16', 'b1']);
    expect(filesOf(split.test)).toEqual(['a17', 'a18', 'a19', 'b2']);
    expect(split.description).toBe('test the last 15 % of the recordings of each class');
  });

  it('by condition validates on the last 15 % of each remaining recording, a window after what it trains on', () => {
    const split = splitRecordings(recordings({ a: 4, b: 4 }), condition('load=3'));
    expect(filesOf(split.test)).toEqual(['a3', 'b3']);
    expect(split.train[0].range).toEqual({ start: 0, length: 8500 - WINDOW });
    expect(split.validation[0].range).toEqual({ start: 8500, length: 1500 });
    expect(filesOf(split.train)).toEqual(filesOf(split.validation));
    expect(split.validationDescription).toBe('validation the last 15 % of 6 recordings after a gap of one window');
  });

  it('leaves a gap of one window at the rate at which windows are cut, and divides no snapshot', () => {
    const [train, validation] = timeBlocks(entry('a', 0, { sample_rate_hz: 48_000, n_samples: 100_000 }), 0.15, { rateHz: 12_000 })!;
    expect(validation.range!.start - train.range!.length).toBe(4 * WINDOW);
    const [early, late] = timeBlocks(entry('a', 0, { snapshot_len: 2560, n_samples: 40 * 2560 }), 0.15)!;
    expect([early.range!.length, late.range!.start, late.range!.length].map((at) => at / 2560)).toEqual([33, 34, 6]);
  });

  it('leaves the gap to the next stretch of a recording that cleaning cut, too', () => {
    const cut = (start: number, length: number) => entry(`a_from${start}`, 0, { cut_from: 'a', cut_start: start, n_samples: length });
    const stretches = [cut(0, 10_000), cut(10_100, 5000)];
    const [[, held], [, last]] = stretches.map((one) => timeBlocks(one, 0.15, {}, nextStretch(one, stretches))!);
    expect(held.range).toEqual({ start: 8500, length: 10_100 - WINDOW - 8500 });
    expect(last.range!.start + last.range!.length).toBe(5000);
    const far = cut(10_000 + WINDOW, 5000);
    expect(timeBlocks(stretches[0], 0.15, {}, far)![1].range).toEqual({ start: 8500, length: 1500 });
  });

  it('by condition holds out whole recordings of a class that has only short ones, where it can spare one', () => {
    const short = { n_samples: 1201 };
    const all = [...recordings({ a: 4 }), ...recordings({ b: 8, c: 2 }, 4, short)];
    const { train, validation } = splitRecordings(all, condition('load=0'));
    expect(filesOf(validation)).toEqual(['a1', 'a2', 'a3', 'b7']);
    expect(validation.at(-1)!.range).toBeUndefined();
    expect(filesOf(train)).toEqual(['a1', 'a2', 'a3', 'b1', 'b2', 'b3', 'b5', 'b6', 'c1']);
    // Class c has one short recording left: it trains and does not validate.
    expect(labelsOf(validation)).toEqual(new Set(['a', 'b']));
  });

  it('by block validates on the next block, and on time blocks where that would take a class out of training', () => {
    const twenty = splitRecordings(recordings({ a: 20, b: 20 }), { kind: 'block', block: 10, of: 10 });
    expect(filesOf(twenty.test)).toEqual(['a18', 'a19', 'b18', 'b19']);
    expect(filesOf(twenty.validation)).toEqual(['a0', 'a1', 'b0', 'b1']);
    expect(twenty.train).toHaveLength(32);
    const halves = splitRecordings(recordings({ a: 2, b: 4 }), { kind: 'block', block: 1, of: 2 });
    expect(filesOf(halves.test)).toEqual(['a0', 'b0', 'b1']);
    expect(filesOf(halves.train)).toEqual(['a1', 'b2', 'b3']);
    expect(filesOf(halves.validation)).toEqual(['a1', 'b2', 'b3']);
  });

  it('by group takes 70, 15 and 15 % of the values, and time blocks where there are two or a class would be lost', () => {
    const twenty = splitRecordings(recordings({ a: 40, b: 40 }, 20), { kind: 'group', key: 'load' });
    const loads = (pieces: readonly Piece[]) => [...new Set(pieces.map((piece) => piece.entry.load))];
    expect([loads(twenty.train).length, loads(twenty.validation), loads(twenty.test)]).toEqual([14, [14, 15, 16], [17, 18, 19]]);
    expect([twenty.description, twenty.validationDescription]).toEqual(['test load=17,18,19', 'validation load=14,15,16']);
    const two = splitRecordings(recordings({ a: 4, b: 4 }, 2), { kind: 'group', key: 'load' });
    expect([loads(two.train), loads(two.validation), loads(two.test), whole(two.test)]).toEqual([[0], [0], [1], true]);
    const lonely = [...recordings({ a: 3, b: 3 }, 3), entry('c', 0, { load: 1 })];
    expect(filesOf(splitRecordings(lonely, { kind: 'group', key: 'load' }).validation)).toEqual(['a0', 'a1', 'b0', 'b1', 'c0']);
  });

  it('keeps the stretches that cleaning left of one recording on one side', () => {
    const stretches = (label: string, of: number, parts: number) =>
      Array.from({ length: of * parts }, (_, at) =>
        entry(label, at, { n_samples: 900, load: at % 2, cut_from: `${label}${Math.floor(at / parts)}` }),
      );
    const origins = (pieces: readonly Piece[]) => new Set(pieces.map((piece) => piece.entry.cut_from));
    for (const rule of [{ kind: 'recordings' }, { kind: 'block', block: 2, of: 3 }] as SplitRule[]) {
      const { train, validation, test } = splitRecordings(stretches('a', 3, 5), rule);
      expect([train, validation, test].map((pieces) => [pieces.length, origins(pieces).size])).toEqual([
        [5, 1],
        [5, 1],
        [5, 1],
      ]);
    }
    expect(() => splitRecordings(stretches('a', 2, 5), { kind: 'recordings' })).toThrow(/fewer than three recordings/);
    const all = [...stretches('a', 3, 2), ...recordings({ a: 1 }, 1, { n_samples: 900, load: 7 })];
    const split = splitRecordings(all, condition('load=7'));
    expect(origins(split.validation)).toEqual(new Set(['a2']));
    expect(origins(split.train)).toEqual(new Set(['a0', 'a1']));
  });

  it('leaves recordings without a label out', () => {
    const split = splitRecordings([entry(null, 0), ...recordings({ a: 3 }), entry(null, 1)], { kind: 'recordings' });
    expect([...split.train, ...split.validation, ...split.test]).toHaveLength(3);
  });

  it.each([
    ['one recording', recordings({ a: 1 }), { kind: 'recordings' }, /^a0 is the only recording with a label; a split needs three of each/],
    ['no label', [entry(null, 0), entry(null, 1)], { kind: 'recordings' }, /^no recording has a label;/],
    [
      'a class of two',
      recordings({ a: 9, b: 2 }),
      { kind: 'recordings' },
      /^class b has fewer than three .* --test KEY=VALUE or --group KEY$/,
    ],
    ['an empty test', recordings({ a: 4 }), condition('load=7'), /^the split "test load=7" leaves 4 recordings to train and 0 to test/],
    ['an empty training', recordings({ a: 4 }, 1), condition('load=0'), /leaves 0 recordings to train and 4 to test/],
    [
      'a class only in the test',
      [...recordings({ a: 4 }), entry('c', 0, { load: 3 })],
      condition('load=3'),
      /^class c is only in the test/,
    ],
    ['an unknown field', recordings({ a: 4 }), { kind: 'group', key: 'machine' }, /^no recording has a field machine; data info lists/],
    ['an unknown field to test on', recordings({ a: 4 }), condition('machine=1'), /^no recording has a field machine;/],
    ['one value', recordings({ a: 4 }, 1), { kind: 'group', key: 'load' }, /^every recording has load=0;/],
    ['a class smaller than the blocks', recordings({ a: 20, b: 4 }), { kind: 'block', block: 10, of: 10 }, /^class b has fewer than 10/],
    [
      'nothing to validate on',
      recordings({ a: 2, b: 2 }, 2, { n_samples: 900 }),
      condition('load=1'),
      /^the 2 recordings left .* too short/,
    ],
  ] as [string, RecordingEntry[], SplitRule, RegExp][])('refuses %s in one line', (_, all, rule, line) => {
    const attempt = () => splitRecordings(all, rule);
    expect(attempt).toThrow(line);
    expect(attempt).toThrow(Refusal);
    expect(attempt).not.toThrow(/\n/);
  });
});

const classCounts = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.integer({ min: 1, max: 30 }), { minKeys: 1 });
const rules: fc.Arbitrary<SplitRule> = fc.oneof(
  fc.constant<SplitRule>({ kind: 'recordings' }),
  fc.constant<SplitRule>({ kind: 'group', key: 'load' }),
  fc.integer({ min: 0, max: 5 }).map((load) => condition(`load=${load}`)),
  fc.integer({ min: 2, max: 10 }).chain((of) => fc.integer({ min: 1, max: of }).map((block): SplitRule => ({ kind: 'block', block, of }))),
);

/** Any set and rule: a split or a refusal, never another error. */
function attempt(entries: readonly RecordingEntry[], rule: SplitRule, window: number): Split | undefined {
  try {
    return splitRecordings(entries, rule, { window });
  } catch (error) {
    expect(error).toBeInstanceOf(Refusal);
    return undefined;
  }
}

describe('whatever the recordings and the rule', () => {
  it('no sample is on two sides, gaps hold, every class is trained on, and nothing but gaps is lost', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(
        classCounts,
        fc.integer({ min: 1, max: 6 }),
        fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 7 }),
        fc.constantFrom(64, 512),
        rules,
        (counts, loads, lengths, window, rule) => {
          const entries = recordings(counts, loads).map((one, at) => ({ ...one, n_samples: lengths[at % lengths.length] }));
          const split = attempt(entries, rule, window);
          if (!split) return;
          seen.add(rule.kind);
          const sides = [split.train, split.validation, split.test];
          for (const side of sides) expect(side.length).toBeGreaterThan(0);
          expectApart(sides, window);
          expect(labelsOf(split.train)).toEqual(new Set(Object.keys(counts)));
          expect(whole(split.test)).toBe(true);
          const samples = sides.flat().reduce((sum, piece) => sum + pieceLength(piece), 0);
          const gaps = sides.flat().filter(({ range }) => range && range.start > 0).length * window;
          expect(samples + gaps).toBe(entries.reduce((sum, { n_samples: length }) => sum + length, 0));
          const tested = new Set(filesOf(split.test));
          for (const fold of validationFolds(split, rule)) {
            expectApart([fold.train, fold.validation], window);
            expect(fold.validation.length).toBeGreaterThan(0);
            for (const label of labelsOf(fold.validation)) expect(labelsOf(fold.train).has(label)).toBe(true);
            for (const file of filesOf([...fold.train, ...fold.validation])) expect(tested.has(file)).toBe(false);
          }
        },
      ),
      { numRuns: 400 },
    );
    expect(seen).toEqual(new Set(['recordings', 'group', 'condition', 'block']));
  });
});

describe('folds for choosing settings', () => {
  const foldsOf = (all: readonly RecordingEntry[], rule: SplitRule) => validationFolds(splitRecordings(all, rule), rule);
  const held = (folds: readonly Fold[]) => folds.map(({ description }) => description);

  it('leave one value out of those that the test left, with whole recordings', () => {
    const folds = foldsOf(recordings({ a: 4, b: 4 }), condition('load=3'));
    expect(held(folds)).toEqual(['validation load=0', 'validation load=1', 'validation load=2']);
    expect([filesOf(folds[1].train), filesOf(folds[1].validation)]).toEqual([
      ['a0', 'a2', 'b0', 'b2'],
      ['a1', 'b1'],
    ]);
    for (const fold of folds) expect(whole([...fold.train, ...fold.validation])).toBe(true);
  });

  it('are four at most, evenly chosen, and take in the values that a group held out to validate', () => {
    expect(held(foldsOf(recordings({ a: 20, b: 20 }, 20), { kind: 'group', key: 'load' }))).toEqual(
      [2, 6, 10, 14].map((load) => `validation load=${load}`),
    );
  });

  it('validate on no class that their training lacks', () => {
    // Class c is at load 0 alone, b at loads 1 and 3 alone.
    const all = [...recordings({ a: 4 }), ...[0, 0, 3].map((load, at) => entry('c', at, { load })), entry('b', 0, { load: 1 })];
    const folds = foldsOf(all, condition('load=3'));
    expect(folds.map(({ validation }) => filesOf(validation))).toEqual([['a0'], ['a1'], ['a2']]);
  });

  it('leave out a value of each class that can spare one, where no value has two classes', () => {
    const types = ['a', 'b', 'c'];
    // As recorded: a1 a2 a3, b1 b2, and c with one value, which stays in training.
    const all = types.flatMap((label, index) =>
      Array.from({ length: 3 - index }, (_, at) => entry(label, at, { bearing: `${label}${at + 1}` })),
    );
    const folds = foldsOf([...all, entry('a', 9, { bearing: 'a9' })], condition('bearing=a9'));
    expect(held(folds)).toEqual(['validation bearing=a1,b1', 'validation bearing=a2,b2']);
    expect(folds.map(({ validation }) => filesOf(validation))).toEqual([
      ['a0', 'b0'],
      ['a1', 'b1'],
    ]);
    for (const { train } of folds) expect(labelsOf(train)).toEqual(new Set(types));
  });

  it('are the split itself where one value remains or the rule knows no values', () => {
    for (const [all, rule] of [
      [recordings({ a: 4, b: 4 }, 2), condition('load=1')],
      [recordings({ a: 9, b: 9 }), { kind: 'recordings' }],
      [recordings({ a: 20, b: 20 }), { kind: 'block', block: 3, of: 10 }],
    ] as [RecordingEntry[], SplitRule][]) {
      const split = splitRecordings(all, rule);
      expect(validationFolds(split, rule)).toEqual([
        { train: split.train, validation: split.validation, description: split.validationDescription },
      ]);
    }
  });
});

describe('pieces', () => {
  const setWith = async (more: readonly Record<string, unknown>[]) => {
    const folder = await folderWith(
      Object.fromEntries(more.map((_, at) => [`${at}.f32`, new Uint8Array(Float32Array.from({ length: 3000 }, (__, t) => t + at).buffer)])),
    );
    const entries = more.map((fields, at) =>
      entry('a', at, { file: `${at}.f32`, dtype: 'float32', n_samples: 3000, channels: ['x'], ...fields }),
    );
    return { name: 'made', folder, recordings: entries };
  };

  it('are read where they lie, and resampled', async () => {
    const set = await setWith([{}, {}]);
    const [one, other] = await readPieces(set, [
      { entry: set.recordings[0], range: { start: 100, length: 5 } },
      { entry: set.recordings[1] },
    ]);
    expect([[...samplesOf(one)], one.length, one.entry.file]).toEqual([[100, 101, 102, 103, 104], 5, '0.f32']);
    expect([other.length, samplesOf(other)[2999]]).toEqual([3000, 3000]);
    const [slow] = await readPieces(set, [{ entry: set.recordings[0], range: { start: 1000, length: 1000 } }], ['x'], 500);
    expect([slow.sampleRateHz, slow.length, Math.round(samplesOf(slow)[250])]).toEqual([500, 500, 1500]);
  });

  it('of two rates or sets of channels are refused by name', async () => {
    const rates = await setWith([{}, { sample_rate_hz: 4000 }]);
    const pieces = rates.recordings.map((one) => ({ entry: one }));
    await expect(readPieces(rates, pieces)).rejects.toMatchObject({
      code: 'data/mixed',
      message: expect.stringMatching(/^1\.f32 has x at 4000 Hz, 0\.f32 has x at 1000 Hz; choose with --where .* --rate$/),
    });
    expect(await readPieces(rates, pieces, undefined, 1000)).toHaveLength(2);
    const names = await setWith([{}, { channels: ['y'] }]);
    await expect(
      readPieces(
        names,
        names.recordings.map((one) => ({ entry: one })),
      ),
    ).rejects.toMatchObject({ code: 'data/mixed' });
  });
});

const { TREMOLO_DATA } = process.env;
const isThere = TREMOLO_DATA !== undefined && existsSync(TREMOLO_DATA);

describe.skipIf(!isThere)(`splits of real sets${isThere ? '' : ' (skipped: TREMOLO_DATA names no folder)'}`, () => {
  const open = async (name: string, ...where: string[]) =>
    select(await openRecordingSet(join(TREMOLO_DATA!, name)), where.map(parseCondition)).recordings;
  const counts = ({ train, validation, test }: Split) => [train.length, validation.length, test.length];

  it('cwru12: each load out, with a validation part of every class and a fold for each other load', async () => {
    const main = await open('cwru12', 'role=main');
    for (const load of [0, 1, 2, 3]) {
      const rule = condition(`load_hp=${load}`);
      const split = splitRecordings(main, rule);
      expectApart([split.train, split.validation, split.test]);
      expect([labelsOf(split.train).size, labelsOf(split.validation).size]).toEqual([12, 12]);
      const folds = validationFolds(split, rule);
      expect(folds).toHaveLength(3);
      for (const fold of folds) expect(labelsOf(fold.train).size).toBeGreaterThanOrEqual(11);
    }
    expect(() => splitRecordings(main, { kind: 'recordings' })).toThrow(/^class normal has fewer than three recordings/);
  });

  it('cwru12: fault types by size, a fold for each size that training has, and all types in each', async () => {
    const set = select(await openRecordingSet(join(TREMOLO_DATA!, 'cwru12')), [
      parseCondition('role=main'),
      parseCondition('label=normal,*007*,*014*,*021*'),
    ]);
    const all = relabelSet(set, ['IR*=inner', 'B*=ball', 'OR*=outer'].map(parseRelabel)).recordings;
    const rule = condition('recorded_label=*014*');
    const split = splitRecordings(all, rule);
    expect([labelsOf(split.train).size, labelsOf(split.test)]).toEqual([4, new Set(['inner', 'ball', 'outer'])]);
    expect(held(validationFolds(split, rule))).toEqual([
      'validation recorded_label=IR007,B007,OR007@6',
      'validation recorded_label=IR021,B021,OR021@6',
    ]);
  });

  it('uet_motor1k: 70/15/15 by files, and ten blocks that are each tested once', async () => {
    const all = await open('uet_motor1k');
    expect(counts(splitRecordings(all, { kind: 'recordings' }))).toEqual([154, 33, 33]);
    const tested = Array.from({ length: 10 }, (_, at) => splitRecordings(all, { kind: 'block', block: at + 1, of: 10 }).test).flatMap(
      filesOf,
    );
    expect(new Set(tested).size).toBe(all.length);
    expect(tested).toHaveLength(all.length);
  });

  it('phmap2023: a craft out, whole recordings to validate on since a case is too short for a part of it', async () => {
    const all = await open('phmap2023');
    for (const craft of [1, 2, 3]) {
      const rule = condition(`spacecraft=${craft}`);
      const split = splitRecordings(all, rule);
      expect([whole(split.validation), labelsOf(split.train).size, labelsOf(split.validation).size]).toEqual([true, 13, 13]);
      expect(held(validationFolds(split, rule))).toEqual(
        [1, 2, 3].filter((one) => one !== craft).map((one) => `validation spacecraft=${one}`),
      );
    }
  });

  const held = (folds: readonly Fold[]) => folds.map(({ description }) => description);
});
