import { join } from 'node:path';
import { readBundle } from '../../models/bundle/bundle.ts';
import { openRecordingSet } from '../../trainer/data/recording-set.ts';
import { CORES, type Core, missing, prepareGateway, prepareReference } from '../arm/emulator.ts';
import type { ReplayAnswer } from '../arm/program.ts';
import { inFolder } from '../fixtures/folder.ts';
import { simulatePlant } from '../fixtures/plant.ts';
import { largestError } from '../harness/compare.ts';
import { digits } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

/** What is replayed: a set, what of it, and the bundle that decides it. */
interface Job {
  readonly set: string;
  readonly channels?: readonly string[];
  readonly files?: readonly string[];
  readonly bundle?: string;
}

/** Replays on the core and here, and compares every window. */
async function compareReplay(context: Context, core: Core, folder: string, { bundle, ...job }: Job): Promise<Measured> {
  const { root, progress } = context;
  const here = await (await prepareReference(root, folder, bundle)).run<ReplayAnswer>({ kind: 'replay', ...job });
  progress(`replays on ${core.name}`);
  const gateway = await prepareGateway(root, core, folder, bundle);
  const began = performance.now();
  const there = await gateway.run<ReplayAnswer>({ kind: 'replay', ...job });
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
  what: `packed gateway on emulated ${core.name}, cwru12, ${core.engine === 'wasm' ? 'two recordings' : 'a recording of each class at loads in turn'}: share of windows decided as on x64`,
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
    const classes = [...new Set(main.map(({ label }) => label))].slice(0, context.quick || core.engine === 'wasm' ? 2 : undefined);
    const chosen = classes.map((name, at) => {
      const own = main.filter(({ label }) => label === name);
      return own[at % own.length];
    });
    const { recipe } = (await readBundle(TREMOLO_BENCH_CWRU12)).manifest;
    const job: Job = { set, channels: recipe.channels, files: chosen.map(({ file }) => file), bundle: TREMOLO_BENCH_CWRU12 };
    return inFolder((folder) => compareReplay(context, core, folder, job));
  },
});

export const ARM_DECISIONS: readonly Scenario[] = [...CORES.map(decisions), ...CORES.map(cwru12)];
