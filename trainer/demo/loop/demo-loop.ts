import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { readManifest } from '../../../models/bundle/bundle.ts';
import type { Recording } from '../../data/recording-set.ts';
import { writeSimulatedSet } from '../../data/simulated-set.ts';
import { Refusal } from '../../refusal.ts';
import { describeAlarm, LiveBlock, renderAlarms, renderMachines } from '../view.ts';
import { GATEWAY_STEPS, LOOP_STEPS, type LoopMeasure } from './judge.ts';
import { type LoopSensor, loopPlant } from './machines.ts';
import { loopRecordings } from './recordings.ts';
import { type LoopOptions, type LoopResult, playLoop } from './session.ts';
import { describeStep, describeVerdict } from './view.ts';

/** The machine that changes. */
const CHANGING = 1;
/** When another falls ill, seconds of its own time. */
const FAULT_SECONDS = 12;
/** Recordings of the plant that the shipped bundle was trained on, for the server to gate on: its seed, and a few of its machines. */
const KNOWN = { machines: 4, seconds: 3, seed: 1 };

/** Windows before the overhaul: what the drift monitor learns a stream from (DEFAULT_REFERENCE), and some that it watches. */
const QUIET_WINDOWS = 288;
/** Times real time that the plant is played at; and windows a second of recordings, whatever their rate: for that of a 12 kHz sensor half of real time. */
const PLANT_SPEED = { usual: 2, fast: 12 };
const RECORDED_WINDOWS = { usual: 20, fast: 40 };

/** An overhaul that costs less is none that needs the loop. */
const PLANT_MEASURE: LoopMeasure = { windows: 24, good: 0.9, cost: 0.2 };
/** Times through all recordings that an accuracy is of, and windows that one piece of a recording makes. */
const [ROUNDS, PIECE_WINDOWS] = [3, 8];

/** What is played, and how it is looked at. */
export interface LoopScene {
  readonly sensors: readonly LoopSensor[];
  readonly bundleFolder: string;
  /** Times real time that it is played at, where nobody says otherwise. */
  readonly speed: number;
  readonly how: Pick<LoopOptions, 'changing' | 'quietWindows' | 'measure' | 'wanted' | 'operator' | 'known'>;
}

export interface LoopRequest {
  /** Times real time; the scene's where absent. */
  readonly speed: number | undefined;
  readonly fast: boolean;
  readonly engine: 'onnxruntime' | 'wasm';
  readonly programs: URL;
  /** Where traffic and states are left; a temporary folder that goes where absent. */
  readonly keep: string | undefined;
  /** Whether the terminal is drawn on. */
  readonly live: boolean;
}

/** A simulated plant, with a server. @param folder for the recordings that the server gates on @throws Refusal demo/machines */
export async function plantScene(
  bundleFolder: string,
  { machines, seed, fast }: { machines: number; seed: number; fast: boolean },
  folder: string,
  signal: AbortSignal,
): Promise<LoopScene> {
  if (machines <= CHANGING)
    throw new Refusal('demo/machines', `the loop changes the second machine, --machines is ${machines}; take two or more, or --seconds`);
  const known = join(folder, 'known');
  await writeSimulatedSet(known, KNOWN, { replace: true }, signal);
  const how = {
    changing: CHANGING,
    quietWindows: QUIET_WINDOWS,
    measure: PLANT_MEASURE,
    wanted: LOOP_STEPS,
    operator: 'answers',
    known,
  } as const;
  return { sensors: loopPlant(machines, seed, FAULT_SECONDS), bundleFolder, speed: PLANT_SPEED[fast ? 'fast' : 'usual'], how };
}

/** Recordings of one condition, then of another, on one sensor; without a server. */
export function recordedScene(
  bundleFolder: string,
  before: readonly Recording[],
  after: readonly Recording[],
  { changeText, scale, stride, fast }: { changeText: string; scale: number; stride: number; fast: boolean },
): LoopScene {
  const windows = ROUNDS * PIECE_WINDOWS * before.length;
  const measure = { windows, good: 0.95, cost: 0.02 };
  const sensors = [loopRecordings('sensor-1', before, after, scale, changeText)];
  const speed = (RECORDED_WINDOWS[fast ? 'fast' : 'usual'] * stride) / before[0].sampleRateHz;
  return {
    sensors,
    bundleFolder,
    speed,
    how: { changing: 0, quietWindows: windows, measure, wanted: GATEWAY_STEPS, operator: 'goesRound' },
  };
}

/** Shows the loop as it goes. @param stage makes the scene, given a folder that is there while it is played @throws Refusal demo/keep */
export async function demonstrateLoop(
  stage: (folder: string) => Promise<LoopScene>,
  { speed, fast, engine, programs, keep, live }: LoopRequest,
  signal: AbortSignal,
): Promise<LoopResult> {
  if (keep && (await readdir(keep).catch((): string[] => [])).length > 0)
    throw new Refusal('demo/keep', `${keep} is not empty; name another folder with --keep`);
  const folder = keep ? resolve(keep) : await mkdtemp(join(tmpdir(), 'tremolo-loop-'));
  try {
    const { sensors, bundleFolder, how, speed: usual } = await stage(folder);
    const { manifest, digest } = await readManifest(bundleFolder);
    const { changeText } = sensors[how.changing];
    const block = live ? new LiveBlock(process.stdout) : undefined;
    let told = 0;
    let toldAlarms = 0;
    const result = await playLoop(
      sensors,
      {
        ...{ folder, bundleFolder, engine, programs, speed: speed ?? usual, digest, ...how },
        window: manifest.recipe.window,
        workShare: fast ? 1 : 0.5,
      },
      ({ machines: lines, alarms, verdict }) => {
        const steps = verdict.steps.map((step) => describeStep(step, changeText));
        if (block) block.draw([...renderMachines(lines, true), ...renderAlarms(alarms), ...steps]);
        else {
          for (; toldAlarms < alarms.length; toldAlarms++) process.stderr.write(`${describeAlarm(alarms[toldAlarms])}\n`);
          for (; told < steps.length; told++) process.stderr.write(`${steps[told]}\n`);
        }
      },
      signal,
    );
    const steps = result.steps.map((step) => describeStep(step, changeText));
    process.stdout.write(`${[...(block ? [] : [...result.alarms.map(describeAlarm), ...steps]), describeVerdict(result)].join('\n')}\n`);
    if (keep) await writeFile(join(folder, 'verdict.json'), JSON.stringify(result));
    return result;
  } finally {
    if (!keep) await rm(folder, { recursive: true, force: true });
  }
}
