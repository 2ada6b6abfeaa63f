import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import { heldRecording, type Recording } from '../../../trainer/data/recording-set.ts';
import { cutWindows } from '../../../trainer/data/windows.ts';
import { BatchSampler, NO_AUGMENTATION } from '../../../trainer/train/batches.ts';

/** A recording in which every sample is the number of its snapshot. */
function snapshots(label: string, length: number, snapshot?: number): Recording {
  const entry = { file: label, label, n_samples: length, n_channels: 1, dtype: 'float32' as const, sample_rate_hz: 1000 };
  const samples = Float32Array.from({ length }, (_, at) => Math.floor(at / (snapshot ?? length)));
  const named = { label, channels: ['x'], sampleRateHz: 1000 };
  return heldRecording({ entry: { ...entry, ...(snapshot && { snapshot_len: snapshot }) }, ...named }, samples);
}

const isConstant = (window: Float32Array) => window.every((value) => value === window[0]);

describe('windows of a recording that consists of snapshots', () => {
  it('never cross from one to the next, and leave out none that fits', () => {
    const sizes = fc.record({ snapshot: fc.integer({ min: 1, max: 90 }), count: fc.integer({ min: 1, max: 5 }), rest: fc.nat(20) });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 40 }), ({ snapshot, count, rest }, window, stride) => {
        const recording = snapshots('a', snapshot * count + Math.min(rest, snapshot - 1), snapshot);
        const cut = cutWindows([recording], ['a'], window, stride);
        for (let row = 0; row < cut.count; row++) expect(isConstant(cut.samples.subarray(row * window, (row + 1) * window))).toBe(true);
        const whole = snapshot < window ? 0 : Math.floor((snapshot - window) / stride) + 1;
        expect(cut.count).toBeGreaterThanOrEqual(count * whole);
      }),
    );
  });

  it('neither do those that training draws', () => {
    const network = createNetwork({ ...STUDENT, window: 128, channels: 1, classes: 2, tokens: ['frames'] });
    const recordings = [snapshots('a', 2000, 200), snapshots('b', 1290, 129)];
    const sampler = new BatchSampler(network, recordings, ['a', 'b'], 64, NO_AUGMENTATION, new Random(1), 0);
    const seen = new Set<number>();
    for (let step = 0; step < 4; step++) {
      const window = sampler.next().window.values as Float32Array;
      for (let at = 0; at < window.length; at += 128) {
        expect(isConstant(window.subarray(at, at + 128))).toBe(true);
        seen.add(window[at]);
      }
    }
    expect(seen.size).toBe(10);
  });
});
