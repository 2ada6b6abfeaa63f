import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { drawRuns, shareOut, shareOutByLabel } from '../../../trainer/data/window-sample.ts';
import { cutWindows, windowParts } from '../../../trainer/data/windows.ts';
import { TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const counts = fc.array(fc.nat(2000), { minLength: 1, maxLength: 20 });

describe('a sample of windows', () => {
  it('gives every recording its share, all where there are few, and never more than asked for', () => {
    fc.assert(
      fc.property(counts, fc.nat(20_000), (there, most) => {
        const given = shareOut(there, most);
        expect(sum(given)).toBe(Math.min(sum(there), most));
        given.forEach((own, index) => {
          expect(own).toBeLessThanOrEqual(there[index]);
          if (sum(there) > most) expect(Math.abs(own - (there[index] * most) / sum(there))).toBeLessThan(1);
        });
      }),
    );
  });

  it('gives every label as many while others have more', () => {
    fc.assert(
      fc.property(counts, fc.nat(20_000), fc.integer({ min: 1, max: 5 }), (there, most, kinds) => {
        const labels = there.map((_, index) => index % kinds);
        const given = shareOutByLabel(there, labels, most);
        const own = [...new Set(labels)].map((label) => ({
          had: sum(there.filter((_, index) => labels[index] === label)),
          got: sum(given.filter((_, index) => labels[index] === label)),
        }));
        expect(sum(given)).toBeLessThanOrEqual(most);
        const largest = Math.max(...own.map(({ got }) => got));
        for (const { had, got } of own) expect(got === had || got >= largest - 1).toBe(true);
        if (sum(there) <= most) expect(given).toEqual(there);
      }),
    );
  });

  it('draws runs that do not overlap, from one end to the other', () => {
    fc.assert(
      fc.property(fc.nat(3000), fc.nat(3000), fc.integer({ min: 1, max: 64 }), fc.nat(100), (count, wanted, run, seed) => {
        const runs = drawRuns(count, wanted, run, new Random(seed));
        let end = 0;
        for (const { first, count: here } of runs) {
          expect(first).toBeGreaterThanOrEqual(end);
          end = first + here;
        }
        expect(end).toBeLessThanOrEqual(count);
        const drawn = sum(runs.map((one) => one.count));
        expect(drawn).toBeLessThanOrEqual(Math.min(count, wanted));
        expect(drawn).toBeGreaterThan(Math.min(count, wanted) - run);
      }),
    );
  });
});

describe('cut windows', () => {
  const recordings = tinyRecordings(12);

  it('of more than memory is given for are a balanced sample, the same every time, each as it is in its recording', () => {
    const bytesOf = 512 * 2 * 4;
    const windows = cutWindows(recordings, TINY_CLASSES, 512, 256, { budgetBytes: 60 * bytesOf, balanced: true, run: 5 });
    expect(TINY_CLASSES.map((_, label) => windows.labels.filter((one) => one === label).length)).toEqual([20, 20, 20]);
    expect(cutWindows(recordings, TINY_CLASSES, 512, 256, { budgetBytes: 60 * bytesOf, balanced: true, run: 5 })).toEqual(windows);
    const all = cutWindows(recordings, TINY_CLASSES, 512, 256);
    const place = (row: Float32Array) => row.join();
    const known = new Set(Array.from({ length: all.count }, (_, row) => place(all.samples.subarray(row * 1024, (row + 1) * 1024))));
    for (let row = 0; row < windows.count; row++) {
      expect(known.has(place(windows.samples.subarray(row * 1024, (row + 1) * 1024)))).toBe(true);
    }
  });

  it('come part by part as they come at once', () => {
    const [recording] = recordings;
    const whole = cutWindows([recording], TINY_CLASSES, 512, 5);
    const parts = [...windowParts(recording, TINY_CLASSES, 512, 5)];
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.flatMap(({ labels }) => [...labels])).toEqual([...whole.labels]);
    const bytes = Buffer.concat(parts.map(({ samples }) => new Uint8Array(samples.buffer)));
    expect(bytes.equals(new Uint8Array(whole.samples.buffer))).toBe(true);
  });
});
