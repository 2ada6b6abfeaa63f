import { readFile, writeFile } from 'node:fs/promises';

/** Instructions of one inference as they were when somebody last looked, by core; exact but for what the emulator's threads do to each other. */
export interface FrozenCounts {
  /** Digest of the base that was counted: another model has other counts. */
  readonly base: string;
  readonly onnxruntime: string;
  readonly instructions: Readonly<Record<string, number>>;
}

const pathIn = (root: string) => `${root}benchmarks/arm/instructions.json`;

export async function readFrozen(root: string): Promise<FrozenCounts> {
  return JSON.parse(await readFile(pathIn(root), 'utf8')) as FrozenCounts;
}

/** Keeps a count as the new measure of what comes; counts of another base or engine are dropped. */
export async function freeze(
  root: string,
  { base, onnxruntime }: Omit<FrozenCounts, 'instructions'>,
  core: string,
  count: number,
): Promise<void> {
  const old = await readFrozen(root).catch(() => undefined);
  const same = old?.base === base && old.onnxruntime === onnxruntime;
  const frozen: FrozenCounts = { base, onnxruntime, instructions: { ...(same && old.instructions), [core]: count } };
  await writeFile(pathIn(root), `${JSON.stringify(frozen, null, 2)}\n`);
}
