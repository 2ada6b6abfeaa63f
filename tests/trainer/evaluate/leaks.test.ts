import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { findLeaks, refuseLeaks } from '../../../trainer/data/leaks.ts';
import { type ReadPiece, readPieces } from '../../../trainer/data/pieces.ts';
import { heldRecording, openRecordingSet, parseCondition, type Recording, select } from '../../../trainer/data/recording-set.ts';
import { type SplitRule, splitRecordings } from '../../../trainer/data/split.ts';
import { Refusal } from '../../../trainer/refusal.ts';
import { samplesOf } from '../../support/recordings.ts';

const WINDOW = 128;
const LENGTH = 1000;

function recording(file: string, samples: Float32Array, more: Record<string, unknown> = {}): Recording {
  const entry = { file, label: 'a', n_samples: samples.length, n_channels: 1, dtype: 'float32' as const, sample_rate_hz: 1000, ...more };
  return heldRecording({ entry, label: 'a', channels: ['x'], sampleRateHz: 1000 }, samples);
}
const noise = (seed: number, length = LENGTH) => {
  const random = new Random(seed);
  return Float32Array.from({ length }, () => random.normal());
};
const parts = (...recordings: Recording[]): ReadPiece[] => recordings;
const look = (train: ReadPiece[], test: ReadPiece[]) => findLeaks(train, test, { window: WINDOW });

describe('the leak detector', () => {
  it('lets a split of different recordings pass', async () => {
    const report = await look(parts(recording('a', noise(1)), recording('b', noise(2))), parts(recording('c', noise(3))));
    expect(report).toMatchObject({ leaks: [], signalsRepeat: false });
    expect(report.usualLikeness).toBeLessThan(0.6);
    expect(() => refuseLeaks(report)).not.toThrow();
  });

  it('names a recording that is on both sides, and one with the same content', async () => {
    const { leaks } = await look(
      parts(recording('a', noise(1)), recording('b', noise(2), { sha256: 'ff' })),
      parts(recording('a', noise(1)), recording('copy', noise(3), { sha256: 'ff' }), recording('d', noise(4))),
    );
    expect(leaks.map(({ kind, train, test }) => [kind, train, test])).toEqual([
      ['recording', 'a', 'a'],
      ['recording', 'b', 'copy'],
    ]);
    expect(() => refuseLeaks({ leaks, usualLikeness: 0, signalsRepeat: false, searched: 1 })).toThrow(Refusal);
    expect(() => refuseLeaks({ leaks, usualLikeness: 0, signalsRepeat: false, searched: 1 })).toThrow(
      /a is on both sides; copy and b have the same content/,
    );
  });

  it('finds a stretch that was copied under another name, shifted, louder and a little noisy, and says where', async () => {
    const [original, extra] = [noise(1), noise(9)];
    const copy = original.slice(137).map((value, t) => 5 * value + 0.5 * extra[t] + 30);
    const { leaks } = await look(
      parts(recording('a', original), recording('b', noise(2))),
      parts(recording('copy', copy), recording('d', noise(4))),
    );
    expect(leaks).toEqual([
      {
        kind: 'signal',
        train: 'a',
        test: 'copy',
        why: expect.stringMatching(/^the 128 samples of copy from \d+ on are those of a from \d+ on \(correlation 0\.99\d\)$/),
      },
    ]);
    const [, inCopy, inOriginal] = /from (\d+) on .* from (\d+) on/.exec(leaks[0].why)!;
    expect(Number(inOriginal) - Number(inCopy)).toBe(137);
  });

  it('lets pieces of one recording pass only with a gap between them', async () => {
    const samples = noise(1);
    const piece = (start: number, length: number): ReadPiece => ({
      ...recording('a', samples.subarray(start, start + length)),
      range: { start, length },
    });
    const why = async (test: ReadPiece) => (await look([piece(0, 400)], [test])).leaks.map((leak) => leak.why);
    expect(await why(piece(400 + WINDOW, 300))).toEqual([]);
    expect(await why(piece(500, 300))).toEqual(['pieces of a on both sides are 100 samples apart, where 128 must lie between them']);
    expect(await why(piece(350, 300))).toEqual(['pieces of a on both sides overlap by 50 samples']);
  });

  it('says so where recordings repeat each other by nature, and compares only recordings then', async () => {
    const tone = (phase: number) => Float32Array.from({ length: LENGTH }, (_, t) => Math.sin(0.2 * t + phase));
    const report = await look(
      parts(recording('a', tone(0)), recording('b', tone(1)), recording('c', tone(2))),
      parts(recording('d', tone(3)), recording('c', tone(2))),
    );
    expect(report.signalsRepeat).toBe(true);
    expect(report.leaks.map(({ kind, test }) => [kind, test])).toEqual([['recording', 'c']]);
  });

  it('expects more of a copy in a class whose recordings are alike by nature, and still finds one', async () => {
    // Recordings of class a share a tone, with a sixth of its power in noise; class b is noise alone.
    const toned = (own: Float32Array) => own.map((value, t) => 0.42 * value + Math.SQRT2 * Math.sin(0.2 * t));
    const labelled = (file: string, label: string, samples: Float32Array): Recording => ({ ...recording(file, samples), label });
    const train = [
      ...[1, 2, 3, 4].map((seed) => labelled(`a${seed}`, 'a', toned(noise(seed)))),
      ...[5, 6, 7, 8].map((seed) => labelled(`b${seed}`, 'b', noise(seed))),
    ];
    const [theirs, own] = [noise(1), noise(9)];
    const alike = labelled('alike', 'a', toned(theirs.map((value, t) => 0.4 * value + 0.92 * own[t])));
    const copy = labelled('copy', 'a', samplesOf(train[1]).subarray(100));
    const leaksIn = async (side: Recording[]) =>
      (await findLeaks(side, [alike, copy], { window: WINDOW, threshold: 0.9 })).leaks.map((leak) => [leak.train, leak.test]);
    expect(await leaksIn(train)).toEqual([['a2', 'copy']]);
    // With nothing of its class to compare with, the same likeness to a1 counts as a copy.
    expect(await leaksIn([train[0], ...train.slice(4)])).toEqual([['a1', 'alike']]);
  });

  describe('of a time block whose own recording trains', () => {
    const block = (file: string, samples: Float32Array, start: number, length: number): ReadPiece => ({
      ...recording(file, samples.subarray(start, start + length)),
      range: { start, length },
    });
    const others = [5, 6, 7, 8].map((seed) => recording(`other${seed}`, noise(seed)));
    const pairs = async (train: ReadPiece[], test: ReadPiece[]) => (await look(train, test)).leaks.map((leak) => [leak.train, leak.test]);

    it('finds it in another recording, whether that is a copy of the block or of the whole', async () => {
      const samples = noise(1, 4000);
      const [early, late] = [block('a', samples, 0, 3000), block('a', samples, 3000 + WINDOW, 872)];
      expect(await pairs([early, ...others], [late])).toEqual([]);
      const ofBlock = recording('copy', samples.slice(3100, 4000));
      expect(await pairs([early, ofBlock, ...others], [late])).toEqual([['copy', 'a']]);
      const ofAll = recording('copy', samples.slice(150));
      expect(await pairs([early, ofAll, ...others], [late])).toEqual([['copy', 'a']]);
    });

    it('lets it pass where all of its recording is as like the other one, which turns at the same pace', async () => {
      const turn = noise(40, 97);
      const turning = (seed: number) => noise(seed, 12_000).map((value, t) => turn[(t + 11 * seed) % 97] + 0.05 * value);
      const samples = turning(1);
      const split = [block('a', samples, 0, 9000), block('a', samples, 9000 + WINDOW, 2872)];
      expect(await pairs([split[0], recording('b', turning(2)), ...others], [split[1]])).toEqual([]);
      // A copy of a recording that repeats itself is one all the same.
      expect(await pairs([split[0], recording('b', samples.slice(300)), ...others], [split[1]])).toEqual([['b', 'a']]);
    });
  });

  it('asks for the gap between stretches that cleaning cut out of one recording', async () => {
    const stretch = (start: number, length: number) =>
      recording(`a_from${start}`, noise(start + 1, length), { cut_from: 'a', cut_start: start });
    const why = async (start: number) => (await look([stretch(0, 500)], [stretch(start, 500)])).leaks.map((leak) => leak.why);
    expect(await why(500 + WINDOW)).toEqual([]);
    expect(await why(600)).toEqual(['pieces of a on both sides are 100 samples apart, where 128 must lie between them']);
  });

  it('measures gaps at the rate of the windows where recordings were resampled', async () => {
    const samples = noise(1);
    const block = (from: number, start: number, length: number): ReadPiece => ({
      ...recording('a', samples.subarray(from, from + 400), { resampled_from_hz: 4000 }),
      range: { start, length },
    });
    const gaps = async (start: number) => (await look([block(0, 0, 1600)], [block(500, start, 1600)])).leaks.map(({ why }) => why);
    expect(await gaps(1600 + 4 * WINDOW)).toEqual([]);
    expect(await gaps(1600 + WINDOW)).toEqual(['pieces of a on both sides are 128 samples apart, where 512 must lie between them']);
  });
});

const { TREMOLO_DATA } = process.env;
const isThere = TREMOLO_DATA !== undefined && existsSync(TREMOLO_DATA);

describe.skipIf(!isThere)(`legitimate splits of real sets${isThere ? '' : ' (skipped: TREMOLO_DATA names no folder)'}`, () => {
  const sides = async (name: string, where: readonly string[], rule: SplitRule, channels?: readonly string[]) => {
    const set = select(await openRecordingSet(join(TREMOLO_DATA!, name)), where.map(parseCondition));
    const { train, validation, test } = splitRecordings(set.recordings, rule);
    const read = await readPieces(set, [...train, ...validation, ...test], channels);
    return [read.slice(0, train.length), read.slice(train.length)] as const;
  };

  it('of cwru12 are not refused, and a copied recording of cwru12 is', { timeout: 180_000 }, async () => {
    const rule: SplitRule = { kind: 'condition', condition: parseCondition('load_hp=3') };
    const [train, rest] = await sides('cwru12', ['role=main'], rule, ['DE']);
    const shares: number[] = [];
    const report = await findLeaks(train, rest, { window: 512, onProgress: (share) => shares.push(share) });
    expect(report).toMatchObject({ leaks: [], signalsRepeat: false });
    expect(shares.at(-1)).toBe(1);
    const stolen = train[5];
    const copy = { ...stolen, entry: { ...stolen.entry, file: 'copy', sha256: undefined }, range: undefined };
    const { leaks } = await findLeaks(train.slice(0, 8), [...rest.slice(-3), copy], { window: 512 });
    expect(leaks.map((leak) => [leak.kind, leak.train, leak.test])).toEqual([['signal', stolen.entry.file, 'copy']]);
  });

  it('of uet_motor1k by files are not refused', { timeout: 180_000 }, async () => {
    const [train, rest] = await sides('uet_motor1k', [], { kind: 'recordings' });
    expect(await findLeaks(train, rest, { window: 512 })).toMatchObject({ leaks: [], signalsRepeat: false });
  });

  it('of phmap2023 are compared by recordings only, since it repeats itself by nature', { timeout: 180_000 }, async () => {
    const rule: SplitRule = { kind: 'condition', condition: parseCondition('spacecraft=1') };
    const [train, rest] = await sides('phmap2023', [], rule);
    expect(await findLeaks(train, rest, { window: 512 })).toMatchObject({ leaks: [], signalsRepeat: true });
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const [train, rest] = await sides('uet_motor1k', [], { kind: 'recordings' });
    const search = findLeaks(train, rest, { window: 512, signal: controller.signal, onProgress: () => controller.abort() });
    await expect(search).rejects.toMatchObject({ name: 'AbortError' });
  });
});
