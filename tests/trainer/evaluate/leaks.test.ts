import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { findLeaks, refuseLeaks, type SplitPart } from '../../../trainer/data/leaks.ts';
import type { Recording } from '../../../trainer/data/recording-set.ts';
import { Refusal } from '../../../trainer/refusal.ts';

const WINDOW = 128;
const LENGTH = 1000;

function recording(file: string, samples: Float32Array, more: Record<string, unknown> = {}): Recording {
  const entry = { file, label: 'a', n_samples: samples.length, n_channels: 1, dtype: 'float32' as const, sample_rate_hz: 1000, ...more };
  return { entry, label: 'a', channels: ['x'], sampleRateHz: 1000, samples, length: samples.length };
}
const noise = (seed: number, length = LENGTH) => {
  const random = new Random(seed);
  return Float32Array.from({ length }, () => random.normal());
};
const parts = (...recordings: Recording[]): SplitPart[] => recordings.map((one) => ({ recording: one }));
const look = (train: SplitPart[], test: SplitPart[]) => findLeaks(train, test, { window: WINDOW });

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
    expect(() => refuseLeaks({ leaks, usualLikeness: 0, signalsRepeat: false })).toThrow(Refusal);
    expect(() => refuseLeaks({ leaks, usualLikeness: 0, signalsRepeat: false })).toThrow(
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
        why: expect.stringMatching(/^the 128 samples of copy from 0 on are those of a from 137 on \(correlation 0\.99\d\)$/),
      },
    ]);
  });

  it('lets pieces of one recording pass only with a gap between them', async () => {
    const samples = noise(1);
    const piece = (start: number, length: number): SplitPart => ({
      recording: recording('a', samples.subarray(start, start + length)),
      range: { start, length },
    });
    const why = async (test: SplitPart) => (await look([piece(0, 400)], [test])).leaks.map((leak) => leak.why);
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
});
