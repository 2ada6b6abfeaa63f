import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import {
  type Bundle,
  bankLayout,
  checkAdapterAnswers,
  checkAnswers,
  checkSignature,
  FILES,
  loadGraph,
  readAdapter,
  readParts,
} from '../models/bundle/bundle.ts';
import { BundleRefusal } from '../models/bundle/schema/refusal.ts';
import { emptyTensor, type Session, type TensorData } from '../models/engine/engine.ts';
import { dualSettings } from './decide/dual-state.ts';
import { BatchSession } from './io/batch-session.ts';
import { createEngine, warmEngine } from './io/create-engine.ts';
import { DualRunner } from './io/dual-runner.ts';
import type { ThreadData } from './io/early-thread.ts';
import {
  type Bank,
  type FromWorker,
  JobMemory,
  LARGEST_BATCH,
  RESULT,
  ResultMemory,
  type ResultShape,
  type ToWorker,
} from './io/protocol.ts';
import { StreamMemory } from './stream/stream-memory.ts';

/**
 * The inference thread: owns the engine, the bundle, the adapter bank and the reference bank; reads windows out of the shared rings and writes
 * answers into the shared results. A run blocks this thread and no other.
 */

/** As `nice` counts: a tenth of the time where another thread wants it. */
const BACKGROUND_PRIORITY = 10;
/** Batches up to this size find their memory ready; a gateway of so many streams that larger ones come pays for it once, a gateway of few never. */
const WARM_BATCH = 16;

if (!parentPort) throw new Error('runs as a worker thread of the gateway');
const port = parentPort;
const { early: isEarly } = workerData as ThreadData;
const say = (message: FromWorker) => port.postMessage(message);

/** Numbers of an output's row; 0 where the graph does not give it. */
function outputSize({ outputs }: Session, wanted: string): number {
  return Number(outputs.find(({ name }) => name === wanted)?.shape[1] ?? 0);
}

/** Numbers of a reference, R; 0 where the graph takes none. */
function referenceSize({ inputs, outputs }: Session): number {
  const bank = inputs.find(({ name }) => name === 'referenceBank');
  return bank && outputs.some(({ name }) => name === 'features') ? Number(bank.shape[1]) : 0;
}

/** Everything that runs batches. */
class Inference {
  readonly #memory: StreamMemory;
  readonly #jobs: JobMemory;
  readonly #results: ResultMemory;
  readonly #runner: DualRunner;
  readonly #window: Int16Array;
  readonly #feeds: Record<string, TensorData>;
  readonly #references: TensorData;
  readonly #adapters: TensorData;

  constructor(
    sessions: { primary: Session; backup?: Session },
    bundle: Bundle,
    memory: StreamMemory,
    jobs: JobMemory,
    results: ResultMemory,
    paced: boolean,
  ) {
    const { window, channels, streams } = memory.shape;
    const { sampleRateHz, stride } = bundle.manifest.recipe;
    this.#memory = memory;
    this.#jobs = jobs;
    this.#results = results;
    this.#feeds = {
      window: emptyTensor('int16', [LARGEST_BATCH, window, channels]),
      scale: emptyTensor('float32', [LARGEST_BATCH, channels]),
      adapterIndex: emptyTensor('int32', [LARGEST_BATCH]),
      referenceIndex: emptyTensor('int32', [LARGEST_BATCH]),
    };
    this.#window = this.#feeds.window.values as Int16Array;
    // A row for each slot, after the one that is zero. Memory that is not written is not resident.
    this.#adapters = emptyTensor('float32', [streams + 1, bankLayout(bundle.manifest).size]);
    this.#references = emptyTensor('float32', [streams + 1, results.shape.features]);
    const banks = { adapterBank: this.#adapters, referenceBank: this.#references };
    const batches = (session: Session) => new BatchSession(session, this.#feeds, LARGEST_BATCH, banks);
    const settings = dualSettings((1000 * stride) / sampleRateHz);
    const latencyBudgetMs = paced ? settings.latencyBudgetMs : Number.POSITIVE_INFINITY;
    this.#runner = new DualRunner(
      batches(sessions.primary),
      sessions.backup && batches(sessions.backup),
      results,
      { ...settings, latencyBudgetMs },
      this.#feeds.adapterIndex.values as Int32Array,
    );
  }

  setRow(bank: Bank, row: number, values: Float32Array): void {
    const { values: rows } = bank === 'reference' ? this.#references : this.#adapters;
    (rows as Float32Array).set(values, row * values.length);
  }

  async decide(count: number): Promise<void> {
    const { window, channels } = this.#memory.shape;
    const { states } = this.#results;
    const [adapters, references] = [this.#feeds.adapterIndex.values, this.#feeds.referenceIndex.values];
    for (let row = 0; row < count; row++) {
      const intact = this.#memory.copyWindow(this.#jobs.stream(row), this.#jobs.end(row), this.#window, row * window * channels);
      states[row] = intact ? RESULT.decided : RESULT.overrun;
      adapters[row] = this.#jobs.adapter(row);
      references[row] = this.#jobs.reference(row);
    }
    // Jobs lie in shared memory, which no engine takes as a feed.
    (this.#feeds.scale.values as Float32Array).set(this.#jobs.scales);
    await this.#runner.decide(count);
  }

  compare(count: number): Promise<void> {
    return this.#runner.compare(count);
  }
}

let inference: Inference | undefined;

async function start(message: Extract<ToWorker, { kind: 'start' }>): Promise<void> {
  const engine = await createEngine(message.engine, message.wasmFolder, message.threads);
  const bundle = await readParts(message.bundleFolder);
  const primary = await loadGraph(engine, bundle, FILES.infer);
  checkSignature(bundle.manifest, primary);
  const backup = bundle.files.has(FILES.backup) ? await loadGraph(engine, bundle, FILES.backup) : undefined;
  const features = referenceSize(primary);
  const largestAnswerError = await checkAnswers(bundle, primary);
  const ownAdapter = bundle.files.get(FILES.adapter);
  if (ownAdapter) readAdapter(bundle, ownAdapter, FILES.adapter);
  if (message.adapter) await checkAdapterAnswers(bundle, primary, message.adapter);
  const resultShape: ResultShape = {
    classes: bundle.manifest.classes.length,
    features,
    embedding: outputSize(primary, 'embedding'),
    novelty: primary.outputs.some(({ name }) => name === 'novelty'),
    dual: backup !== undefined,
  };
  const results = new ResultMemory(resultShape);
  const memory = new StreamMemory(message.shape, message.memory);
  const jobs = new JobMemory(message.shape.channels, message.jobs);
  const sessions = [primary, ...(backup ? [backup] : [])];
  const warmUp = (count: number) => runEmpty(sessions, count, bundle, memory, features);
  await warmUp(1);
  // A gateway that starts connects meanwhile; one that takes another bundle under way has windows waiting.
  if (!isEarly) await warmUp(WARM_BATCH);
  inference = new Inference({ primary, backup }, bundle, memory, jobs, results, message.paced);
  const { name, version } = engine;
  say({ kind: 'ready', engine: { name, version }, digest: bundle.digest, largestAnswerError, results: results.buffer, resultShape });
  if (isEarly) queue = queue.then(() => warmUp(WARM_BATCH)).catch(() => {});
}

/** The first runs of a session allocate its arena; no window shall pay for that, and no counter shall see it. */
async function runEmpty(
  sessions: readonly Session[],
  count: number,
  bundle: Bundle,
  { shape }: StreamMemory,
  features: number,
): Promise<void> {
  const bank = emptyTensor('float32', [1, bankLayout(bundle.manifest).size]);
  for (const session of sessions) {
    await session.run({
      window: emptyTensor('int16', [count, shape.window, shape.channels]),
      scale: emptyTensor('float32', [count, shape.channels]),
      adapterBank: bank,
      adapterIndex: emptyTensor('int32', [count]),
      referenceBank: emptyTensor('float32', [1, features]),
      referenceIndex: emptyTensor('int32', [count]),
    });
  }
}

async function run(count: number): Promise<void> {
  const began = performance.now();
  try {
    await inference!.decide(count);
    say({ kind: 'done', count, runMs: performance.now() - began });
  } catch (error) {
    say({ kind: 'done', count, runMs: performance.now() - began, failure: (error as Error).message });
    return;
  }
  // After the answer, so that no window waits for the other model's opinion.
  await inference!.compare(count);
}

/** Linux takes a thread's number where others want a process's; elsewhere the thread stays as it is. */
function toBackground(): void {
  try {
    setPriority(Number(basename(readlinkSync('/proc/thread-self'))), BACKGROUND_PRIORITY);
  } catch {
    // It runs seldom enough to do no harm.
  }
}

if (isEarly) warmEngine();

/** One thing after the other: a session runs one batch at a time. */
let queue: Promise<void> = Promise.resolve();

port.on('message', (message: ToWorker) => {
  if (message.kind === 'stop') void queue.finally(() => process.exit());
  else if (message.kind === 'background') toBackground();
  else if (message.kind === 'run') queue = queue.then(() => run(message.count));
  else if (message.kind === 'row') queue = queue.then(() => inference!.setRow(message.bank, message.row, message.values));
  else {
    start(message).catch((error: unknown) => {
      if (!(error instanceof BundleRefusal)) throw error;
      say({ kind: 'refused', code: error.code, message: error.message });
    });
  }
});
