import { parentPort } from 'node:worker_threads';
import { bankRow } from '../models/adapters/scheme.ts';
import { type Bundle, bankLayout, bundleModel, checkAnswers, FILES, readAdapter, readBundle } from '../models/bundle/bundle.ts';
import { BundleRefusal } from '../models/bundle/schema/refusal.ts';
import { type Engine, floatTensor, type Session, type TensorData } from '../models/engine/engine.ts';
import { type FromWorker, LARGEST_BATCH, RESULT, ResultMemory, type ToWorker } from './io/protocol.ts';
import { StreamMemory } from './stream/stream-memory.ts';

/**
 * The inference thread: owns the engine, the bundle and the adapter bank; reads windows out of the shared rings and writes decisions into the
 * shared results. A run blocks this thread and no other.
 */

/** Rows of the bank: none (0) and the bundle's own adapter (1). */
const BANK_ROWS = 2;

if (!parentPort) throw new Error('runs as a worker thread of the gateway');
const port = parentPort;
const say = (message: FromWorker) => port.postMessage(message);

async function createEngine(kind: 'onnxruntime' | 'wasm', wasmFolder: string): Promise<Engine> {
  if (kind === 'wasm') return (await import('../models/engine/wasm-engine.ts')).createWasmEngine(wasmFolder);
  return (await import('../models/engine/onnxruntime-engine.ts')).createOnnxruntimeEngine();
}

function adapterBank(bundle: Bundle): TensorData {
  const layout = bankLayout(bundle.manifest);
  const bank = new Float32Array(BANK_ROWS * layout.size);
  const file = bundle.files.get(FILES.adapter);
  if (file) bank.set(bankRow(bundle.manifest.adapter, layout, readAdapter(bundle, file, FILES.adapter)), layout.size);
  return floatTensor(bank, [BANK_ROWS, layout.size]);
}

/** Runs batches of one session, with memory for the largest batch made once. */
class BatchRunner {
  readonly #session: Session;
  readonly #memory: StreamMemory;
  readonly #results: ResultMemory;
  readonly #classes: number;
  readonly #window: Int16Array;
  readonly #scale: Float32Array;
  readonly #adapterIndex: Int32Array;
  readonly #bank: TensorData;
  /** Feeds by batch size: views of the same memory. */
  readonly #feeds = new Map<number, Record<string, TensorData>>();

  constructor(session: Session, bundle: Bundle, memory: StreamMemory, results: ResultMemory) {
    const { window, channels } = memory.shape;
    this.#session = session;
    this.#memory = memory;
    this.#results = results;
    this.#classes = bundle.manifest.classes.length;
    this.#window = new Int16Array(LARGEST_BATCH * window * channels);
    this.#scale = new Float32Array(LARGEST_BATCH * channels).fill(1);
    this.#adapterIndex = new Int32Array(LARGEST_BATCH);
    this.#bank = adapterBank(bundle);
  }

  async run(jobs: Uint32Array, scales: Float32Array): Promise<void> {
    const { window, channels } = this.#memory.shape;
    const count = jobs.length / 3;
    const { states, probabilities } = this.#results;
    for (let row = 0; row < count; row++) {
      const [stream, end, adapter] = [jobs[3 * row], jobs[3 * row + 1], jobs[3 * row + 2]];
      const intact = this.#memory.copyWindow(stream, end, this.#window, row * window * channels);
      states[row] = intact ? RESULT.decided : RESULT.overrun;
      this.#adapterIndex[row] = adapter;
    }
    this.#scale.set(scales);
    const made = (await this.#session.run(this.#feedsOf(count))).probabilities.values as Float32Array;
    const classes = this.#classes;
    for (let row = 0; row < count; row++) {
      for (let column = row * classes; column < (row + 1) * classes; column++) {
        probabilities[column] = made[column];
        if (!Number.isFinite(made[column]) && states[row] === RESULT.decided) states[row] = RESULT.notFinite;
      }
    }
  }

  #feedsOf(count: number): Record<string, TensorData> {
    let feeds = this.#feeds.get(count);
    if (!feeds) {
      const { window, channels } = this.#memory.shape;
      feeds = {
        window: { type: 'int16', shape: [count, window, channels], values: this.#window.subarray(0, count * window * channels) },
        scale: floatTensor(this.#scale.subarray(0, count * channels), [count, channels]),
        adapterIndex: { type: 'int32', shape: [count], values: this.#adapterIndex.subarray(0, count) },
        adapterBank: this.#bank,
      };
      this.#feeds.set(count, feeds);
    }
    return feeds;
  }
}

let runner: BatchRunner | undefined;

async function start(message: Extract<ToWorker, { kind: 'start' }>): Promise<void> {
  const engine = await createEngine(message.engine, message.wasmFolder);
  const bundle = await readBundle(message.bundleFolder);
  if (bundle.manifest.reference)
    throw new BundleRefusal(
      'bundle/graph',
      `${bundle.manifest.name} decides on what differs from a reference, and no machine here has one`,
    );
  const session = await engine.load(bundleModel(bundle, FILES.infer));
  const largestAnswerError = await checkAnswers(bundle, session);
  runner = new BatchRunner(
    session,
    bundle,
    new StreamMemory(message.shape, message.memory),
    new ResultMemory(bundle.manifest.classes.length, message.results),
  );
  // The first runs of a session allocate its arena; no window shall pay for that.
  for (const count of [1, LARGEST_BATCH]) await runner.run(new Uint32Array(3 * count), new Float32Array(count * message.shape.channels));
  say({ kind: 'ready', engine: { name: engine.name, version: engine.version }, digest: bundle.digest, largestAnswerError });
}

async function run(jobs: Uint32Array, scales: Float32Array): Promise<void> {
  const began = performance.now();
  const count = jobs.length / 3;
  try {
    await runner!.run(jobs, scales);
    say({ kind: 'done', count, runMs: performance.now() - began });
  } catch (error) {
    say({ kind: 'done', count, runMs: performance.now() - began, failure: (error as Error).message });
  }
}

port.on('message', (message: ToWorker) => {
  if (message.kind === 'stop') port.close();
  else if (message.kind === 'run') void run(message.jobs, message.scales);
  else {
    start(message).catch((error: unknown) => {
      if (!(error instanceof BundleRefusal)) throw error;
      say({ kind: 'refused', code: error.code, message: error.message });
    });
  }
});
