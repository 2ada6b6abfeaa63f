import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { readManifest } from '../../../models/bundle/bundle.ts';
import { writeSimulatedSet } from '../../data/simulated-set.ts';
import { Refusal } from '../../refusal.ts';
import { describeAlarm, LiveBlock, renderAlarms, renderMachines } from '../view.ts';
import { loopPlant } from './machines.ts';
import { type LoopResult, playLoop } from './session.ts';
import { describeStep, describeVerdict } from './view.ts';

/** The machine that changes. */
const CHANGING = 1;
/** When another falls ill, seconds of its own time. */
const FAULT_SECONDS = 12;
/** Recordings of the plant that the shipped bundle was trained on, for the server to gate on: its seed, and a few of its machines. */
const KNOWN = { machines: 4, seconds: 3, seed: 1 };

export interface LoopRequest {
  readonly bundleFolder: string;
  readonly machines: number;
  readonly seed: number;
  readonly speed: number;
  readonly fast: boolean;
  readonly engine: 'onnxruntime' | 'wasm';
  readonly programs: URL;
  /** Where traffic and states are left; a temporary folder that goes where absent. */
  readonly keep: string | undefined;
  /** Whether the terminal is drawn on. */
  readonly live: boolean;
}

/** The loop on a simulated plant, shown as it goes. @throws Refusal demo/machines */
export async function demonstrateLoop(request: LoopRequest, signal: AbortSignal): Promise<LoopResult> {
  const { bundleFolder, machines, seed, speed, fast, engine, programs, keep, live } = request;
  if (machines <= CHANGING)
    throw new Refusal('demo/machines', `the loop changes the second machine, --machines is ${machines}; take two or more, or --seconds`);
  const { manifest, digest } = await readManifest(bundleFolder);
  if (keep && (await readdir(keep).catch((): string[] => [])).length > 0)
    throw new Refusal('demo/keep', `${keep} is not empty; name another folder with --keep`);
  const folder = keep ? resolve(keep) : await mkdtemp(join(tmpdir(), 'tremolo-loop-'));
  try {
    const known = join(folder, 'known');
    await writeSimulatedSet(known, KNOWN, { replace: true }, signal);
    const sensors = loopPlant(machines, seed, FAULT_SECONDS);
    const { changeText } = sensors[CHANGING];
    const block = live ? new LiveBlock(process.stdout) : undefined;
    let told = 0;
    let toldAlarms = 0;
    const result = await playLoop(
      sensors,
      {
        ...{ folder, bundleFolder, engine, programs, known, speed, digest, changing: CHANGING },
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
