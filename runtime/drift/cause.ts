import type { CauseKind } from '../contracts/drift.ts';
import { BANDS, type MeanSpectrum, type SpectrumMeter } from './spectrum.ts';

export interface SpectralCause {
  readonly kind: CauseKind;
  /** Index of the channel, and band in Hz, that changed most; where nothing is known of before, that has most power. */
  readonly channel: number;
  readonly bandHz: readonly [number, number];
  /** Of that band's power, decibels; 0 where nothing is known of before. */
  readonly changeDb: number;
  /** Ratio of the new to the old speed, where the kind is `speed`. */
  readonly speedRatio?: number;
}

/** Speeds that are tried: 0.7 to 1.4 of the old one, by half percents. */
const LARGEST_STRETCH = 0.35;
const STRETCH_STEP = 0.005;
/** Least change of speed that is told from none. */
const LEAST_SPEED_CHANGE = 0.015;
/**
 * What the stretched spectrum must explain of what the old one leaves open. Of all bins not much, for resonances stay where they are. Of the lowest, where
 * the shaft's own lines are: half where the device says its speed; where it does not, more than another make of bearing ever did (measured on simulated
 * machines: 0.86; so a change of speed that is not told is mostly called a condition).
 */
const EXPLAINED = 0.15;
const EXPLAINED_TOLD = 0.5;
const EXPLAINED_UNTOLD = 0.9;
/** The lowest, as a share of all bins. */
const LOWEST = 1 / 6;
/** Mean change of all bands that is a change of level, decibels; and what of it may be left when it is taken away. */
const LEVEL_DB = 1;
const LEVEL_REST = 0.25;
/** Bins that are averaged against the scatter of a spectrum of few windows. */
const SMOOTH = 1;

/**
 * Compares the mean spectrum of late windows with that of the baseline.
 *
 * @param told ratio of the new to the old speed, as the device says it; NaN where it says none
 */
export function spectralCause(now: MeanSpectrum, before: MeanSpectrum, meter: SpectrumMeter, told = Number.NaN): SpectralCause {
  const { channels, bins, binHz } = meter;
  const edges = bandEdges(bins);
  let [channel, band, largest] = [0, 0, 0];
  const changes: number[] = [];
  for (let row = 0; row < channels; row++) {
    for (let at = 0; at + 1 < edges.length; at++) {
      const change = 10 * Math.log10((bandPower(now, row * bins, edges, at) + 1e-30) / (bandPower(before, row * bins, edges, at) + 1e-30));
      changes.push(change);
      if (Math.abs(change) > Math.abs(largest)) [channel, band, largest] = [row, at, change];
    }
  }
  const place = { channel, bandHz: [edges[band] * binHz, edges[band + 1] * binHz] as const, changeDb: largest };
  const ratio = speedRatio(stretching(now, before, meter), told);
  if (ratio !== undefined) return { kind: 'speed', ...place, speedRatio: ratio };
  const mean = changes.reduce((sum, change) => sum + change, 0) / changes.length;
  const rest = Math.sqrt(changes.reduce((sum, change) => sum + (change - mean) ** 2, 0) / changes.length);
  if (Math.abs(mean) >= LEVEL_DB && rest <= LEVEL_REST * Math.abs(mean)) return { kind: 'level', ...place };
  return { kind: 'condition', ...place };
}

/** What there is to say of a stream of which there is no before: where most of its power lies. */
export function unfamiliarCause(now: MeanSpectrum, { channels, bins, binHz }: SpectrumMeter): SpectralCause {
  const edges = bandEdges(bins);
  let [channel, band, largest] = [0, 0, 0];
  for (let row = 0; row < channels; row++) {
    for (let at = 0; at + 1 < edges.length; at++) {
      const power = bandPower(now, row * bins, edges, at);
      if (power > largest) [channel, band, largest] = [row, at, power];
    }
  }
  return { kind: 'unfamiliar', channel, bandHz: [edges[band] * binHz, edges[band + 1] * binHz], changeDb: 0 };
}

/** First bins of the bands, and the end of the last one: from bin 1 to the highest. */
function bandEdges(bins: number): number[] {
  const edges = Array.from({ length: BANDS + 1 }, (_, at) => Math.round((bins + 1) ** (at / BANDS)));
  return [...new Set(edges)];
}

function bandPower({ power }: MeanSpectrum, row: number, edges: readonly number[], band: number): number {
  let sum = 0;
  for (let bin = edges[band]; bin < edges[band + 1]; bin++) sum += power[row + bin - 1];
  return sum;
}

/** The ratio of speeds that explains the new spectrum; undefined where none surely does. */
function speedRatio(explained: (ratio: number) => Explained, told: number): number | undefined {
  if (!Number.isNaN(told)) return Math.abs(told - 1) >= LEAST_SPEED_CHANGE && explained(told).lowest >= EXPLAINED_TOLD ? told : undefined;
  let best = explained(1);
  for (let step = -Math.round(0.3 / STRETCH_STEP); step <= Math.round(0.4 / STRETCH_STEP); step++) {
    const tried = explained(1 + step * STRETCH_STEP);
    if (tried.all > best.all) best = tried;
  }
  const sure = Math.abs(best.ratio - 1) >= LEAST_SPEED_CHANGE && best.all >= EXPLAINED && best.lowest >= EXPLAINED_UNTOLD;
  return sure ? best.ratio : undefined;
}

/** What of the spectrum's change a stretch explains, 0 to 1: of all bins, and of the lowest. */
interface Explained {
  readonly ratio: number;
  readonly all: number;
  readonly lowest: number;
}

/** How well the old spectrum, stretched by a ratio of speeds, explains the new one. */
function stretching(now: MeanSpectrum, before: MeanSpectrum, { channels, bins }: SpectrumMeter): (ratio: number) => Explained {
  const fresh = logSpectra(now, channels, bins);
  const old = logSpectra(before, channels, bins);
  // Bins that both spectra have at every stretch, so that errors are of the same bins.
  const last = Math.floor(bins * (1 - LARGEST_STRETCH));
  const low = Math.max(4, Math.floor(bins * LOWEST));
  const error = (ratio: number, end: number) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) {
      const row = channel * bins;
      let [mean, square] = [0, 0];
      for (let bin = 2; bin < end; bin++) {
        const at = Math.min((bin + 1) / ratio - 1, bins - 1.001);
        const below = Math.floor(at);
        const apart = fresh[row + bin] - (old[row + below] * (1 - at + below) + old[row + below + 1] * (at - below));
        mean += apart / (end - 2);
        square += (apart * apart) / (end - 2);
      }
      // Another speed may be louder, too.
      sum += square - mean * mean;
    }
    return sum + Number.EPSILON;
  };
  const [all, lowest] = [error(1, last), error(1, low)];
  return (ratio) => ({ ratio, all: 1 - error(ratio, last) / all, lowest: 1 - error(ratio, low) / lowest });
}

/** Log power, averaged over neighbouring bins. */
function logSpectra({ power }: MeanSpectrum, channels: number, bins: number): Float64Array {
  const logs = new Float64Array(power.length);
  for (let channel = 0; channel < channels; channel++) {
    for (let bin = 0; bin < bins; bin++) {
      let [sum, count] = [0, 0];
      for (let at = Math.max(0, bin - SMOOTH); at <= Math.min(bins - 1, bin + SMOOTH); at++) {
        sum += power[channel * bins + at];
        count++;
      }
      logs[channel * bins + bin] = Math.log(sum / count + 1e-30);
    }
  }
  return logs;
}
