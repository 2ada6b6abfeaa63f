import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readBundle } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { openRecordingSet } from '../../trainer/data/recording-set.ts';
import { estimateCycles } from '../arm/cycles.ts';
import { CORES, type Core, countInstructions, missing, prepareGateway, prepareReference } from '../arm/emulator.ts';
import { freeze } from '../arm/frozen.ts';
import type { ArmAnswer } from '../arm/program.ts';
import { simulatePlant } from '../fixtures/plant.ts';
import { largestError } from '../harness/compare.ts';
import { digits } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

const COUNTED_RUNS = 8;
/** What a Cortex-A53 of a small gateway runs at. */
const A53_HZ = 1.2e9;

/** What is replayed: a set, what of it, and the bundle that decides it. */
interface Job {
  readonly set: string;
  readonly channels?: readonly string[];
  readonly files?: readonly string[];
  readonly bundle?: string;
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-arm-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Replays on the core and here, and compares every window. */
async function compareReplay(context: Context, core: Core, folder: string, { bundle, ...job }: Job): Promise<Measured> {
  const { root, progress } = context;
  const answer = async (gateway: Awaited<ReturnType<typeof prepareGateway>>, name: string): Promise<ArmAnswer> => {
    const out = join(folder, `${name}.json`);
    await gateway.run({ kind: 'replay', ...job, out });
    return JSON.parse(await readFile(out, 'utf8')) as ArmAnswer;
  };
  const here = await answer(await prepareReference(root, folder, bundle), 'here');
  progress(`replays on ${core.name}`);
  const began = performance.now();
  const there = await answer(await prepareGateway(root, core, folder, bundle), core.id);
  const seconds = (performance.now() - began) / 1000;
  let [windows, equal, probability, models] = [0, 0, 0, 0];
  for (const [file, expected] of Object.entries(here.decisions)) {
    if (there.decisions[file]?.length !== expected.length) throw new Error(`${file}: another number of windows on ${core.name}`);
    for (const [window, one] of expected.entries()) {
      const other = there.decisions[file][window];
      windows++;
      if (one.decision === other.decision) equal++;
      if (one.model !== other.model) models++;
      probability = Math.max(probability, ...one.probabilities.map((value, at) => Math.abs(value - other.probabilities[at])));
    }
  }
  return {
    figure: equal / windows,
    samples: windows,
    details: {
      windows,
      'that differ': windows - equal,
      'decided by another of the two networks': models,
      'largest difference of a probability': digits(probability),
      'of a logit, 8 windows': digits(largestError(there.logits, here.logits)),
      'seconds emulated': digits(seconds),
    },
  };
}

const decisions = (core: Core): Scenario => ({
  id: `arm.decisions.${core.id}`,
  what: `packed gateway on emulated ${core.name}, simulated plant: share of windows decided as on x64`,
  unit: '',
  target: { atLeast: 1 },
  async measure(context): Promise<Measured | Skipped> {
    const reason = await missing(core);
    if (reason) return { skipped: reason };
    return inFolder(async (folder) => {
      const set = await simulatePlant(context.root, join(folder, 'plant'), context.quick ? 1 : 3);
      return compareReplay(context, core, folder, { set });
    });
  },
});

const cwru12 = (core: Core): Scenario => ({
  id: `arm.cwru12.${core.id}`,
  what: `packed gateway on emulated ${core.name}, cwru12: share of windows decided as on x64`,
  unit: '',
  target: { atLeast: 1 },
  async measure(context): Promise<Measured | Skipped> {
    const reason = await missing(core);
    if (reason) return { skipped: reason };
    const { TREMOLO_DATA, TREMOLO_BENCH_CWRU12 } = process.env;
    if (!TREMOLO_DATA || !TREMOLO_BENCH_CWRU12)
      return {
        skipped:
          'TREMOLO_DATA names no recordings, or TREMOLO_BENCH_CWRU12 no bundle that tremolo train made of cwru12 (README.md has the command)',
      };
    const set = join(TREMOLO_DATA, 'cwru12');
    const { recordings } = await openRecordingSet(set);
    const main = recordings.filter((entry) => (entry as unknown as Record<string, unknown>).role === 'main');
    const seen = new Set<string>();
    const chosen = context.quick ? main.filter(({ label }) => !seen.has(label ?? '') && seen.add(label ?? '')) : main;
    const { recipe } = (await readBundle(TREMOLO_BENCH_CWRU12)).manifest;
    const job: Job = { set, channels: recipe.channels, files: chosen.map(({ file }) => file), bundle: TREMOLO_BENCH_CWRU12 };
    return inFolder((folder) => compareReplay(context, core, folder, job));
  },
});

/** Instructions between the marks: all of them for WebAssembly, whose code belongs to no library. */
async function counted(context: Context, core: Core) {
  return inFolder(async (folder) => {
    const gateway = await prepareGateway(context.root, core, folder);
    const count = await countInstructions(context.root, gateway, core, folder, COUNTED_RUNS);
    return { ...count, inference: (core.engine === 'wasm' ? count.all : count.inside) / count.marks };
  });
}

const instructions = (core: Core): Scenario => ({
  id: `arm.instructions.${core.id}`,
  what: `shipped bundle, int8 student on emulated ${core.name}: instructions of one inference`,
  unit: 'instructions',
  async measure(context): Promise<Measured | Skipped> {
    const reason = await missing(core);
    if (reason) return { skipped: reason };
    const count = await counted(context, core);
    const bundle = await readBundle(`${context.root}models/shipped/plant`);
    const { version } = await createOnnxruntimeEngine();
    if (process.env.TREMOLO_FREEZE)
      await freeze(context.root, { base: bundle.manifest.base, onnxruntime: version }, core.id, Math.round(count.inference));
    const estimate =
      core.engine === 'wasm' ? { missing: 'not for WebAssembly: its code belongs to no library' } : await estimateCycles(count, core.cpu);
    return {
      figure: count.inference,
      samples: count.marks,
      details: {
        'with the call from JavaScript': digits(count.all / count.marks),
        ...('missing' in estimate
          ? { cycles: estimate.missing }
          : { 'cycles by llvm-mca, within a factor of 2': digits(estimate.cycles), 'blocks estimated, share': digits(estimate.covered) }),
      },
    };
  },
});

const a53Time: Scenario = {
  id: 'arm.ms.a53',
  what: 'shipped bundle, int8 student, one inference on a Cortex-A53 at 1.2 GHz, estimated by llvm-mca within a factor of 2: milliseconds',
  unit: 'ms',
  target: { atMost: 10 },
  async measure(context): Promise<Measured | Skipped> {
    const core = CORES[0];
    const reason = await missing(core);
    if (reason) return { skipped: reason };
    const count = await counted(context, core);
    const estimate = await estimateCycles(count, core.cpu);
    if ('missing' in estimate) return { skipped: estimate.missing };
    // What JavaScript does around the call, at one instruction a cycle.
    const around = (count.all - count.inside) / count.marks;
    const ms = (1000 * (estimate.cycles + around)) / A53_HZ;
    return {
      figure: ms,
      samples: count.marks,
      details: { 'cycles inside onnxruntime': digits(estimate.cycles), 'at most, within a factor of 2, ms': digits(2 * ms) },
    };
  },
};

export const ARM: readonly Scenario[] = [...CORES.map(decisions), ...CORES.map(cwru12), ...CORES.map(instructions), a53Time];
