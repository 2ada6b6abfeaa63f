import type { StatisticName } from '../contracts/drift.ts';
import { BaselineSum } from './baseline.ts';
import { type DriftReference, exceeds, type Thresholds } from './calibrate.ts';
import { type SpectralCause, spectralCause, unfamiliarCause } from './cause.ts';
import { Decided } from './decided.ts';
import { DEFAULT_REFERENCE } from './default-reference.ts';
import { type EvidenceWindow, informative } from './evidence.ts';
import { NO_NOVELTY, type WindowFeatures } from './features.ts';
import { QuietLearning } from './quiet-learning.ts';
import { MeanSpectrum, type SpectrumMeter } from './spectrum.ts';
import { type KeptState, keptState, restoredState, type State } from './state.ts';
import { DriftStatistics } from './statistics.ts';

/** Windows after an alarm of the statistics that decide whether it was one, and of what. */
const GATHERED = 8;
/** Share of a threshold below which a statistic is at rest: the mean of eight directions alone reaches 0.45 of it. */
const REST = 0.75;
/** Of these, so many must not be at rest. */
const CONFIRMED = 6;
/** Windows at rest after which a drift is over. */
const CALM = 64;
/** Every so many reference windows one goes into the mean spectrum: four times as many as of the windows that are compared with it, which decide how sure the comparison is. */
const SPECTRUM_EVERY = 8;
/** Windows that are passed over after a sensor was out of order. */
const SENSOR_REST = 8;
/** States of a machine that are remembered, so that going back to one is no drift. */
const KNOWN_STATES = 4;
/** Power of a channel, as a share of what it was, below which the sensor is dead, not the machine changed. */
const DEAD = 1e-4;
/** First windows of a stream that decide whether the model knows anything like it, and how many of them must be too novel. */
const FIRST = 64;
const UNFAMILIAR = 48;
/** Loss of confidence up to which another decided class counts as known, where there is no novelty score. */
const KNOWN_LOSS = 0.1;

export interface MonitorSettings {
  /** From the bundle, or from the default: windows of a baseline, and thresholds by run length. */
  readonly reference: DriftReference;
  /** Windows to a false alarm that one stream may have in the mean. */
  readonly runLength: number;
  readonly classes: number;
  /** Score above which a window is like nothing that the model knows; infinity where there is no such threshold. */
  readonly noveltyAbove: number;
  /** Evidence windows of a signal. */
  readonly evidence: number;
}

/** A window that was decided. Views are read during the call only. */
export interface ObservedWindow {
  readonly epoch: number;
  readonly endSequence: number;
  /** [classes] */
  readonly probabilities: Float32Array;
  readonly novelty: number | undefined;
  /** [E]; absent where the back-up decided, which says nothing of the primary. */
  readonly embedding: Float32Array | undefined;
  /** As the device says it. */
  readonly shaftSpeedRpm?: number | undefined;
}

/** Copies the window's samples, physical [window, channels]; false where they are gone already. */
export type ReadSamples = (into: Float32Array) => boolean;

export interface DriftFinding {
  readonly cause: SpectralCause & { readonly statistic: StatisticName };
  /** A change of operation that the decisions have outlived: nothing to repair. */
  readonly benign: boolean;
  /** 0 at the threshold, towards 1 far above it. */
  readonly severity: number;
  /** Accuracy that the probabilities promise of themselves (CBPE). */
  readonly estimatedAccuracy: { readonly before: number; readonly now: number };
  /** Class index that most windows were decided for. */
  readonly decided: { readonly before: number; readonly now: number };
  readonly evidence: readonly EvidenceWindow[];
  readonly budget: DriftBudget;
}

/** False alarms that were promised against what was said. */
export interface DriftBudget {
  /** Asked, or the longest that the reference supports. */
  readonly runLength: number;
  /** Windows of this stream that were watched, and signals of it. */
  readonly windows: number;
  readonly signals: number;
}

/**
 * Watches one stream for drift and says so once a cause.
 *
 * ```
 * learning --256 windows--> watching --a statistic above its threshold--> gathering --8 windows--> a finding, raised
 *    ^                         ^  ^------------------ not confirmed, a sensor fault, a known state ----'      |
 *    |                         '----------------------------- 64 windows at rest -----------------------------|
 *    '--------------- a change of operation, a known condition, a new model or adapter (relearn) -------------'
 * ```
 *
 * A known condition is none: another class, decided as surely as the first and no more novel than the model knows. That is what alarms are for.
 * Is wrong where a machine drifts more slowly than its statistics forget, and where it is learned while it is not itself.
 */
export class StreamMonitor {
  readonly #settings: MonitorSettings;
  readonly #thresholds: Thresholds;
  readonly #meter: SpectrumMeter;
  readonly #features: WindowFeatures;
  readonly #samples: Float32Array;
  #phase: 'learning' | 'watching' | 'gathering' | 'raised' = 'learning';
  #sum: BaselineSum | undefined;
  readonly #spectrum: MeanSpectrum;
  readonly #decided: Decided;
  #states: State[] = [];
  #cause: StatisticName = 'shift';
  #peak = 0;
  #gathered: EvidenceWindow[] = [];
  #confirmed = 0;
  #calm = 0;
  #rest = 0;
  #windows = 0;
  #signals = 0;
  /** Of the windows that are learned, those above the bundle's own threshold, and the sum of their novelty. */
  #novel = 0;
  #noveltySum = 0;

  /** @param features, samples scratch that all monitors of one thread may share; samples: [window, channels] */
  constructor(settings: MonitorSettings, meter: SpectrumMeter, features: WindowFeatures, samples: Float32Array) {
    this.#settings = settings;
    this.#thresholds = thresholdsFor(settings.reference, settings.runLength);
    this.#meter = meter;
    this.#features = features;
    this.#samples = samples;
    this.#spectrum = new MeanSpectrum(meter.channels, meter.bins);
    this.#decided = new Decided(settings.classes);
  }

  get phase(): 'learning' | 'watching' | 'gathering' | 'raised' {
    return this.#phase;
  }

  /** The states that were learned, the present one first; none while it learns the first. */
  kept(): KeptState[] {
    return this.#states.map(keptState);
  }

  /**
   * Goes on where an earlier run of the same model ended.
   *
   * @param raised whether it was in a drift that has been said
   * @throws RangeError where a state is not one of this model's
   */
  restore(states: readonly KeptState[], raised: boolean): void {
    this.#states = states.map((state) => restoredState(state, this.#meter));
    if (this.#states.length === 0) return;
    this.#watch();
    if (raised) this.#phase = 'raised';
  }

  /** Forgets how the stream was: a new model or adapter sees it otherwise, or somebody says that it is well as it is. */
  relearn(): void {
    this.#states = [];
    this.#learn();
  }

  /** The sensor is out of order: nothing is learned or found before it has been well for some windows. */
  sensorFault(): void {
    this.#rest = SENSOR_REST;
    const learning = this.#states[0]?.learning;
    learning?.statistics.clear();
    learning?.disturbed();
    if (this.#phase === 'gathering') this.#watch();
  }

  observe(window: ObservedWindow, read: ReadSamples): DriftFinding | undefined {
    if (!window.embedding) return undefined;
    if (this.#rest > 0) {
      this.#rest--;
      return undefined;
    }
    this.#windows++;
    const features = this.#features.take(window.embedding, 0, window.novelty ?? NO_NOVELTY);
    if (this.#phase === 'learning') return this.#learnFrom(window, features, read);
    const { learning } = this.#states[0];
    if (this.#phase === 'watching') {
      learning.update(features);
      const cause = exceeds(learning.statistics, this.#thresholds);
      if (cause) this.#gather(cause);
      return undefined;
    }
    learning.statistics.update(features);
    if (this.#phase === 'raised') {
      this.#calm = this.#level() < REST ? this.#calm + 1 : 0;
      if (this.#calm >= CALM) this.#watch();
      return undefined;
    }
    return this.#gatherFrom(window, features, read);
  }

  #learn(): void {
    this.#phase = 'learning';
    this.#sum = undefined;
    this.#novel = 0;
    this.#noveltySum = 0;
    this.#gathered = [];
    this.#spectrum.clear();
    this.#decided.clear();
  }

  #watch(): void {
    this.#phase = 'watching';
    this.#states[0].learning.statistics.clear();
    this.#gathered = [];
  }

  #gather(cause: StatisticName): void {
    this.#phase = 'gathering';
    this.#states[0].learning.disturbed();
    this.#cause = cause;
    this.#peak = 0;
    this.#confirmed = 0;
    this.#gathered = [];
    this.#spectrum.clear();
    this.#decided.clear();
  }

  #learnFrom(window: ObservedWindow, features: Float64Array, read: ReadSamples): DriftFinding | undefined {
    const { referenceWindows } = this.#settings.reference;
    this.#sum ??= BaselineSum.from(features);
    if (this.#sum.count % SPECTRUM_EVERY === 0 && read(this.#samples)) this.#meter.add(this.#samples, this.#spectrum);
    this.#sum.add(features);
    this.#decided.add(window);
    const novelty = window.novelty ?? NO_NOVELTY;
    if (novelty > this.#settings.noveltyAbove && this.#sum.count <= FIRST) {
      this.#novel++;
      this.#noveltySum += novelty;
      if (this.#gathered.length < GATHERED) this.#keep(window, features, read);
      if (this.#novel === UNFAMILIAR) return this.#unfamiliar();
    }
    if (this.#sum.count < referenceWindows) return undefined;
    const spectrum = new MeanSpectrum(this.#meter.channels, this.#meter.bins);
    spectrum.copyFrom(this.#spectrum);
    const { most: decided, accuracy, speed } = this.#decided;
    this.#enter({ learning: new QuietLearning(this.#sum), spectrum, decided, accuracy, speed });
    return undefined;
  }

  #enter(state: State): void {
    this.#states = [state, ...this.#states.filter((other) => other !== state)].slice(0, KNOWN_STATES);
    this.#watch();
  }

  #gatherFrom(window: ObservedWindow, features: Float64Array, read: ReadSamples): DriftFinding | undefined {
    const level = this.#level();
    this.#peak = Math.max(this.#peak, level);
    if (level >= REST) this.#confirmed++;
    this.#decided.add(window);
    if (this.#keep(window, features, read)) this.#meter.add(this.#samples, this.#spectrum);
    if (this.#gathered.length < GATHERED) return undefined;
    return this.#conclude();
  }

  /** Keeps a window for evidence. @returns false where newer samples have overwritten it: there will be others */
  #keep(window: ObservedWindow, features: Float64Array, read: ReadSamples): boolean {
    if (!read(this.#samples)) return false;
    this.#gathered.push({
      epoch: window.epoch,
      endSequence: window.endSequence,
      novelty: window.novelty ?? NO_NOVELTY,
      probabilities: window.probabilities.slice(),
      features: features.slice(),
      samples: this.#samples.slice(),
    });
    return true;
  }

  /** Says that the model knew nothing like this stream from the first, and goes on learning it. */
  #unfamiliar(): DriftFinding {
    const { most: decided, accuracy } = this.#decided;
    const finding = this.#finding({
      cause: { ...unfamiliarCause(this.#spectrum, this.#meter), statistic: 'novelty' },
      benign: false,
      severity: 1 - (this.#settings.noveltyAbove * this.#novel) / this.#noveltySum,
      estimatedAccuracy: { before: accuracy, now: accuracy },
      decided: { before: decided, now: decided },
    });
    this.#gathered = [];
    return finding;
  }

  #finding(found: Omit<DriftFinding, 'evidence' | 'budget'>): DriftFinding {
    const { reference, runLength, evidence } = this.#settings;
    return {
      ...found,
      evidence: informative(this.#gathered, evidence),
      budget: { runLength: promisedRunLength(reference, runLength), windows: this.#windows, signals: ++this.#signals },
    };
  }

  #conclude(): DriftFinding | undefined {
    const state = this.#states[0];
    const { most: now, accuracy, speed } = this.#decided;
    if (this.#confirmed < CONFIRMED || this.#dead(state.spectrum)) {
      this.#watch();
      return undefined;
    }
    const known = this.#states.find((other) => other !== state && this.#fits(other));
    if (known) {
      this.#enter(known);
      return undefined;
    }
    if (now !== state.decided && this.#isKnown(state, accuracy)) {
      this.#learn();
      return undefined;
    }
    const cause = { ...spectralCause(this.#spectrum, state.spectrum, this.#meter, speed / state.speed), statistic: this.#cause };
    const benign = cause.kind !== 'condition' && now === state.decided && this.#isKnown(state, accuracy);
    const finding = this.#finding({
      cause,
      benign,
      severity: 1 - 1 / Math.max(1, this.#peak),
      estimatedAccuracy: { before: state.accuracy, now: accuracy },
      decided: { before: state.decided, now },
    });
    this.#gathered = [];
    this.#calm = 0;
    // What is new but harmless is learned beside what was; what is not stays raised until it is gone.
    if (benign) this.#learn();
    else this.#phase = 'raised';
    return finding;
  }

  /** The larger statistic as a share of its threshold. */
  #level(): number {
    const { novelty, shift } = this.#states[0].learning.statistics;
    return Math.max(novelty / this.#thresholds.novelty, shift / this.#thresholds.shift);
  }

  /** Whether a channel has gone silent. */
  #dead({ power: before }: MeanSpectrum): boolean {
    const { channels, bins } = this.#meter;
    const sum = (power: Float64Array, channel: number) => power.subarray(channel * bins, (channel + 1) * bins).reduce((a, b) => a + b, 0);
    for (let channel = 0; channel < channels; channel++) {
      if (sum(this.#spectrum.power, channel) < DEAD * sum(before, channel)) return true;
    }
    return false;
  }

  /** Whether the gathered windows lie within another state that the stream has been in. */
  #fits({ learning }: State): boolean {
    const statistics = new DriftStatistics(learning.baseline);
    for (const { features } of this.#gathered) statistics.update(features);
    return exceeds(statistics, this.#thresholds) === undefined;
  }

  /** Whether the gathered windows are of a condition that the model knows. */
  #isKnown({ accuracy: before }: State, accuracy: number): boolean {
    const scores = this.#gathered.map(({ novelty }) => novelty).filter((novelty) => !Number.isNaN(novelty));
    if (scores.length === 0 || this.#settings.noveltyAbove === Number.POSITIVE_INFINITY) return accuracy >= before - KNOWN_LOSS;
    return scores.reduce((sum, score) => sum + score, 0) / scores.length <= this.#settings.noveltyAbove;
  }
}

/** What of an asked run length the reference can promise: calibration on few windows supports no long one. */
export function promisedRunLength({ thresholds }: DriftReference, asked: number): number {
  return Math.min(asked, thresholds[thresholds.length - 1].runLength);
}

/**
 * Thresholds for a run length. Between those that were calibrated and beyond them the threshold grows with the logarithm of the run length, as
 * that of a CUSUM does. Beyond the largest that is no promise, see {@link promisedRunLength}, but fewer alarms.
 */
export function thresholdsFor({ thresholds }: DriftReference, runLength: number): Thresholds {
  if (thresholds.length === 1) {
    // One point has no slope: it rises as those do that were measured at several.
    const [own, usual] = [thresholds[0], (windows: number) => thresholdsFor(DEFAULT_REFERENCE, windows)];
    const [there, here] = [usual(runLength), usual(own.runLength)];
    return { runLength, novelty: own.novelty + (there.novelty - here.novelty), shift: own.shift + (there.shift - here.shift) };
  }
  let at = 0;
  while (at < thresholds.length - 2 && thresholds[at + 1].runLength < runLength) at++;
  const [low, high] = [thresholds[at], thresholds[at + 1]];
  const share = Math.log(runLength / low.runLength) / Math.log(high.runLength / low.runLength);
  const between = (name: StatisticName) => low[name] + share * (high[name] - low[name]);
  return { runLength, novelty: between('novelty'), shift: between('shift') };
}
