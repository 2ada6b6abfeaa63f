import { BaselineSum } from './baseline.ts';
import { QuietLearning } from './quiet-learning.ts';
import { MeanSpectrum, type SpectrumMeter } from './spectrum.ts';

/** A stream as it was at some time. */
export interface State {
  readonly learning: QuietLearning;
  readonly spectrum: MeanSpectrum;
  readonly decided: number;
  readonly accuracy: number;
  /** Mean shaft speed, rpm; NaN where the device does not say it. */
  readonly speed: number;
}

/** A state as it outlives a restart. */
export interface KeptState extends Pick<State, 'decided' | 'accuracy' | 'speed'> {
  /** Of all windows and of the first ones, see `BaselineSum.kept`. */
  readonly sum: Float64Array;
  readonly first: Float64Array;
  /** [channels, bins] */
  readonly power: Float32Array;
}

export function keptState({ learning, spectrum, decided, accuracy, speed }: State): KeptState {
  const [sum, first] = [learning.sum, learning.firstSum].map((of) => Float64Array.from(of.kept()));
  return { sum, first, power: Float32Array.from(spectrum.power), decided, accuracy, speed };
}

/** @throws RangeError where the state is not one of this model's */
export function restoredState({ sum, first, power, decided, accuracy, speed }: KeptState, { channels, bins }: SpectrumMeter): State {
  const spectrum = new MeanSpectrum(channels, bins);
  if (power.length !== spectrum.power.length)
    throw new RangeError(`${power.length} spectral bins are not the model's ${spectrum.power.length}`);
  spectrum.power.set(power);
  const restored = (numbers: Float64Array) => BaselineSum.restored(Array.from(numbers));
  return { learning: new QuietLearning(restored(sum), restored(first)), spectrum, decided, accuracy, speed };
}
