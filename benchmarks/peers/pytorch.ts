import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { AttentionNetworkOptions } from '../../models/networks/attention-network.ts';
import type { ParameterLayout } from '../../models/networks/parameters.ts';
import { DEFAULT_ADAMW } from '../../models/training/adamw.ts';
import type { Fixture } from '../fixtures/networks.ts';
import { LABEL_SMOOTHING, RATE } from '../fixtures/training.ts';
import type { SliceTime, Variant } from '../harness/interleave.ts';
import type { Context, Skipped } from '../harness/scenario.ts';

const run = promisify(execFile);

/** A Python that has PyTorch. */
export interface Python {
  readonly executable: string;
  readonly torch: string;
}

export async function torchVersion(executable: string): Promise<string | undefined> {
  const { stdout } = await run(executable, ['-c', 'import torch; print(torch.__version__)']).catch(() => ({ stdout: '' }));
  return stdout.trim() || undefined;
}

/** PyTorch as Debian packages it, or why there is none. */
export async function debianPython(): Promise<Python | Skipped> {
  const executable = '/usr/bin/python3';
  const torch = await torchVersion(executable);
  if (!torch) return { skipped: `${executable} has no torch: apt-get install python3-torch libopenblas0-pthread` };
  return { executable, torch };
}

let current: Promise<Python | Skipped> | undefined;

/**
 * The current PyTorch: that of the Python named by TREMOLO_BENCH_PYTHON, or, where peers may be installed, the CPU wheel in a virtual
 * environment that is thrown away when the benchmarks end.
 */
export function currentPython(context: Context): Promise<Python | Skipped> {
  current ??= findCurrent(context);
  return current;
}

async function findCurrent({ peers, progress }: Context): Promise<Python | Skipped> {
  const named = process.env.TREMOLO_BENCH_PYTHON;
  if (named) {
    const torch = await torchVersion(named);
    return torch ? { executable: named, torch } : { skipped: `TREMOLO_BENCH_PYTHON: ${named} has no torch` };
  }
  if (!peers) return { skipped: 'only with --peers, or with TREMOLO_BENCH_PYTHON naming a Python that has torch' };
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-torch-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  progress('making a virtual environment');
  await run('python3', ['-m', 'venv', folder]);
  const failed = await installTorch(folder, progress);
  if (failed) return failed;
  const executable = join(folder, 'bin', 'python');
  const torch = await torchVersion(executable);
  return torch ? { executable, torch } : { skipped: 'torch was installed but cannot be imported' };
}

/** Installs PyTorch into a virtual environment, where the package index has a build for processors. @returns why not */
export async function installTorch(environment: string, progress: (line: string) => void): Promise<Skipped | undefined> {
  const pip = join(environment, 'bin', 'pip');
  // What would be installed, before gigabytes are: the index may have only the build for graphics cards.
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-torch-plan-'));
  try {
    const plan = join(folder, 'plan.json');
    await run(pip, ['install', '--quiet', '--dry-run', '--report', plan, 'torch'], { timeout: 300_000 });
    const report: { install: { metadata: { name: string; version: string } }[] } = JSON.parse(await readFile(plan, 'utf8'));
    const packages = report.install.map(({ metadata }) => metadata);
    const version = packages.find(({ name }) => name === 'torch')?.version;
    const graphics = packages.filter(({ name }) => /^(nvidia|cuda|triton)/.test(name));
    if (graphics.length > 0) {
      return {
        skipped: `the package index has torch ${version} only as a build for graphics cards, with ${graphics.length} packages of several gigabytes; name a Python with a CPU build in TREMOLO_BENCH_PYTHON`,
      };
    }
    progress(`installing torch ${version}`);
    await run(pip, ['install', '--quiet', 'torch'], { timeout: 900_000, maxBuffer: 1 << 24 });
    return undefined;
  } catch (error) {
    return { skipped: `torch is not found or not installed: ${(error as Error).message.trim().split('\n').at(-1)}` };
  } finally {
    await rm(folder, { recursive: true });
  }
}

export interface PeerInformation {
  readonly torch: string;
  readonly blas: string;
  readonly threads: number;
  readonly parameters: number;
}

/** The training step in a Python process of its own, which sleeps between its slices. */
export class PyTorchPeer implements Variant {
  readonly name: string;
  readonly information: PeerInformation;
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #folder: string;

  private constructor(name: string, information: PeerInformation, process: ChildProcess, lines: AsyncIterator<string>, folder: string) {
    this.name = name;
    this.information = information;
    this.#process = process;
    this.#lines = lines;
    this.#folder = folder;
  }

  /**
   * @param feeds `window` and `target` of the batch
   */
  static async start(
    { executable, torch }: Python,
    { root }: Context,
    options: AttentionNetworkOptions,
    { network, weights }: Fixture,
    feeds: { readonly window: Float32Array; readonly target: Float32Array },
  ): Promise<PyTorchPeer> {
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-peer-'));
    const floats = async (name: string, values: Float32Array) => {
      const path = join(folder, name);
      await writeFile(path, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      return path;
    };
    const group = async (name: string, layout: ParameterLayout, values: Float32Array) => ({
      file: await floats(name, values),
      layout: layout.parameters.map(({ name: parameter, offset, shape }) => ({ name: parameter, offset, shape })),
    });
    const specification = {
      network: options,
      weights: [
        await group('parameters', network.parameters, weights.parameters),
        await group('statistics', network.statistics, weights.statistics),
      ],
      window: await floats('window', feeds.window),
      target: await floats('target', feeds.target),
      rate: { ...RATE, ...DEFAULT_ADAMW },
      labelSmoothing: LABEL_SMOOTHING,
      threads: 1,
    };
    const path = join(folder, 'specification.json');
    await writeFile(path, JSON.stringify(specification));
    const process = spawn(executable, [`${root}benchmarks/peers/training_step.py`, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface(process.stdout!)[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.done) {
      await rm(folder, { recursive: true });
      throw new Error(`the PyTorch ${torch} peer ended before it was ready`);
    }
    return new PyTorchPeer(`PyTorch ${torch}`, JSON.parse(first.value), process, lines, folder);
  }

  async #ask<T>(line: string): Promise<T> {
    this.#process.stdin!.write(`${line}\n`);
    const { done, value } = await this.#lines.next();
    if (done) throw new Error(`${this.name} ended in the middle of '${line}'`);
    return JSON.parse(value) as T;
  }

  /** Takes `count` training steps. @returns loss of the last, before its update */
  async steps(count: number): Promise<number> {
    return (await this.#ask<{ loss: number }>(`step ${count}`)).loss;
  }

  slice(calls: number): Promise<SliceTime> {
    return this.#ask<SliceTime>(`step ${calls}`);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin!.end();
    await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }
}
