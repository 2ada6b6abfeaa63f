import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeSafetensors, encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { floatTensor, type TensorData } from '../../models/engine/engine.ts';
import { writeWhole } from '../../runtime/io/whole-file.ts';
import { ProgressBar } from '../io/progress.ts';

/** What a stage gives: something that JSON holds, and vectors beside it. */
export interface Artifact {
  readonly value: unknown;
  readonly vectors: Readonly<Record<string, Float32Array>>;
}

export interface StageOutcome<T> {
  readonly result: T;
  /** Of the work when it was done, also where it was found in the cache. */
  readonly seconds: number;
  readonly cached: boolean;
  /** What later stages name as their input. */
  readonly key: string;
}

export interface StageContext {
  readonly bar: ProgressBar;
  readonly signal: AbortSignal | undefined;
  /** Where unfinished work is kept; read and removed by the stage that goes on from it. */
  readonly checkpoint: { read(): Promise<Artifact | undefined>; write(artifact: Artifact): Promise<void> };
}

export interface Stage<T> {
  readonly name: string;
  /** All that decides the result, beside the program itself: settings, and keys of the stages before. */
  readonly inputs: unknown;
  compute(context: StageContext): Promise<T>;
  encode(result: T): Artifact;
  decode(artifact: Artifact): T;
  /** The end of the progress bar's line. */
  summary(result: T): string;
}

/** Cached results that nobody asked for in so many days are removed. */
const KEPT_DAYS = 14;

/** Where the trainer keeps what it can make again: `$XDG_CACHE_HOME/tremolo`, or `~/.cache/tremolo`. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tremolo');
}

/**
 * Runs stages. The result of a stage is kept under the hash of its inputs and of the program: the same inputs are not worked on twice, and
 * work that was broken off goes on from its checkpoint.
 */
export class StageRunner {
  readonly #folder: string;
  readonly #program: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(folder: string, program: string, signal: AbortSignal | undefined) {
    this.#folder = folder;
    this.#program = program;
    this.#signal = signal;
  }

  static async open(signal?: AbortSignal, folder = join(cacheFolder(), 'stages')): Promise<StageRunner> {
    await mkdir(folder, { recursive: true });
    await removeOld(folder);
    // Another program may give another result: the built command counts as an input.
    const program = createHash('sha256')
      .update(await readFile(fileURLToPath(import.meta.url)))
      .digest('hex');
    return new StageRunner(folder, program, signal);
  }

  async run<T>(stage: Stage<T>): Promise<StageOutcome<T>> {
    this.#signal?.throwIfAborted();
    const key = createHash('sha256')
      .update(JSON.stringify([this.#program, stage.name, stage.inputs]))
      .digest('hex');
    const file = join(this.#folder, `${stage.name}-${key.slice(0, 24)}.safetensors`);
    const bar = new ProgressBar(stage.name);
    const kept = await readArtifact(file);
    if (kept) {
      const { seconds, value } = kept.value as { seconds: number; value: unknown };
      const result = stage.decode({ value, vectors: kept.vectors });
      bar.done(`${stage.summary(result)} (kept from before)`);
      return { result, seconds, cached: true, key };
    }
    const unfinished = `${file}.unfinished`;
    const started = performance.now();
    const before = ((await readArtifact(unfinished))?.value as { seconds?: number } | undefined)?.seconds ?? 0;
    const seconds = () => before + (performance.now() - started) / 1000;
    const result = await stage.compute({
      bar,
      signal: this.#signal,
      checkpoint: {
        read: async () => {
          const artifact = await readArtifact(unfinished);
          return artifact && { value: (artifact.value as { value: unknown }).value, vectors: artifact.vectors };
        },
        write: ({ value, vectors }) => writeArtifact(unfinished, { value: { seconds: seconds(), value }, vectors }),
      },
    });
    const { value, vectors } = stage.encode(result);
    const took = seconds();
    await writeArtifact(file, { value: { seconds: took, value }, vectors });
    await rm(unfinished, { force: true });
    bar.done(`${stage.summary(result)} in ${took.toFixed(1)} s`);
    return { result, seconds: took, cached: false, key };
  }
}

async function removeOld(folder: string): Promise<void> {
  const oldest = Date.now() - KEPT_DAYS * 24 * 3600_000;
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (mtimeMs < oldest) await rm(path, { force: true });
  }
}

/** Undefined where there is none, or none that can be read: then the work is done again. */
async function readArtifact(file: string): Promise<Artifact | undefined> {
  try {
    const { tensors, metadata } = decodeSafetensors(new Uint8Array(await readFile(file)), file);
    const vectors = Object.fromEntries(Object.entries(tensors).map(([name, { values }]) => [name, values as Float32Array]));
    return { value: JSON.parse(metadata.value), vectors };
  } catch {
    return undefined;
  }
}

async function writeArtifact(file: string, { value, vectors }: Artifact): Promise<void> {
  const tensors: Record<string, TensorData> = Object.fromEntries(
    Object.entries(vectors).map(([name, values]) => [name, floatTensor(values, [values.length])]),
  );
  await writeWhole(file, encodeSafetensors({ tensors, metadata: { value: JSON.stringify(value) } }));
}
