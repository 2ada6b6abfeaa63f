import { describe, expect, it } from 'vitest';
import { BaselineSum, distance } from '../../../runtime/drift/baseline.ts';
import { calibrateDrift, measureRunLength, supportedRunLengths } from '../../../runtime/drift/calibrate.ts';
import { informative } from '../../../runtime/drift/evidence.ts';
import { FEATURES, WindowFeatures } from '../../../runtime/drift/features.ts';
import {
  type DriftFinding,
  type MonitorSettings,
  promisedRunLength,
  StreamMonitor,
  thresholdsFor,
} from '../../../runtime/drift/monitor.ts';
import { QuietLearning } from '../../../runtime/drift/quiet-learning.ts';
import { SpectrumMeter } from '../../../runtime/drift/spectrum.ts';
import { NumpyRandom } from '../../support/mersenne.ts';

const REFERENCE = {
  referenceWindows: 64,
  thresholds: [
    { runLength: 500, novelty: 4, shift: 7.5 },
    { runLength: 2000, novelty: 5, shift: 8.5 },
  ],
};
const SETTINGS: MonitorSettings = {
  reference: REFERENCE,
  runLength: 2000,
  classes: 3,
  noveltyAbove: 4,
  evidence: 3,
};

/** What a made-up machine looks like: how far its embedding lies from home, its class and its novelty, and its amplitude. */
interface Look {
  readonly away?: number;
  readonly decided?: number;
  readonly novelty?: number;
  readonly gain?: number;
  /** A tone beside the noise, in Hz. */
  readonly tone?: number;
}

class MadeUpStream {
  readonly #random = new NumpyRandom(4);
  readonly monitor: StreamMonitor;
  #sequence = 0;

  constructor(settings = SETTINGS) {
    const meter = new SpectrumMeter({ window: 512, channels: 1, sampleRateHz: 1000 });
    this.monitor = new StreamMonitor(settings, meter, new WindowFeatures(16), new Float32Array(512));
  }

  send(windows: number, { away = 0, decided = 0, novelty = 2, gain = 1, tone = 0 }: Look = {}): DriftFinding[] {
    const found: DriftFinding[] = [];
    for (let window = 0; window < windows; window++) {
      this.#sequence += 256;
      const embedding = Float32Array.from({ length: 16 }, (_, at) => this.#random.normal(at === 0 ? away : 0));
      const finding = this.monitor.observe(
        {
          epoch: 1,
          endSequence: this.#sequence,
          probabilities: Float32Array.from({ length: 3 }, (_, at) => (at === decided ? 0.9 : 0.05)),
          novelty: novelty * Math.exp(0.1 * this.#random.normal()),
          embedding,
        },
        (into) => {
          for (let t = 0; t < 512; t++) into[t] = gain * this.#random.normal() + (tone ? 3 * Math.sin((2 * Math.PI * tone * t) / 1000) : 0);
          return true;
        },
      );
      if (finding) found.push(finding);
    }
    return found;
  }
}

describe('the monitor of a stream', () => {
  it('says nothing while it learns, and nothing while nothing changes', () => {
    const stream = new MadeUpStream();
    expect(stream.send(64)).toEqual([]);
    expect(stream.monitor.phase).toBe('watching');
    expect(stream.send(200)).toEqual([]);
  });

  it('says a drift once, where it lies and how sure it is, and again only when it was gone', () => {
    const stream = new MadeUpStream();
    stream.send(64);
    const changed = { away: 12, novelty: 9, tone: 125 };
    const [finding, ...more] = stream.send(300, changed);
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ benign: false, cause: { kind: 'condition', channel: 0 }, decided: { before: 0, now: 0 } });
    expect(finding.cause.bandHz[0]).toBeLessThanOrEqual(125);
    expect(finding.cause.bandHz[1]).toBeGreaterThanOrEqual(125);
    expect(finding.cause.changeDb).toBeGreaterThan(6);
    expect(finding.severity).toBeGreaterThan(0);
    expect(finding.evidence).toHaveLength(3);
    expect(stream.send(200)).toEqual([]);
    expect(stream.monitor.phase).toBe('watching');
    expect(stream.send(40, changed)).toHaveLength(1);
  });

  it('takes a change of level that decisions outlive for one of operation, and the way back for none', () => {
    const stream = new MadeUpStream();
    stream.send(64);
    const louder = { away: 12, gain: 3 };
    const [finding, ...more] = stream.send(40 + 64, louder);
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ benign: true, cause: { kind: 'level' } });
    expect(stream.monitor.phase).toBe('watching');
    expect(stream.send(100)).toEqual([]);
    expect(stream.send(100, louder)).toEqual([]);
  });

  it('leaves a condition that the model knows to the alarms', () => {
    const stream = new MadeUpStream();
    stream.send(64);
    expect(stream.send(64 + 40, { away: 12, decided: 2, tone: 80 })).toEqual([]);
    const unknown = new MadeUpStream();
    unknown.send(64);
    expect(unknown.send(40, { away: 12, decided: 2, tone: 80, novelty: 9 })).toHaveLength(1);
  });

  it('finds nothing while the sensor is out of order, nor in a dead channel', () => {
    const stream = new MadeUpStream();
    stream.send(64);
    for (let at = 0; at < 40; at++) {
      stream.monitor.sensorFault();
      expect(stream.send(1, { away: 12, novelty: 9 })).toEqual([]);
    }
    expect(new MadeUpStream().send(64).concat(stream.send(60, { away: 12, novelty: 9, gain: 1e-4 }))).toEqual([]);
  });

  it('says of a stream that the model knows nothing like it from its first window, once, and learns it all the same', () => {
    const stream = new MadeUpStream({ ...SETTINGS, reference: { ...REFERENCE, referenceWindows: 128 } });
    const [finding, ...more] = stream.send(300, { novelty: 9, tone: 125 });
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ benign: false, cause: { kind: 'unfamiliar', statistic: 'novelty', channel: 0 } });
    expect(finding.cause.bandHz[0]).toBeLessThanOrEqual(125);
    expect(finding.cause.bandHz[1]).toBeGreaterThanOrEqual(125);
    expect(finding.evidence).toHaveLength(3);
    expect(stream.monitor.phase).toBe('watching');
  });

  it('does not take windows of the back-up for anything', () => {
    const stream = new MadeUpStream();
    stream.send(63);
    const none = { epoch: 1, endSequence: 1, probabilities: new Float32Array(3), novelty: undefined, embedding: undefined };
    expect(stream.monitor.observe(none, () => true)).toBeUndefined();
    expect(stream.monitor.phase).toBe('learning');
  });

  it('learns anew when it is told to', () => {
    const stream = new MadeUpStream();
    stream.send(64);
    stream.monitor.relearn();
    expect(stream.send(64 + 100, { away: 12 })).toEqual([]);
  });
});

it('thresholds between and beyond the calibrated ones grow with the logarithm of the run length', () => {
  expect(thresholdsFor(REFERENCE, 500)).toEqual(REFERENCE.thresholds[0]);
  expect(thresholdsFor(REFERENCE, 1000).shift).toBeCloseTo(8, 9);
  expect(thresholdsFor(REFERENCE, 8000)).toEqual({ runLength: 8000, novelty: 6, shift: 9.5 });
  // One point alone rises too: a longer run length never has the threshold of a shorter one.
  const single = { ...REFERENCE, thresholds: REFERENCE.thresholds.slice(0, 1) };
  expect(thresholdsFor(single, 500)).toEqual(REFERENCE.thresholds[0]);
  expect(thresholdsFor(single, 8000).shift).toBeGreaterThan(REFERENCE.thresholds[0].shift);
});

it('promises no longer run length than was calibrated', () => {
  expect(promisedRunLength(REFERENCE, 1000)).toBe(1000);
  expect(promisedRunLength(REFERENCE, 20_000)).toBe(2000);
});

it('chooses evidence that differs, the most novel first', () => {
  const window = (endSequence: number, novelty: number, place: number) => ({
    epoch: 0,
    endSequence,
    novelty,
    probabilities: new Float32Array(2),
    features: new Float64Array(FEATURES).fill(place),
    samples: new Float32Array(1),
  });
  const windows = [window(1, 5, 0), window(2, 6, 0.1), window(3, 1, 9), window(4, 2, 4.5)];
  expect(informative(windows, 3).map(({ endSequence }) => endSequence)).toEqual([2, 3, 4]);
});

it('supports run lengths as long as there are windows for', () => {
  const stream = (windows: number) => [new Float64Array(windows * FEATURES)];
  expect(supportedRunLengths([stream(300), stream(300)])).toEqual([240]);
  expect(supportedRunLengths([stream(4000)])).toEqual([500, 1600]);
  expect(supportedRunLengths([stream(60_000)])).toEqual([500, 2000, 24_000]);
  expect(supportedRunLengths([stream(300_000)])).toEqual([500, 2000, 20_000, 100_000]);
});

describe('a baseline that learns in quiet', () => {
  const random = new NumpyRandom(6);
  const window = (away: number) => random.normals(0, 1, FEATURES).map((value) => value + away);
  const learned = () => {
    const sum = BaselineSum.from(window(0));
    for (let at = 0; at < 256; at++) sum.add(window(0));
    return new QuietLearning(sum);
  };

  it('comes to know a state that the first minute did not have', () => {
    const learning = learned();
    for (let at = 0; at < 2048; at++) learning.update(window(at % 200 < 100 ? 0 : 0.5));
    expect(learning.baseline.mean[1]).toBeGreaterThan(0.1);
  });

  it('does not learn what came shortly before an alarm', () => {
    const learning = learned();
    for (let at = 0; at < 511; at++) learning.update(window(0.5));
    learning.disturbed();
    for (let at = 0; at < 511; at++) learning.update(window(0.5));
    expect(learning.sum).toBe(learning.firstSum);
  });

  it('does not follow a machine that creeps away, and finds it in the end', () => {
    const learning = learned();
    let highest = 0;
    for (let at = 0; at < 20_000; at++) {
      learning.update(window(at / 4000));
      highest = Math.max(highest, learning.statistics.shift);
    }
    expect(distance(learning.baseline.mean, learning.first)).toBeLessThan(2);
    expect(highest).toBeGreaterThan(7.1);
  });
});

describe('calibration', () => {
  /** AR(1) windows, each stream at a place of its own. */
  const streams = (seed: number, keep: number) => {
    const random = new NumpyRandom(seed);
    return Array.from({ length: 6 }, () => {
      const rows = new Float64Array(2000 * FEATURES);
      const home = random.normals(0, 5, FEATURES);
      const state = new Float64Array(FEATURES);
      for (let row = 0; row < 2000; row++) {
        for (let at = 0; at < FEATURES; at++) {
          state[at] = keep * state[at] + Math.sqrt(1 - keep * keep) * random.normal();
          rows[row * FEATURES + at] = home[at] + state[at];
        }
      }
      return [rows];
    });
  };
  const below = (seed: number) => {
    const random = new NumpyRandom(seed);
    return (bound: number) => random.below(bound);
  };

  it.each([
    [0, 256, 'drawn in blocks'],
    [0.5, 256, 'drawn in blocks'],
    [0.5, 64, 'taken as they came'],
  ])('keeps its promise on other streams whose windows follow each other by %d, baselines of %d, %s', (keep, referenceWindows) => {
    const options = { runs: 200, referenceWindows, below: below(1) };
    const { thresholds } = calibrateDrift(streams(1, keep), { ...options, runLengths: [200] });
    const measured = measureRunLength(streams(2, keep), thresholds[0], { ...options, below: below(2) });
    expect(measured / 200).toBeGreaterThan(0.75);
    expect(measured / 200).toBeLessThan(1.3);
  });

  it('asks more of windows that follow each other', () => {
    const shift = (keep: number) => calibrateDrift(streams(1, keep), { runs: 100, runLengths: [200], below: below(1) }).thresholds[0].shift;
    expect(shift(0.7)).toBeGreaterThan(1.2 * shift(0));
  });
});
