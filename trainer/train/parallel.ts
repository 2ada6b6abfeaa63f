import { Worker } from 'node:worker_threads';
import { emptyTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import { elementCount } from '../../models/trace/graph.ts';
import { type OptimizerState, type StepRates, UpdateStepper } from '../../models/training/stepper.ts';
import { endThread } from '../../runtime/io/end-thread.ts';
import { addShare, cutBatch, type Part, type PartShape } from './accumulate-parts.ts';
import type { EngineName } from './engines.ts';
import type { FromTrainingWorker, SharedTensor, ToTrainingWorker } from './parallel-protocol.ts';
import { PeakMemory } from './peak-memory.ts';
import type { StepOutcome, StepRunner } from './step-runner.ts';

export interface ParallelRequest {
  readonly engineName: EngineName;
  /** A graph made by traceGradient with `shape.partBatch` samples. */
  readonly gradient: Uint8Array;
  /** Session of a graph made by traceUpdate, on this thread. */
  readonly update: Session;
  /** Starting values, [P]; copied. */
  readonly initial: Float32Array;
  readonly shape: PartShape;
  readonly workers: number;
  /** Folder with training-worker.js and the engines' files. */
  readonly programs: URL;
  readonly signal?: AbortSignal;
}

const sharedFloats = (count: number) => new Float32Array(new SharedArrayBuffer(4 * count));

/**
 * Data-parallel training on worker threads: the micro-batches of a step go to whichever worker is free; their gradients are added on this
 * thread in the order of the batch, so that the result is bitwise that of {@link AccumulatingRunner} with the same parts, whatever the
 * number of workers.
 */
export class ParallelRunner implements StepRunner {
  readonly #workers: readonly Worker[];
  readonly #shape: PartShape;
  readonly #update: UpdateStepper;
  readonly #trainable: Float32Array;
  readonly #gradients: Float32Array;
  readonly #sum: TensorData;
  readonly #memory = new PeakMemory();
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.#fail(this.#signal!.reason);
  #inputs: Record<string, { readonly shape: readonly number[]; readonly values: Float32Array }> | undefined;
  #step = 0;
  #released = false;
  /** Why no further step can be taken. */
  #failure: { readonly cause: unknown } | undefined;
  /** Called with every message, and when a worker dies; set while somebody waits. */
  #onMessage: (worker: Worker, message: FromTrainingWorker) => void = () => {};
  #onFailure: (cause: unknown) => void = () => {};

  private constructor({ update, initial, shape, workers, programs, signal }: ParallelRequest) {
    this.#shape = shape;
    this.#update = new UpdateStepper(update, initial);
    this.#trainable = sharedFloats(initial.length);
    this.#gradients = sharedFloats(Math.ceil(shape.batch / shape.partBatch) * initial.length);
    this.#sum = emptyTensor('float32', [initial.length]);
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort);
    this.#workers = Array.from({ length: workers }, (_, index) => {
      const name = `training ${index + 1}`;
      const worker = new Worker(new URL('training-worker.js', programs), { name });
      worker.on('message', (message: FromTrainingWorker) => this.#onMessage(worker, message));
      worker.on('error', (cause) => this.#fail(new Error(`worker thread ${name} died: ${(cause as Error).message}`, { cause })));
      worker.on('exit', (code) => this.#fail(new Error(`worker thread ${name} ended with ${code}`)));
      return worker;
    });
  }

  /** Starts the threads and waits until each has loaded the graph. @throws Error what a worker died of; the signal's reason */
  static async start(request: ParallelRequest): Promise<ParallelRunner> {
    request.signal?.throwIfAborted();
    const runner = new ParallelRunner(request);
    const { engineName, programs, gradient, shape } = request;
    let waiting = request.workers;
    try {
      await runner.#wait((settle) => {
        runner.#onMessage = () => {
          if (--waiting === 0) settle();
        };
        runner.#tell({
          kind: 'start',
          engine: engineName,
          programs: programs.href,
          graph: gradient,
          shape,
          trainable: runner.#trainable.buffer as SharedArrayBuffer,
          gradients: runner.#gradients.buffer as SharedArrayBuffer,
        });
      });
    } catch (error) {
      // Why it could not start says more than what stopping it may add.
      await runner.release().catch(() => {});
      throw error;
    }
    return runner;
  }

  get optimizer(): OptimizerState {
    return this.#update.optimizer;
  }

  get peakRssBytes(): number {
    return this.#memory.bytes;
  }

  async step(feeds: Readonly<Record<string, TensorData>>, rates: StepRates): Promise<StepOutcome> {
    this.#share(feeds);
    this.#trainable.set(this.optimizer.trainable);
    const parts = cutBatch(feeds, this.#shape);
    const losses = await this.#runAll(parts);
    const size = this.#trainable.length;
    const sum = (this.#sum.values as Float32Array).fill(0);
    let loss = 0;
    for (const { index, share } of parts) {
      addShare(sum, this.#gradients.subarray(index * size, (index + 1) * size), share);
      loss += share * losses[index];
    }
    const gradientNorm = await this.#update.step(this.#sum, rates);
    this.#step++;
    return { loss, gradientNorm };
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    await Promise.all(this.#workers.map((worker) => endThread(worker, { kind: 'stop' } satisfies ToTrainingWorker)));
    await this.#update.release();
  }

  /** Losses of the parts, by index. A worker that is done takes the next part. */
  async #runAll(parts: readonly Part[]): Promise<number[]> {
    const losses: number[] = [];
    if (parts.length === 0) return losses;
    await this.#wait((settle) => {
      let [next, left] = [0, parts.length];
      const give = (worker: Worker) => {
        if (next < parts.length) worker.postMessage({ kind: 'run', step: this.#step, part: parts[next++] } satisfies ToTrainingWorker);
      };
      this.#onMessage = (worker, message) => {
        if (message.kind !== 'done') return;
        losses[message.part] = message.loss;
        this.#memory.sample();
        if (--left === 0) settle();
        else give(worker);
      };
      for (const worker of this.#workers) give(worker);
    });
    return losses;
  }

  /** Puts a batch where the workers see it. */
  #share(feeds: Readonly<Record<string, TensorData>>): void {
    if (!this.#inputs) {
      this.#inputs = Object.fromEntries(
        Object.entries(feeds).map(([name, { shape }]) => [name, { shape, values: sharedFloats(elementCount(shape)) }]),
      );
      const inputs: Record<string, SharedTensor> = Object.fromEntries(
        Object.entries(this.#inputs).map(([name, { shape, values }]) => [name, { shape, buffer: values.buffer as SharedArrayBuffer }]),
      );
      this.#tell({ kind: 'inputs', inputs });
    }
    for (const [name, { values }] of Object.entries(this.#inputs)) values.set(feeds[name].values as Float32Array);
  }

  #tell(message: ToTrainingWorker): void {
    for (const worker of this.#workers) worker.postMessage(message);
  }

  async #wait(begin: (settle: () => void) => void): Promise<void> {
    if (this.#failure) throw this.#failure.cause;
    await new Promise<void>((resolve, reject) => {
      this.#onFailure = reject;
      begin(resolve);
    });
  }

  #fail(cause: unknown): void {
    if (this.#released || this.#failure) return;
    this.#failure = { cause };
    this.#onFailure(cause);
  }
}
