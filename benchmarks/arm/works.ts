import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createRepository } from '../../trainer/fleet/authority.ts';
import { readBundleCargo } from '../../trainer/fleet/deployment.ts';
import { advance } from '../../trainer/fleet/rollout.ts';
import { changeRollout } from '../../trainer/fleet/rollout-store.ts';
import { simulatePlant } from '../fixtures/plant.ts';
import { renamedBundle, rollOut } from '../push/bundle-rollout.ts';
import type { Core, EmulatedGateway, InstructionCount } from './emulator.ts';
import { countInstructions, prepareGateway } from './emulator.ts';
import type { CountedWork } from './program.ts';
import { UPDATE_GATEWAY, UPDATE_SITE } from './update.ts';

/** What a gateway does and is counted doing. */
export interface Work {
  readonly kind: CountedWork['kind'];
  readonly what: string;
  /** Times that it is done between the marks. */
  readonly times: number;
  /** What the count is held against: all of the thread's instructions, or onnxruntime's where an emulated processor runs it. */
  readonly counts: 'all' | 'onnxruntime';
  prepare(root: string, folder: string): Promise<CountedWork>;
}

const shipped = (root: string) => `${root}models/shipped/plant`;

export const INFERENCE: Work = {
  kind: 'inference',
  what: 'one inference of the int8 student',
  times: 8,
  counts: 'onnxruntime',
  prepare: async () => ({ kind: 'inference', runs: INFERENCE.times }),
};

export const ADAPTATION: Work = {
  kind: 'adaptation',
  what: 'one adaptation as on a gateway, sessions, 60 steps and guard',
  times: 1,
  counts: 'onnxruntime',
  prepare: async (root, folder) => ({ kind: 'adaptation', set: await simulatePlant(root, join(folder, 'plant'), 1) }),
};

export const UPDATE: Work = {
  kind: 'update',
  what: 'one bundle verified: signed metadata, chunks, digests, known answers',
  times: 1,
  counts: 'all',
  async prepare(root, folder) {
    const [repository, state] = [join(folder, 'fleet'), join(folder, 'state')];
    await mkdir(state);
    const fleet = await createRepository(
      repository,
      { folder: join(repository, 'keys'), keys: 1, threshold: 1 },
      [UPDATE_SITE],
      new Date(),
    );
    const next = await renamedBundle(shipped(root), join(folder, 'next'), 'next');
    const deployment = await rollOut(fleet, await readBundleCargo(next, ['core']), `${UPDATE_SITE}/${UPDATE_GATEWAY}`, 0);
    // The first group's turn, as a server gives it, which signs it for the site.
    await changeRollout(fleet, deployment, (rollout) => advance(rollout, Date.now()), new Date());
    return { kind: 'update', repository, state };
  },
};

/** Does some work of the shipped bundle on an emulated core and counts it. */
export async function countWork<T>(
  root: string,
  core: Core,
  work: Work,
  folder: string,
): Promise<{ readonly count: InstructionCount; readonly answer: T; readonly instructions: number }> {
  const gateway: EmulatedGateway = await prepareGateway(root, core, folder);
  const made = await countInstructions<T>(root, gateway, core, folder, await work.prepare(root, folder));
  const { all, inside } = made.count;
  // WebAssembly's code belongs to no library.
  return { ...made, instructions: (work.counts === 'all' || core.engine === 'wasm' ? all : inside) / work.times };
}
