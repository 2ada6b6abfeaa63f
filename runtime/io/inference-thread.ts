import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { BundleRefusal, type BundleRefusalCode } from '../../models/bundle/schema/refusal.ts';
import type { WindowJob } from '../stream/stream-gateway.ts';
import type { StreamMemory } from '../stream/stream-memory.ts';
import { type FromWorker, ResultMemory, type ToWorker } from './protocol.ts';

export interface InferenceOptions {
  readonly bundleFolder: string;
  readonly classes: number;
  readonly memory: StreamMemory;
  readonly engine: 'onnxruntime' | 'wasm';
  /** Folder with inference-worker.js and the .wasm files, as a URL with a closing slash. */
  readonly programs: URL;
}

export interface BatchResult {
  readonly runMs: number;
  /** The engine's words where it failed; then no window of the batch was decided. */
  readonly failure?: string;
}

/** The gateway's side of the inference thread. One batch at a time. */
export class InferenceThread {
  readonly #worker: Worker;
  readonly results: ResultMemory;
  readonly proof: Extract<FromWorker, { kind: 'ready' }>;
  #onDone: ((result: BatchResult) => void) | undefined;

  private constructor(worker: Worker, results: ResultMemory, proof: InferenceThread['proof']) {
    this.#worker = worker;
    this.results = results;
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
    { bundleFolder, classes, memory, engine, programs }: InferenceOptions,
    onExit: (error: Error) => void,
  ): Promise<InferenceThread> {
    const results = new ResultMemory(classes);
    const worker = new Worker(new URL('inference-worker.js', programs), { name: 'inference' });
    const { shape, buffer } = memory;
    const start: ToWorker = {
      kind: 'start',
      bundleFolder,
      shape,
      memory: buffer,
      results: results.buffer,
      engine,
      wasmFolder: fileURLToPath(programs),
    };
    worker.postMessage(start);
    const first = await new Promise<FromWorker>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    if (first.kind === 'refused') throw new BundleRefusal(first.code as BundleRefusalCode, first.message);
    if (first.kind !== 'ready') throw new Error(`the inference thread said ${first.kind} before it was ready`);
    worker.removeAllListeners('error');
    worker.on('error', onExit);
    worker.on('exit', (code) => onExit(new Error(`the inference thread ended with ${code}`)));
    return new InferenceThread(worker, results, first);
  }

  get busy(): boolean {
    return this.#onDone !== undefined;
  }

  /** Runs a batch; its results lie in `results` until the next. */
  run(jobs: readonly WindowJob[], onDone: (result: BatchResult) => void): void {
    if (this.#onDone) throw new Error('a batch is running');
    this.#onDone = onDone;
    const packed = new Uint32Array(3 * jobs.length);
    const scales = new Float32Array(jobs.length * jobs[0].scales.length);
    jobs.forEach((job, row) => {
      packed.set([job.stream, job.end, job.adapter], 3 * row);
      scales.set(job.scales, row * job.scales.length);
    });
    this.#worker.postMessage({ kind: 'run', jobs: packed, scales } satisfies ToWorker);
  }

  async stop(): Promise<void> {
    this.#worker.removeAllListeners();
    this.#worker.postMessage({ kind: 'stop' } satisfies ToWorker);
    await this.#worker.terminate();
  }
}
