import { readBundle } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { DEFAULT_ADAPTATION } from '../../runtime/adapt/adaptation.ts';
import type { AdaptationAnswer } from '../arm/adaptation.ts';
import { estimateCycles } from '../arm/cycles.ts';
import { CORES, type Core, missing, prepareGateway } from '../arm/emulator.ts';
import { freeze } from '../arm/frozen.ts';
import type { UpdateAnswer } from '../arm/update.ts';
import { adaptation, countWork, HELD_STEPS, INFERENCE, UPDATE, type Work } from '../arm/works.ts';
import { inFolder } from '../fixtures/folder.ts';
import { digits } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

/** What a Cortex-A53 of a small gateway runs at. */
const A53_HZ = 1.2e9;
/** A bundle's verification is four pieces. */
const UPDATE_PIECES = ['signed metadata', 'chunks and digests', 'slot', 'known answers'];

type Counted = Awaited<ReturnType<typeof countWork<Partial<AdaptationAnswer & UpdateAnswer>>>>;

const counted = (root: string, core: Core, work: Work): Promise<Counted> =>
  inFolder(async (folder) => countWork(root, await prepareGateway(root, core, folder), core, work, folder));

/** Cycles of one time: llvm-mca's for onnxruntime, and one an instruction for JavaScript, cryptography and the call. */
async function cycles({ count }: Counted, core: Core, { times }: Work): Promise<{ cycles: number; covered: number } | { missing: string }> {
  if (core.engine === 'wasm') return { missing: 'not for WebAssembly: its code belongs to no library' };
  const inside = await estimateCycles(count, core.cpu);
  if ('missing' in inside) return inside;
  return { cycles: (inside.cycles + count.all - count.inside) / times, covered: inside.covered };
}

/** What else was seen of a work. */
function seen({ kind }: Work, { answer, count }: Counted): Record<string, string | number> {
  if (kind === 'adaptation')
    return {
      steps: answer.steps!,
      'largest resident memory without the emulator, seen after each step': `${digits(answer.peakMb!)} MB`,
      'before the sessions': `${digits(answer.beforeMb!)} MB`,
      guard: answer.refusal ?? 'accepted',
    };
  if (kind === 'update')
    return {
      'bytes that came': answer.bytes!,
      ...Object.fromEntries(count.pieces.map(([all], at) => [UPDATE_PIECES[at], digits(all)])),
    };
  return {};
}

/** All steps of an adaptation in WebAssembly would be emulated for a quarter of an hour. */
const stepsOn = ({ engine }: Core) => (engine === 'wasm' ? HELD_STEPS : DEFAULT_ADAPTATION.steps);

const instructions = (core: Core, whole: Work): Scenario => ({
  id: whole.kind === 'inference' ? `arm.instructions.${core.id}` : `arm.instructions.${whole.kind}.${core.id}`,
  what: `shipped bundle on emulated ${core.name}: instructions of ${whole.what}`,
  unit: 'instructions',
  async measure(context): Promise<Measured | Skipped> {
    const reason = await missing(core);
    if (reason) return { skipped: reason };
    // Enough to freeze.
    const work = context.quick && whole.kind === 'adaptation' ? adaptation(HELD_STEPS) : whole;
    const made = await counted(context.root, core, work);
    if (process.env.TREMOLO_FREEZE) await keep(context, core, work, made.held);
    const estimate = await cycles(made, core, work);
    return {
      figure: made.instructions,
      samples: work.times,
      details: {
        ...(made.count.all / work.times === made.instructions ? {} : { 'with JavaScript': digits(made.count.all / work.times) }),
        ...('missing' in estimate
          ? { cycles: estimate.missing }
          : {
              'cycles, within a factor of 2': digits(estimate.cycles),
              "of onnxruntime's instructions, share estimated by llvm-mca": digits(estimate.covered),
            }),
        ...(core.id === 'a53' && 'cycles' in estimate && { 'at 1.2 GHz': `${digits((1000 * estimate.cycles) / A53_HZ)} ms` }),
        ...seen(work, made),
      },
    };
  },
});

async function keep({ root }: Context, core: Core, { kind }: Work, count: number): Promise<void> {
  const { manifest } = await readBundle(`${root}models/shipped/plant`);
  const { version } = await createOnnxruntimeEngine();
  await freeze(root, { base: manifest.base, onnxruntime: version }, kind, core.id, Math.round(count));
}

const a53Time: Scenario = {
  id: 'arm.ms.a53',
  what: 'shipped bundle, int8 student, one inference on a Cortex-A53 at 1.2 GHz, estimated by llvm-mca within a factor of 2: milliseconds',
  unit: 'ms',
  target: { atMost: 10 },
  async measure({ root }): Promise<Measured | Skipped> {
    const [core] = CORES;
    const reason = await missing(core);
    if (reason) return { skipped: reason };
    const made = await counted(root, core, INFERENCE);
    const estimate = await cycles(made, core, INFERENCE);
    if ('missing' in estimate) return { skipped: estimate.missing };
    const ms = (1000 * estimate.cycles) / A53_HZ;
    return { figure: ms, samples: INFERENCE.times, details: { 'at most, within a factor of 2, ms': digits(2 * ms) } };
  },
};

export const ARM_INSTRUCTIONS: readonly Scenario[] = [
  ...CORES.map((core) => instructions(core, INFERENCE)),
  ...CORES.map((core) => instructions(core, adaptation(stepsOn(core)))),
  ...CORES.map((core) => instructions(core, UPDATE)),
  a53Time,
];
