import { fileURLToPath } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { BundleRefusal, type BundleRefusalCode } from '../../models/bundle/schema/refusal.ts';
import type { WindowAnswer } from '../decide/decisions.ts';
import type { WindowJob } from '../stream/stream-gateway.ts';
import type { StreamMemory } from '../stream/stream-memory.ts';
import { inferenceWorker } from './early-thread.ts';
import { endThread } from './end-thread.ts';
import { type FromWorker, JobMemory, LARGEST_BATCH, MODEL, ResultMemory, type ToWorker } from './protocol.ts';

export interface InferenceOptions {
  readonly bundleFolder: string;
  readonly memory: StreamMemory;
  readonly engine: 'onnxruntime' | 'wasm';
  /** Threads inside one run. Default 1. */
  readonly threads?: number;
  /** Whether a model that is too slow for the stream's pace gives way to the back-up. Default true. */
  readonly paced?: boolean;
  /** Folder with inference-worker.js and the .wasm files, as a URL with a closing slash. */
  readonly programs: URL;
  /** An adapter on trial, a safetensors file: it must fit the bundle, and give numbers for the known answers. */
  readonly adapter?: Uint8Array;
}

export interface BatchResult {
  readonly runMs: number;
  /** The engine's words where it failed; then no window of the batch was decided. */
  readonly failure?: string;
}

/** A row of the results. */
class Answer implements WindowAnswer {
  readonly probabilities: Float32Array;
  readonly features: Float32Array | undefined;
  readonly #embedding: Float32Array | undefined;
  readonly #results: ResultMemory;
  readonly #row: number;

  constructor(results: ResultMemory, row: number) {
    const { classes, features, embedding } = results.shape;
    const of = (rows: Float32Array, width: number) => (width > 0 ? rows.subarray(row * width, (row + 1) * width) : undefined);
    this.probabilities = results.probabilities.subarray(row * classes, (row + 1) * classes);
    this.features = of(results.features, features);
    this.#embedding = of(results.embedding, embedding);
    this.#results = results;
    this.#row = row;
  }

  get novelty(): number | undefined {
    const novelty = this.#results.novelty[this.#row];
    // NaN: decided by the back-up, which does not measure it.
    return this.#results.shape.novelty && Number.isFinite(novelty) ? novelty : undefined;
  }

  get embedding(): Float32Array | undefined {
    return this.#results.models[this.#row] === MODEL.primary ? this.#embedding : undefined;
  }
}

/** The gateway's side of the inference thread. One batch at a time. */
export class InferenceThread {
  readonly #worker: Worker;
  readonly #jobs: JobMemory;
  readonly results: ResultMemory;
  readonly proof: Extract<FromWorker, { kind: 'ready' }>;
  /** One a row of `results`: views cost more to make than to read. */
  readonly #answers: Answer[];
  #onDone: ((result: BatchResult) => void) | undefined;

  private constructor(worker: Worker, jobs: JobMemory, proof: InferenceThread['proof']) {
    this.#worker = worker;
    this.#jobs = jobs;
    this.results = new ResultMemory(proof.resultShape, proof.results);
    this.#answers = Array.from({ length: LARGEST_BATCH }, (_, row) => new Answer(this.results, row));
    this.proof = proof;
    worker.on('message', (message: FromWorker) => {
      if (message.kind !== 'done') return;
      const done = this.#onDone;
      this.#onDone = undefined;
      done?.(message);
    });
  }

  /**
   * Starts the thread and waits until it has read the bundle and proved its known answers.
   *
   * @param onExit called when the thread ends unasked
   * @throws BundleRefusal where the bundle is refused
   */
  static async start(
    { bundleFolder, memory, engine, threads, paced = true, programs, adapter }: InferenceOptions,
    onExit: (error: Error) => void,
  ): Promise<InferenceThread> {
    const worker = inferenceWorker(programs);
    const { shape, buffer } = memory;
    const jobs = new JobMemory(shape.channels);
    const start: ToWorker = {
      kind: 'start',
      bundleFolder,
      shape,
      memory: buffer,
      jobs: jobs.buffer,
      engine,
      threads,
      paced,
      wasmFolder: fileURLToPath(programs),
      adapter,
    };
    let ready: Extract<FromWorker, { kind: 'ready' }>;
    try {
      worker.postMessage(start);
      ready = await proved(worker);
    } catch (error) {
      // A thread that nobody has keeps the process from ending.
      await endThread(worker, { kind: 'stop' } satisfies ToWorker);
      throw error;
    }
    worker.on('error', onExit);
    worker.on('exit', (code) => onExit(new Error(`the inference thread ended with ${code}`)));
    return new InferenceThread(worker, jobs, ready);
  }

  get busy(): boolean {
    return this.#onDone !== undefined;
  }

  /** Runs a batch of at most LARGEST_BATCH windows; its results lie in `results` until the next. */
  run(jobs: readonly WindowJob[], onDone: (result: BatchResult) => void): void {
    if (this.#onDone) throw new Error('a batch is running');
    this.#onDone = onDone;
    for (let row = 0; row < jobs.length; row++) {
      const { stream, end, adapter, reference, scales } = jobs[row];
      this.#jobs.write(row, stream, end, adapter, reference, scales);
    }
    this.#worker.postMessage({ kind: 'run', count: jobs.length } satisfies ToWorker);
  }

  /** What the graph gave for a window of the last batch: views, to be read before the next. */
  answer(row: number): WindowAnswer {
    return this.#answers[row];
  }

  /** Windows whose job names this row are decided with this reference [R], from the next batch on. Row 0 stays zero. */
  setReference(row: number, values: Float32Array): void {
    const { features } = this.results.shape;
    if (row === 0 || values.length !== features)
      throw new RangeError(`a reference of ${values.length} numbers for row ${row}, where the graph takes ${features}`);
    this.#worker.postMessage({ kind: 'row', bank: 'reference', row, values } satisfies ToWorker);
  }

  /**
   * Windows whose job names this row are decided with this adapter, from the next batch on. Row 0 stays zero.
   *
   * @param values as `bankRow` makes them, [P]; the thread takes their memory
   */
  setAdapter(row: number, values: Float32Array<ArrayBuffer>): void {
    if (row === 0) throw new RangeError('row 0 of the adapter bank is the base itself');
    this.#worker.postMessage({ kind: 'row', bank: 'adapter', row, values } satisfies ToWorker, [values.buffer]);
  }

  /** Lets every other thread go first, for good: the system does not give the priority back. */
  toBackground(): void {
    this.#worker.postMessage({ kind: 'background' } satisfies ToWorker);
  }

  /** Ends the thread after what it runs: it may still compare the other model with the batch that it has answered. */
  async stop(): Promise<void> {
    this.#worker.removeAllListeners();
    await endThread(this.#worker, { kind: 'stop' } satisfies ToWorker);
  }
}

/** @throws BundleRefusal where the thread refuses its bundle, Error where it ends or says anything else */
async function proved(worker: Worker): Promise<Extract<FromWorker, { kind: 'ready' }>> {
  const first = await new Promise<FromWorker>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`the inference thread ended with ${code} before it was ready`)));
  }).finally(() => {
    // Not all of all events: the worker has some of its own, without which no message comes any more.
    for (const event of ['error', 'exit']) worker.removeAllListeners(event);
  });
  if (first.kind === 'refused') throw new BundleRefusal(first.code as BundleRefusalCode, first.message);
  if (first.kind !== 'ready') throw new Error(`the inference thread said ${first.kind} before it was ready`);
  return first;
}
