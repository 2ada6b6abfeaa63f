import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SAMPLE_RATE_HZ } from '../../firmware-bridge/simulator/pure/index.ts';
import { readBundle } from '../../models/bundle/bundle.ts';
import { readPieces } from '../data/pieces.ts';
import type { Recording, RecordingSet } from '../data/recording-set.ts';
import { splitRecordings } from '../data/split.ts';
import { demonstrateLoop, type LoopScene, plantScene } from '../demo/loop/demo-loop.ts';
import { playSession, type SessionResult } from '../demo/session.ts';
import { type DemoSensor, recordedSensor, simulatedPlant } from '../demo/sources.ts';
import { describeAlarm, LiveBlock, renderAlarms, renderMachines } from '../demo/view.ts';
import { Refusal } from '../refusal.ts';
import { readFitting } from '../replay/replay-set.ts';
import { DEFAULT_SETTINGS } from '../train/train-network.ts';
import { type Command, choiceOption, numberOption, type ParsedArguments, textOption } from './command.ts';
import { chooseChange, QUICK, quickBundle, recordedLoop, scaleOf } from './demo-recordings.ts';
import { channelsOption, chosenSet, rateOption, SELECTION_HELP, SELECTION_OPTIONS } from './selection.ts';
import { pipelineRequest, TRAINING_OPTIONS } from './train.ts';

/** What a sensor of the simulated plant sends. */
const PLANT = { channels: 3, sampleRateHz: SAMPLE_RATE_HZ };
/** The bundle that the package ships for the simulated plant. */
const SHIPPED = fileURLToPath(new URL('../models/shipped/plant', import.meta.url));
const PROGRAMS = new URL('./', import.meta.url);

interface Prepared {
  readonly bundleFolder: string;
  readonly sensors: DemoSensor[];
  /** What training reported; absent for the shipped bundle. */
  readonly training?: Record<string, unknown>;
}

/** Trains on all but the test part. */
async function prepareRecordings(set: RecordingSet, args: ParsedArguments, machines: number, signal: AbortSignal): Promise<Prepared> {
  const settings = pipelineRequest(args, set.name, QUICK);
  const { bundleFolder, training } = await quickBundle(set, settings, signal);
  const { test } = splitRecordings(set.recordings, settings.split);
  const recordings = await readPieces(set, test, settings.channels, settings.rateHz);
  return { bundleFolder, sensors: recordedSensors(recordings, machines), training };
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
const HELD_OUT = ['test', 'group', 'block', 'reference', 'reference-shots'];
const TRAINING = [...HELD_OUT, ...Object.keys(TRAINING_OPTIONS)];

/** Whoever says what decides, what is held out, or by how many sensors, wants to see that decided. */
function wantsLoop(args: ParsedArguments, bundle: string | undefined): boolean {
  return (
    textOption(args, 'shift') !== undefined ||
    (bundle === undefined && [...HELD_OUT, 'machines'].every((name) => args.values[name] === undefined))
  );
}

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

With --seconds it ends before all that, with accuracy and latency.

With --data it measures what the recordings' conditions would cost a quick student (a load it was not trained on, another
sensor of the same machine), trains one and shows the loop on what costs most, without a server. Where nothing costs anything,
or --test, --group, --block or --machines says what is played, a student is trained on the others and decides those; with --bundle a
bundle that is there decides all that are chosen.

  --data SET                  a recording set
  --bundle FOLDER             the bundle that decides: nothing is trained
${SELECTION_HELP}
  --machines N                sensors (default 4)
  --seconds S                 no loop: simulate so many seconds (not with --data)
  --speed X                   send X times faster than real time (default 1; the loop 2, on recordings 20 windows a second)
  --fast                      the loop in less than a minute: 12 times real time, on recordings 40 windows a second
  --shift FIELD=FROM,TO       with --data: the loop on this change: train at one value of a condition, play that, then the other
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
    const given = textOption(args, 'speed') !== undefined;
    const speed = numberOption(args, 'speed', 1, { min: 0.01, max: 1000 });
    const seconds = numberOption(args, 'seconds', 24, { min: 2, max: 86_400 });
    const seed = numberOption(args, 'seed', 1, { max: 2 ** 32 - 1, whole: true });
    const engine = choiceOption(args, 'engine', ['onnxruntime', 'wasm'] as const);
    const data = textOption(args, 'data');
    const bundle = textOption(args, 'bundle');
    refuseUnused(args, data, bundle);
    const isLive = process.stdout.isTTY && !args.values.json;
    const set = data === undefined ? undefined : await chosenSet(resolve(data), args);
    const change = set && wantsLoop(args, bundle) ? await chooseChange(set, args, signal) : undefined;
    if (change || isPlantLoop) {
      const stage = (folder: string): Promise<LoopScene> =>
        set && change
          ? recordedLoop(set, change, args, signal)
          : plantScene(resolve(bundle ?? SHIPPED), { machines, seed, fast }, folder, signal);
      if (isPlantLoop) await plantWindow(resolve(bundle ?? SHIPPED));
      const result = await demonstrateLoop(
        stage,
        { speed: given ? speed : undefined, fast, engine, programs: PROGRAMS, keep: textOption(args, 'keep'), live: isLive },
        signal,
      );
      if (!result.loopClosed) process.exitCode = 1;
      return { ...result, ...(change && { change: change.text }) };
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
