import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readBundleCargo } from '../../trainer/fleet/deployment.ts';
import { advance } from '../../trainer/fleet/rollout.ts';
import { changeRollout } from '../../trainer/fleet/rollout-store.ts';
import { simulatePlant } from '../fixtures/plant.ts';
import { renamedBundle, rollOut } from '../push/bundle-rollout.ts';
import { createFleet } from '../push/fleet-folder.ts';
import { type Core, countInstructions, type EmulatedGateway, type InstructionCount } from './emulator.ts';
import type { CountedWork } from './program.ts';
import { UPDATE_GATEWAY, UPDATE_SITE } from './update.ts';

/** Instructions of a piece of work. WebAssembly's code belongs to no library: there both are all. */
interface Piece {
  readonly all: number;
  readonly inside: number;
}
const all = (piece: Piece) => piece.all;
const inside = (piece: Piece) => piece.inside;

/** What a gateway does and is counted doing. */
export interface Work {
  readonly kind: CountedWork['kind'];
  readonly what: string;
  /** Times that it is done between the marks. */
  readonly times: number;
  /** What of its pieces is the figure. */
  readonly figure: (piece: Piece) => number;
  /** What is held against the frozen count, which must repeat to far less than the two per cent that fail; the figure where absent. */
  readonly held?: (pieces: readonly Piece[]) => readonly number[];
  prepare(root: string, folder: string): Promise<CountedWork>;
}

const shipped = (root: string) => `${root}models/shipped/plant`;

export const INFERENCE: Work = {
  kind: 'inference',
  what: 'one inference of the int8 student',
  times: 8,
  figure: inside,
  prepare: async () => ({ kind: 'inference', runs: INFERENCE.times }),
};

/** Steps that are held against the frozen count: every step is the same graph on the same shapes, and all of them take minutes. */
export const HELD_STEPS = 4;

export const adaptation = (steps: number): Work => ({
  kind: 'adaptation',
  what: `one adaptation as on a gateway: sessions, ${steps} steps, guard`,
  times: 1,
  figure: inside,
  // The sessions; up to the first step's end, and from each to the next; the guard.
  held: (pieces) => [...pieces.slice(0, 1 + HELD_STEPS), pieces.at(-1)!].map(inside),
  prepare: async (root, folder) => ({ kind: 'adaptation', steps, set: await simulatePlant(root, join(folder, 'plant'), 1) }),
});

export const UPDATE: Work = {
  kind: 'update',
  what: 'one bundle verified: signed metadata, chunks, digests, known answers',
  times: 1,
  figure: all,
  // Of the candidate's start, what the C library does for onnxruntime differs from run to run by a tenth.
  held: (pieces) => [...pieces.slice(0, -1).map(all), inside(pieces.at(-1)!)],
  async prepare(root, folder) {
    const state = join(folder, 'state');
    await mkdir(state);
    const fleet = await createFleet(folder, UPDATE_SITE);
    const next = await renamedBundle(shipped(root), join(folder, 'next'), 'next');
    const deployment = await rollOut(fleet.repository, await readBundleCargo(next, ['core']), `${UPDATE_SITE}/${UPDATE_GATEWAY}`, 0);
    // The first group's turn, as a server gives it, which signs it for the site.
    await changeRollout(fleet.repository, deployment, (rollout) => advance(rollout, Date.now()), new Date());
    return { kind: 'update', repository: fleet.folder, state };
  },
};

/** Does some work on an emulated core and counts it. @param gateway with the shipped bundle @param folder an empty one */
export async function countWork<T>(
  root: string,
  gateway: EmulatedGateway,
  core: Core,
  work: Work,
  folder: string,
): Promise<{
  readonly count: InstructionCount;
  readonly answer: T;
  /** Of one time; and of what is frozen. */
  readonly instructions: number;
  readonly held: number;
}> {
  const made = await countInstructions<T>(root, gateway, core, folder, await work.prepare(root, folder));
  const wasm = core.engine === 'wasm';
  const pieces = made.count.pieces.map(([everything, library]) => ({ all: everything, inside: wasm ? everything : library }));
  const sum = (of: readonly number[]) => of.reduce((total, one) => total + one, 0) / work.times;
  const figure = pieces.map(work.figure);
  return { ...made, instructions: sum(figure), held: sum(work.held?.(pieces) ?? figure) };
}
