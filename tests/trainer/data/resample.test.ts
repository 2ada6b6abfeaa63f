import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { heldRecording, type Recording } from '../../../trainer/data/recording-set.ts';
import { rateRatio, resample, resampleRecording } from '../../../trainer/data/resample.ts';
import { samplesOf } from '../../support/recordings.ts';

const tone = (frequencyHz: number, rateHz: number, length: number, phase = 0.3) =>
  Float32Array.from({ length }, (_, n) => Math.sin((2 * Math.PI * frequencyHz * n) / rateHz + phase));

const rms = (samples: Float32Array) => Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);

const decibels = (ratio: number) => 20 * Math.log10(ratio);

/** Without the ends, which rest on mirrored values: 50 samples of the lower rate. */
function interior(samples: Float32Array, margin: number): Float32Array {
  return samples.subarray(margin, samples.length - margin);
}

function recordingOf(samples: Float32Array, channels: string[], sampleRateHz: number, more: Record<string, unknown> = {}): Recording {
  const length = samples.length / channels.length;
  const entry = {
    file: 'a.i16',
    label: 'x',
    n_samples: length,
    n_channels: channels.length,
    channels,
    dtype: 'int16' as const,
    scale: channels.map(() => 1),
    sample_rate_hz: sampleRateHz,
    ...more,
  };
  return heldRecording({ entry, label: 'x', channels, sampleRateHz }, samples);
}

describe('the ratio of two rates', () => {
  it.each([
    [12_000, 1000, 1, 12],
    [25_600, 1000, 5, 128],
    [44_100, 48_000, 160, 147],
    [48_000, 44_100, 147, 160],
    [1000, 1000, 1, 1],
    [1000, 3000, 3, 1],
    [1562.5, 1000, 16, 25],
  ])('from %d to %d Hz is %d/%d', (from, to, up, down) => {
    expect(rateRatio(from, to)).toEqual({ up, down });
  });

  it('is within 0.01 % of the true one, whatever the rates', () => {
    fc.assert(
      fc.property(fc.double({ min: 10, max: 1e5, noNaN: true }), fc.double({ min: 10, max: 1e5, noNaN: true }), (from, to) => {
        const { up, down } = rateRatio(from, to);
        expect(Number.isInteger(up) && Number.isInteger(down) && up > 0 && down > 0).toBe(true);
        expect(Math.max(up, down)).toBeLessThanOrEqual(10_000);
        expect(Math.abs((up / down) * (from / to) - 1)).toBeLessThan(1e-4);
      }),
    );
  });

  it.each([0, -5, Number.NaN, Number.POSITIVE_INFINITY, 1e9])('to %d Hz is refused', (to) => {
    expect(() => rateRatio(1000, to)).toThrow(/Hz/);
  });
});

describe('resampling', () => {
  const rates = fc.constantFrom([12_000, 1000], [25_600, 1000], [48_000, 12_000], [1000, 3000], [44_100, 48_000], [1000, 640], [1000, 997]);

  it('keeps a tone below 0.9 of half the lower rate: amplitude within 0.1 dB, phase, and nothing else above -60 dB', () => {
    fc.assert(
      fc.property(
        rates,
        fc.double({ min: 0.02, max: 0.9, noNaN: true }),
        fc.double({ min: 0, max: 6.3, noNaN: true }),
        ([from, to], share, phase) => {
          const frequency = (share * Math.min(from, to)) / 2;
          const length = Math.ceil((1200 * from) / Math.min(from, to));
          const ratio = rateRatio(from, to);
          const made = resample(tone(frequency, from, length, phase), 1, ratio);
          const expected = tone(frequency, (from * ratio.up) / ratio.down, made.length, phase);
          const margin = Math.ceil((60 * to) / Math.min(from, to));
          const [inner, wanted] = [interior(made, margin), interior(expected, margin)];
          expect(Math.abs(decibels(rms(inner) / rms(wanted)))).toBeLessThan(0.1);
          expect(decibels(rms(inner.map((value, at) => value - wanted[at])) / rms(wanted))).toBeLessThan(-60);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('suppresses what the lower rate cannot carry by more than 60 dB, from its half upwards', () => {
    const down = fc.constantFrom([12_000, 1000], [25_600, 1000], [48_000, 12_000], [1000, 640], [1000, 997]);
    fc.assert(
      fc.property(down, fc.double({ min: 0, max: 1, noNaN: true }), ([from, to], share) => {
        const frequency = to / 2 + share * (from / 2 - to / 2);
        const made = resample(tone(frequency, from, Math.ceil((1200 * from) / to)), 1, rateRatio(from, to));
        expect(decibels(rms(interior(made, 60)) / Math.SQRT1_2)).toBeLessThan(-60);
      }),
      { numRuns: 60 },
    );
  });

  it('makes no images of a tone when the rate rises', () => {
    const made = resample(tone(300, 1000, 1000), 1, { up: 3, down: 1 });
    const wanted = tone(300, 3000, made.length);
    expect(
      decibels(
        rms(
          interior(
            made.map((value, at) => value - wanted[at]),
            180,
          ),
        ),
      ),
    ).toBeLessThan(-60);
  });

  it('keeps a constant to the last bit of float32, up to the ends, and each channel apart', () => {
    const samples = Float32Array.from({ length: 3000 }, (_, at) => [2.5, -9.81, 0][at % 3]);
    for (const ratio of [rateRatio(12_000, 1000), rateRatio(44_100, 48_000)]) {
      const made = resample(samples, 3, ratio);
      for (const [at, value] of made.entries()) expect(Math.abs(value - [2.5, -9.81, 0][at % 3])).toBeLessThan(2e-6);
    }
  });

  it('gives ceil(n * new / old) samples, for one sample too', () => {
    expect(resample(new Float32Array(121_155), 1, { up: 1, down: 4 })).toHaveLength(30_289);
    expect([...resample(Float32Array.from([7]), 1, { up: 2, down: 1 })]).toEqual([7, 7]);
  });
});

describe('a resampled recording', () => {
  it('says its new rate and length, and where it comes from', () => {
    const recording = recordingOf(new Float32Array(2400), ['x', 'y'], 12_000, { load: 3 });
    const made = resampleRecording(recording, 1000);
    expect(made).toMatchObject({ sampleRateHz: 1000, length: 100, label: 'x', channels: ['x', 'y'] });
    expect(samplesOf(made)).toHaveLength(200);
    expect(made.entry).toMatchObject({ n_samples: 100, sample_rate_hz: 1000, resampled_from_hz: 12_000, load: 3, dtype: 'float32' });
    expect(made.entry.scale).toBeUndefined();
  });

  it('is the same object where the rate is the same', () => {
    const recording = recordingOf(new Float32Array(100), ['x'], 1000);
    expect(resampleRecording(recording, 1000)).toBe(recording);
  });

  it('of snapshots does not mix one with the next', () => {
    const samples = Float32Array.from({ length: 2560 * 3 }, (_, at) => Math.floor(at / 2560));
    const made = resampleRecording(recordingOf(samples, ['x'], 25_600, { snapshot_len: 2560 }), 1000);
    expect(made.entry.snapshot_len).toBe(100);
    expect(made.length).toBe(300);
    for (const [at, value] of samplesOf(made).entries()) expect(value).toBeCloseTo(Math.floor(at / 100), 5);
  });

  it('read by stretches, in any order, is bit by bit the whole', () => {
    fc.assert(
      fc.property(
        fc.record({
          length: fc.integer({ min: 1, max: 3000 }),
          channels: fc.integer({ min: 1, max: 3 }),
          rateHz: fc.constantFrom(250, 999, 1600, 4410),
          snapshot: fc.option(fc.integer({ min: 1, max: 3500 })),
          places: fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })), {
            maxLength: 8,
          }),
        }),
        ({ length, channels, rateHz, snapshot, places }) => {
          const samples = Float32Array.from({ length: length * channels }, (_, at) => Math.sin(at * at * 0.013) + (at % 7));
          const names = ['x', 'y', 'z'].slice(0, channels);
          const recording = recordingOf(samples, names, 2000, snapshot === null ? {} : { snapshot_len: snapshot });
          const ratio = rateRatio(2000, rateHz);
          const unit = Math.min(length, snapshot ?? length);
          const parts = Array.from({ length: Math.ceil(length / unit) }, (_, index) =>
            resample(samples.subarray(index * unit * channels, (index + 1) * unit * channels), channels, ratio),
          );
          const whole = parts.flatMap((part) => [...part]);
          const made = resampleRecording(recording, rateHz);
          expect(made.length).toBe(whole.length / channels);
          for (const [from, share] of places) {
            const start = Math.floor(from * made.length);
            const count = Math.floor(share * (made.length - start));
            expect([...made.read(start, count)]).toEqual(whole.slice(start * channels, (start + count) * channels));
          }
          expect([...samplesOf(made)]).toEqual(whole);
        },
      ),
      { numRuns: 40 },
    );
  });
});
