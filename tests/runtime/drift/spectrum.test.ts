import { expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { MeanSpectrum, SpectrumMeter } from '../../../runtime/drift/spectrum.ts';

/** Power of each bin of one channel, by the definition. */
function slowSpectrum(samples: Float32Array, channel: number, channels: number, size: number): number[] {
  const window = samples.length / channels;
  const newest = Array.from({ length: size }, (_, at) => samples[(window - size + at) * channels + channel]);
  const mean = newest.reduce((sum, value) => sum + value, 0) / size;
  const tapered = newest.map((value, at) => (value - mean) * (0.5 - 0.5 * Math.cos((2 * Math.PI * at) / size)));
  return Array.from({ length: size / 2 }, (_, index) => {
    const turn = (at: number) => (2 * Math.PI * (index + 1) * at) / size;
    const re = tapered.reduce((sum, value, at) => sum + value * Math.cos(turn(at)), 0);
    const im = tapered.reduce((sum, value, at) => sum - value * Math.sin(turn(at)), 0);
    return re ** 2 + im ** 2;
  });
}

it.each([1, 2, 3, 4])('the mean spectrum of windows of %i channels is that of each channel by itself', (channels) => {
  const [window, size, windows] = [80, 64, 3];
  const random = new Random(channels);
  const meter = new SpectrumMeter({ window, channels, sampleRateHz: 1000 });
  const mean = new MeanSpectrum(channels, meter.bins);
  const expected = new Float64Array(channels * meter.bins);
  for (let taken = 0; taken < windows; taken++) {
    const samples = Float32Array.from({ length: window * channels }, () => random.normal() + 3);
    meter.add(samples, mean);
    for (let channel = 0; channel < channels; channel++)
      slowSpectrum(samples, channel, channels, size).forEach((power, bin) => {
        expected[channel * meter.bins + bin] += power / windows;
      });
  }
  expected.forEach((power, at) => {
    expect(mean.power[at]).toBeCloseTo(power, 8);
  });
});
