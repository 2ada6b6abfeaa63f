import { readBundle } from '../../models/bundle/bundle.ts';
import { Random } from '../../models/networks/random.ts';
import { BaselineSum } from '../../runtime/drift/baseline.ts';
import {
  type CalibrationStream,
  calibrateDrift,
  type DriftReference,
  exceeds,
  measureRunLength,
  type Thresholds,
} from '../../runtime/drift/calibrate.ts';
import { FEATURES } from '../../runtime/drift/features.ts';
import { QuietLearning } from '../../runtime/drift/quiet-learning.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';
import { alternateBlocks, type ScoredRecording, type ScoredSet, scoreCwru, scoreSimulated } from './drift-data.ts';

/** Windows a second of a stream at 1 kHz and a stride of 256. */
const WINDOWS_A_SECOND = 1000 / 256;
const REFERENCE = 256;
/** Windows within which a shift is to be found. */
const SOON = 60;
/** Lengths of the blocks that alternate between calibration and measurement. */
const BLOCKS = [24, 32, 48];

const below = (seed: number) => {
  const random = new Random(seed);
  return (bound: number) => random.below(bound);
};

const KNOWN: Record<string, { readonly known: readonly string[]; readonly shifted: readonly string[] }> = {
  'all loads, shift: clock position': { known: ['role=main'], shifted: ['role=shift'] },
  'load 0, shift: other loads': { known: ['role=main', 'load_hp=0'], shifted: ['role=main', 'load_hp=1,2,3'] },
  'load 2, shift: other loads': { known: ['role=main', 'load_hp=2'], shifted: ['role=main', 'load_hp=0,1,3'] },
};

/** Trained and scored once for all scenarios of a run. */
const scored = new Map<string, Promise<ScoredSet>>();

function cwru(name: string, { progress }: Context): Promise<ScoredSet> | undefined {
  const { TREMOLO_DATA } = process.env;
  if (!TREMOLO_DATA) return undefined;
  progress(`cwru12, ${name}`);
  const found = scored.get(name) ?? scoreCwru(TREMOLO_DATA, KNOWN[name].known, KNOWN[name].shifted);
  scored.set(name, found);
  return found;
}

/** What a run length means for a plant. */
const fleetRate = (runLength: number) => ({
  'fleet of 1,000 streams, false alarms a second': Number(((1000 * WINDOWS_A_SECOND) / runLength).toPrecision(2)),
  'a stream, false alarms a day': Number(((86_400 * WINDOWS_A_SECOND) / runLength).toPrecision(2)),
});

const NO_DATA: Skipped = { skipped: 'TREMOLO_DATA does not name the folder of the real recording sets' };
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Calibrated on one half of the blocks of every recording and measured on the other, both ways round. */
async function realRunLength(context: Context, runLength: number): Promise<Measured | Skipped> {
  const details: Record<string, string | number> = {};
  const all: number[] = [];
  for (const name of Object.keys(KNOWN)) {
    const set = await cwru(name, context);
    if (!set) return NO_DATA;
    const measured: number[] = [];
    for (const block of BLOCKS) {
      for (const first of [0, 1] as const) {
        const half = (which: 0 | 1): CalibrationStream[] => set.held.map(({ features }) => alternateBlocks(features, block, which));
        const runs = context.quick ? 100 : 400;
        const { thresholds } = calibrateDrift(half(first), { runLengths: [runLength], runs, below: below(block + first) });
        measured.push(measureRunLength(half(first === 0 ? 1 : 0), thresholds[0], { runs, below: below(1000 + block + first) }));
      }
    }
    all.push(...measured);
    details[name] =
      `mean ${mean(measured).toFixed(0)}, ${BLOCKS.map((block, at) => `blocks of ${block}: ${measured[2 * at].toFixed(0)} and ${measured[2 * at + 1].toFixed(0)}`).join('; ')}`;
  }
  const found = mean(all);
  return { figure: found / runLength, samples: all.length, details: { ...details, ...fleetRate(found) } };
}

/** Streams of simulated machines as they come: alarm, new baseline, on; windows watched for each alarm. */
function watched(streams: readonly Float64Array[], thresholds: Thresholds): { windows: number; alarms: number } {
  let [windows, alarms] = [0, 0];
  for (const features of streams) {
    const count = features.length / FEATURES;
    for (let at = 0; at + REFERENCE < count; ) {
      const sum = BaselineSum.from(features, at * FEATURES);
      for (const end = at + REFERENCE; at < end; at++) sum.add(features, at * FEATURES);
      const learning = new QuietLearning(sum);
      for (let alarm = false; at < count && !alarm; at++) {
        learning.update(features, at * FEATURES);
        windows++;
        alarm = exceeds(learning.statistics, thresholds) !== undefined;
        if (alarm) alarms++;
      }
    }
  }
  return { windows, alarms };
}

/** Simulated once for all run lengths. */
let simulated: Promise<{ readonly reference: DriftReference; readonly live: readonly Float64Array[] }> | undefined;

async function simulate({ quick, root, progress }: Context): Promise<{ reference: DriftReference; live: readonly Float64Array[] }> {
  const { manifest } = await readBundle(`${root}models/shipped/plant`);
  if (!manifest.drift) throw new Error('the shipped bundle has no drift thresholds of its own');
  // Few streams that are long: a stream that ends before its alarm makes the run length look shorter.
  const [machines, windows] = quick ? [4, 1000] : [60, 12_000];
  progress(`simulating ${machines * windows} windows`);
  const seeds = Array.from({ length: machines }, (_, at) => 2000 + at);
  return { reference: manifest.drift, live: await scoreSimulated(root, seeds, windows) };
}

async function simulatedRunLength(context: Context, asked: number): Promise<Measured | Skipped> {
  simulated ??= simulate(context);
  const { reference, live } = await simulated;
  const own = reference.thresholds.find(({ runLength }) => runLength === asked);
  if (!own) return { skipped: `the shipped bundle promises ${reference.thresholds.at(-1)!.runLength}` };
  const { windows, alarms } = watched(live, own);
  const runLength = windows / Math.max(1, alarms);
  return {
    figure: runLength / asked,
    samples: windows,
    details: {
      'windows to an alarm': Math.round(runLength),
      alarms,
      'standard error of the figure': Number((runLength / asked / Math.sqrt(Math.max(1, alarms))).toFixed(2)),
      'thresholds of novelty and shift': `${own.novelty.toFixed(2)} and ${own.shift.toFixed(2)}`,
      ...fleetRate(runLength),
    },
  };
}

/** The recording that a shifted one was before: the same fault, at the same load where there is one. */
function before({ label, load }: ScoredRecording, held: readonly ScoredRecording[]): ScoredRecording | undefined {
  const fault = label.replace(/@.*/, '');
  const same = held.filter((one) => one.label.replace(/@.*/, '') === fault);
  return same.find((one) => one.load === load) ?? same[0];
}

/** Shares of shifts that are found soon, at a run length of 2,000. */
async function realDelay(context: Context, name: string): Promise<Measured | Skipped> {
  const set = await cwru(name, context);
  if (!set) return NO_DATA;
  const { thresholds } = calibrateDrift(
    set.held.map(({ features }) => [features]),
    { runLengths: [2000], runs: context.quick ? 100 : 400, below: below(1) },
  );
  const delays: number[] = [];
  for (const recording of set.shifted) {
    const known = before(recording, set.held);
    if (!known) continue;
    const sum = BaselineSum.from(known.features);
    for (let at = 0; at < Math.min(REFERENCE, known.features.length / FEATURES); at++) sum.add(known.features, at * FEATURES);
    // Each stretch of a recording is a shift of its own: the machine runs as it did, and from one window to the next as it does now.
    for (let from = 0; (from + SOON) * FEATURES <= recording.features.length; from += SOON) {
      const { statistics } = new QuietLearning(sum);
      let delay = Number.POSITIVE_INFINITY;
      for (let at = 0; at < SOON && delay > SOON; at++) {
        statistics.update(recording.features, (from + at) * FEATURES);
        if (exceeds(statistics, thresholds[0])) delay = at + 1;
      }
      delays.push(delay);
    }
  }
  delays.sort((a, b) => a - b);
  const quantile = (share: number) => String(delays[Math.ceil(share * delays.length) - 1]);
  return {
    figure: delays.filter((delay) => delay <= SOON).length / delays.length,
    samples: delays.length,
    details: {
      'median delay, windows': quantile(0.5),
      '95 % within': quantile(0.95),
      'a detector that always fires': 'finds 1, delay 1, run length 1',
      'the asked run length': 2000,
    },
  };
}

/** Run lengths are to be within a fifth of the asked ones: a ratio from 0.8 to 1.2, for which there is no one-sided target. */
export const DRIFT: readonly Scenario[] = [
  ...[500, 2000].map(
    (runLength): Scenario => ({
      id: `drift.run-length.cwru12.${runLength}`,
      what: `cwru12, windows to a false alarm where ${runLength} were asked, calibrated and measured on alternate blocks: measured over asked, mean of three models`,
      unit: '',
      measure: (context) => realRunLength(context, runLength),
    }),
  ),
  ...[500, 2000, 20_000, 100_000].map(
    (runLength): Scenario => ({
      id: `drift.run-length.simulator.${runLength}`,
      what: `shipped bundle, healthy simulated machines with changing load and speed that neither training nor calibration saw, windows to a false alarm where ${runLength} were asked: measured over asked`,
      unit: '',
      measure: (context) => simulatedRunLength(context, runLength),
    }),
  ),
  ...Object.keys(KNOWN).map(
    (name, at): Scenario => ({
      id: `drift.delay.cwru12.${['clock', 'load0', 'load2'][at]}`,
      what: `cwru12, ${name}: share of shifts found within ${SOON} windows at a run length of 2,000`,
      unit: '',
      target: { atLeast: 0.95 },
      measure: (context) => realDelay(context, name),
    }),
  ),
];
