import { readFile, writeFile } from 'node:fs/promises';
import type { CountedWork } from './program.ts';

/** Instructions as they were when somebody last looked, by work and core; exact but for what the emulator's threads do to each other. */
export interface FrozenCounts {
  /** Digest of the base that was counted: another model has other counts. */
  readonly base: string;
  readonly onnxruntime: string;
  readonly instructions: Readonly<Partial<Record<CountedWork['kind'], Readonly<Record<string, number>>>>>;
}

const pathIn = (root: string) => `${root}benchmarks/arm/instructions.json`;

export async function readFrozen(root: string): Promise<FrozenCounts> {
  return JSON.parse(await readFile(pathIn(root), 'utf8')) as FrozenCounts;
}

/** Keeps a count as the new measure of what comes; counts of another base or engine are dropped. */
export async function freeze(
  root: string,
  { base, onnxruntime }: Omit<FrozenCounts, 'instructions'>,
  work: CountedWork['kind'],
  core: string,
  count: number,
): Promise<void> {
  const old = await readFrozen(root).catch(() => undefined);
  const before = old?.base === base && old.onnxruntime === onnxruntime ? old.instructions : {};
  const frozen: FrozenCounts = { base, onnxruntime, instructions: { ...before, [work]: { ...before[work], [core]: count } } };
  await writeFile(pathIn(root), `${JSON.stringify(frozen, null, 2)}\n`);
}
