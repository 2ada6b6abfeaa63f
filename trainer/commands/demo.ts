import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SAMPLE_RATE_HZ } from '../../firmware-bridge/simulator/pure/index.ts';
import { readBundle } from '../../models/bundle/bundle.ts';
import { writeWhole } from '../../runtime/io/whole-file.ts';
import { VERSION } from '../../runtime/version.ts';
import { readPieces } from '../data/pieces.ts';
import { parseCondition, type Recording, type RecordingSet } from '../data/recording-set.ts';
import { splitRecordings } from '../data/split.ts';
import { demonstrateLoop, type LoopScene, plantScene, recordedScene } from '../demo/loop/demo-loop.ts';
import { parseShift, type Shift } from '../demo/loop/recordings.ts';
import { playSession, type SessionResult } from '../demo/session.ts';
import { type DemoSensor, recordedSensor, simulatedPlant } from '../demo/sources.ts';
import { describeAlarm, LiveBlock, renderAlarms, renderMachines } from '../demo/view.ts';
import { Refusal } from '../refusal.ts';
import { readFitting } from '../replay/replay-set.ts';
import { trainBundle } from '../train/pipeline.ts';
import { DEFAULT_CHOICES, type PipelineChoices } from '../train/settings.ts';
import { cacheFolder } from '../train/stages.ts';
import { DEFAULT_SETTINGS } from '../train/train-network.ts';
import type { PipelineRequest } from '../train/workspace.ts';
import { type Command, choiceOption, numberOption, type ParsedArguments, textOption } from './command.ts';
import { channelsOption, chosenSet, rateOption, SELECTION_HELP, SELECTION_OPTIONS } from './selection.ts';
import { pipelineRequest, TRAINING_OPTIONS, trainReport } from './train.ts';

/** What a sensor of the simulated plant sends. */
const PLANT = { channels: 3, sampleRateHz: SAMPLE_RATE_HZ };
/** The bundle that the package ships for the simulated plant. */
const SHIPPED = fileURLToPath(new URL('../models/shipped/plant', import.meta.url));
const PROGRAMS = new URL('./', import.meta.url);
/**
 * A demonstration wants a bundle within half a minute: the student alone.
 */
const QUICK: PipelineChoices = {
  ...DEFAULT_CHOICES,
  choose: false,
  teacher: false,
  prune: false,
  robustness: false,
  baselines: ['ridge'],
};

/** Times real time that the loop is played at. */
const [LOOP_SPEED, FAST_SPEED] = [2, 12];

interface Prepared {
  readonly bundleFolder: string;
  readonly sensors: DemoSensor[];
  /** What training reported; absent for the shipped bundle. */
  readonly training?: Record<string, unknown>;
}

/** Trains quickly, or takes the bundle that the same data and settings gave before. */
async function quickBundle(
  set: RecordingSet,
  settings: PipelineRequest,
  signal: AbortSignal,
): Promise<{ readonly bundleFolder: string; readonly training: Record<string, unknown> }> {
  const key = createHash('sha256')
    .update(JSON.stringify([VERSION, set.recordings, settings, await fileStamps(set)]))
    .digest('hex')
    .slice(0, 16);
  const bundleFolder = join(cacheFolder(), `demo-${key}`);
  const reportFile = `${bundleFolder}.json`;
  let training = await cachedReport(bundleFolder, reportFile);
  if (training) {
    process.stderr.write(`the bundle of this data and these settings is in the cache: ${bundleFolder}\n`);
  } else {
    training = trainReport(await trainBundle(set, bundleFolder, settings, signal));
    await writeWhole(reportFile, JSON.stringify(training));
  }
  return { bundleFolder, training };
}

/** Trains on all but the test part. */
async function prepareRecordings(set: RecordingSet, args: ParsedArguments, machines: number, signal: AbortSignal): Promise<Prepared> {
  const settings = pipelineRequest(args, set.name, QUICK);
  const { bundleFolder, training } = await quickBundle(set, settings, signal);
  const { test } = splitRecordings(set.recordings, settings.split);
  const recordings = await readPieces(set, test, settings.channels, settings.rateHz);
  return { bundleFolder, sensors: recordedSensors(recordings, machines), training };
}

/** Trains on the recordings of one value of a condition; plays these, then those of another. */
async function recordedLoop(set: RecordingSet, { field, from, to }: Shift, args: ParsedArguments, signal: AbortSignal): Promise<LoopScene> {
  const of = (...values: number[]): RecordingSet => ({
    ...set,
    recordings: set.recordings.filter((one) => values.includes(Number(one[field]))),
  });
  // What comes after the change is the test: nothing is trained on it.
  const split = { kind: 'condition', condition: parseCondition(`${field}=${to}`) } as const;
  const { bundleFolder } = await quickBundle(of(from, to), { ...pipelineRequest(args, set.name, QUICK), split }, signal);
  const { recipe } = (await readBundle(bundleFolder)).manifest;
  const how = { channels: channelsOption(args), rateHz: rateOption(args) };
  const read = (value: number) => Promise.all(of(value).recordings.map((entry) => readFitting(set, entry, recipe, how)));
  const [before, after] = [await read(from), await read(to)];
  return recordedScene(bundleFolder, before, after, `${field} goes from ${from} to ${to}`, scaleOf([...before, ...after]));
}

/** All chosen recordings, for a bundle that is there. */
async function prepareBundle(folder: string, bundleFolder: string, args: ParsedArguments, machines: number): Promise<Prepared> {
  const [set, { manifest }] = [await chosenSet(folder, args), await readBundle(bundleFolder)];
  const how = { channels: channelsOption(args), rateHz: rateOption(args) };
  const recordings: Recording[] = [];
  for (const entry of set.recordings) recordings.push(await readFitting(set, entry, manifest.recipe, how));
  return { bundleFolder, sensors: recordedSensors(recordings, machines) };
}

/** The simulated plant, for a bundle that can read its sensors. */
async function preparePlant(bundleFolder: string, machines: number, seconds: number, seed: number): Promise<Prepared> {
  const window = await plantWindow(bundleFolder);
  return { bundleFolder, sensors: simulatedPlant(machines, seconds, seed, window) };
}

/** Samples of a bundle's window. @throws Refusal demo/bundle where it cannot read the plant's sensors */
async function plantWindow(bundleFolder: string): Promise<number> {
  const { window, channels, sampleRateHz } = (await readBundle(bundleFolder)).manifest.recipe;
  if (channels.length !== PLANT.channels || sampleRateHz !== PLANT.sampleRateHz)
    throw new Refusal(
      'demo/bundle',
      `${bundleFolder} reads ${channels.length} channels at ${sampleRateHz} Hz, the simulated plant has ${PLANT.channels} at ${PLANT.sampleRateHz} Hz; name recordings with --data`,
    );
  return window;
}

/** Size and time of every recording's file: what is in the cache was trained on these very files. */
async function fileStamps(set: RecordingSet): Promise<string[]> {
  const stamp = async (file: string) =>
    stat(join(set.folder, file)).then(
      ({ size, mtimeMs }) => `${size}@${mtimeMs}`,
      () => 'missing',
    );
  return Promise.all(set.recordings.map(({ file }) => stamp(file)));
}

/** What training reported of a cached bundle; undefined where there is none that can be used. */
async function cachedReport(bundleFolder: string, reportFile: string): Promise<Record<string, unknown> | undefined> {
  try {
    await readBundle(bundleFolder);
    return JSON.parse(await readFile(reportFile, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Samples read at a time to find the largest. */
const SCALE_STRETCH = 4096;

/** One range for all, as one make of sensor has. */
function scaleOf(recordings: readonly Recording[]): number {
  let largest = 1e-9;
  for (const { read, length } of recordings) {
    for (let at = 0; at < length; at += SCALE_STRETCH) {
      for (const value of read(at, Math.min(SCALE_STRETCH, length - at))) largest = Math.max(largest, Math.abs(value));
    }
  }
  return Math.fround(largest / 32_767);
}

/** Recordings, dealt out to so many sensors. */
function recordedSensors(recordings: readonly Recording[], machines: number): DemoSensor[] {
  const scale = scaleOf(recordings);
  const count = Math.min(machines, recordings.length);
  return Array.from({ length: count }, (_, index) =>
    recordedSensor(
      `sensor-${index + 1}`,
      index,
      recordings.filter((_recording, at) => at % count === index),
      scale,
    ),
  );
}

function percentile(ascending: readonly number[], share: number): number {
  return ascending[Math.min(ascending.length - 1, Math.floor(share * ascending.length))] ?? Number.NaN;
}

function summary(result: SessionResult): Record<string, unknown> {
  const { windows, judged, right, latenciesMs, byClass, alarms, ledger, status } = result;
  const recalls = Object.values(byClass).map((entry) => entry.right / entry.judged);
  return {
    windows,
    judged,
    accuracy: right / judged,
    balancedAccuracy: recalls.reduce((a, b) => a + b, 0) / recalls.length,
    byClass,
    latencyMs: { p50: percentile(latenciesMs, 0.5), p99: percentile(latenciesMs, 0.99), max: latenciesMs.at(-1) },
    alarms,
    ledger,
    bundle: status.bundle,
    engine: status.engine,
  };
}

/** Options that mean something only with recordings, and those only without. */
const WITH_DATA = ['shift', ...Object.keys(SELECTION_OPTIONS), ...Object.keys(TRAINING_OPTIONS)].filter((name) => name !== 'seed');
const WITHOUT_DATA = ['seconds'];
/** Options of the whole loop, which --seconds leaves out. */
const OF_LOOP = ['fast', 'keep'];
/** Of those with recordings, the ones that only training reads. */
const TRAINING = ['test', 'group', 'block', 'reference', 'reference-shots', ...Object.keys(TRAINING_OPTIONS)];

/** An option that changes nothing would leave its user with a wrong belief. @throws Refusal usage/arguments */
function refuseUnused(args: ParsedArguments, data: string | undefined, bundle: string | undefined): void {
  const untrained = data && bundle && TRAINING.find((name) => args.values[name] !== undefined);
  if (untrained) throw new Refusal('usage/arguments', `--${untrained} is for training; --bundle names a bundle that is trained`);
  const loopless = args.values.seconds !== undefined && OF_LOOP.find((name) => args.values[name] !== undefined);
  if (loopless) throw new Refusal('usage/arguments', `--${loopless} is for the whole loop, which --seconds leaves out`);
  const unused = (data ? WITHOUT_DATA : WITH_DATA).find((name) => args.values[name] !== undefined);
  if (!unused) return;
  throw new Refusal(
    'usage/arguments',
    data
      ? `--${unused} is for the simulated plant; recordings have their own length`
      : `--${unused} is for recordings: name them with --data`,
  );
}

export const demo: Command = {
  verb: 'demo',
  summary: 'watch sensors, broker and gateway decide (= npm start)',
  help: `usage: tremolo demo [options]

Starts a broker, a gateway in its own process, a server in another, and sensors that send frames over MQTT and over a serial
line (a pty); shows each decision beside the truth. One machine of the simulated plant falls ill and its alarm comes; another
comes back from an overhaul with another make of bearing and another speed: decisions degrade, a drift signal comes, an
operator labels three windows, the gateway adapts; the server retrains, signs and pushes. Ends when an observer has seen
the loop close in the broker's traffic and on the disks (exit 1 where it did not).

With --seconds it ends before all that, with accuracy and latency. With --data a bundle is trained on recordings and decides
those held out, or with --bundle a bundle that is there decides all that are chosen.

  --data SET                  a recording set
  --bundle FOLDER             the bundle that decides: nothing is trained
${SELECTION_HELP}
  --machines N                sensors (default 4)
  --seconds S                 no loop: simulate so many seconds (not with --data)
  --speed X                   send X times faster than real time (default 1; ${LOOP_SPEED} for the loop)
  --fast                      the loop at ${FAST_SPEED} times real time, in less than a minute
  --shift FIELD=FROM,TO       with --data: train at one value of a condition, play that, then another, and adapt
  --keep DIR                  leaves traffic, truth and states of the loop in DIR
  --steps N                   training steps (default ${DEFAULT_SETTINGS.steps})
  --engine NAME               onnxruntime (default) or wasm
  --seed N                    (default 1)

example: tremolo demo --data recordings --speed 10`,
  options: {
    ...SELECTION_OPTIONS,
    ...TRAINING_OPTIONS,
    data: { type: 'string' },
    bundle: { type: 'string' },
    machines: { type: 'string' },
    seconds: { type: 'string' },
    fast: { type: 'boolean' },
    keep: { type: 'string' },
    shift: { type: 'string' },
    speed: { type: 'string' },
    engine: { type: 'string' },
  },
  positionals: 0,
  async run(args, signal) {
    const machines = numberOption(args, 'machines', 4, { min: 1, max: 64, whole: true });
    const fast = args.values.fast === true;
    const isPlantLoop = args.values.data === undefined && args.values.seconds === undefined;
    const usualSpeed = isPlantLoop ? (fast ? FAST_SPEED : LOOP_SPEED) : 1;
    const speed = numberOption(args, 'speed', usualSpeed, { min: 0.01, max: 1000 });
    const seconds = numberOption(args, 'seconds', 24, { min: 2, max: 86_400 });
    const seed = numberOption(args, 'seed', 1, { max: 2 ** 32 - 1, whole: true });
    const engine = choiceOption(args, 'engine', ['onnxruntime', 'wasm'] as const);
    const data = textOption(args, 'data');
    const bundle = textOption(args, 'bundle');
    refuseUnused(args, data, bundle);
    const isLive = process.stdout.isTTY && !args.values.json;
    const set = data === undefined ? undefined : await chosenSet(resolve(data), args);
    const shiftText = textOption(args, 'shift');
    const shift = set && shiftText !== undefined ? parseShift(shiftText, set.recordings) : undefined;
    if (shift || isPlantLoop) {
      const stage = (folder: string): Promise<LoopScene> =>
        set && shift ? recordedLoop(set, shift, args, signal) : plantScene(resolve(bundle ?? SHIPPED), { machines, seed }, folder, signal);
      if (isPlantLoop) await plantWindow(resolve(bundle ?? SHIPPED));
      const result = await demonstrateLoop(
        stage,
        { speed, fast, engine, programs: PROGRAMS, keep: textOption(args, 'keep'), live: isLive },
        signal,
      );
      if (!result.loopClosed) process.exitCode = 1;
      return { ...result };
    }
    let prepared: Prepared;
    if (data && bundle) prepared = await prepareBundle(resolve(data), resolve(bundle), args, machines);
    else if (set) prepared = await prepareRecordings(set, args, machines, signal);
    else prepared = await preparePlant(resolve(bundle ?? SHIPPED), machines, seconds, seed);
    const live = isLive ? new LiveBlock(process.stdout) : undefined;
    const result = await playSession(
      prepared.sensors,
      prepared.bundleFolder,
      { speed, programs: PROGRAMS, engine },
      (machineLines, alarms) => live?.draw([...renderMachines(machineLines, true), ...renderAlarms(alarms)]),
      signal,
    );
    const report = summary(result);
    const { p50, p99 } = report.latencyMs as Record<string, number>;
    const { windowsExpected, windowsDecided, windowsRefused } = result.ledger;
    const refused = Object.entries(windowsRefused).filter(([, count]) => count > 0);
    const lines = [
      // On a terminal the last of them stand there already.
      ...(live ? [] : result.alarms.map(describeAlarm)),
      `${result.judged} of ${result.windows} windows have a known truth; decided right: ${(100 * (report.accuracy as number)).toFixed(1)} % (balanced ${(100 * (report.balancedAccuracy as number)).toFixed(1)} %)`,
      `last sample sent to decision received: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
      `ledger: ${windowsExpected} windows expected, ${windowsDecided} decided${refused.map(([cause, count]) => `, ${count} refused (${cause})`).join('')}, ${result.ledger.samplesLost} samples lost; engine ${result.status.engine?.name} ${result.status.engine?.version}`,
    ];
    const baselines = prepared.training?.baselines as { ridge: { accuracy: number } } | undefined;
    if (baselines) lines.push(`ridge on the log spectrum, same recordings: ${(100 * baselines.ridge.accuracy).toFixed(1)} %`);
    process.stdout.write(`${lines.join('\n')}\n`);
    return { ...report, ...(prepared.training && { training: prepared.training }) };
  },
};
