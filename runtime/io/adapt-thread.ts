import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { FromLearner, LearnerAnswer, ToLearner } from './adapt-protocol.ts';
import { endThread } from './end-thread.ts';

export interface LearningThreadOptions {
  readonly bundleFolder: string;
  readonly engine: 'onnxruntime' | 'wasm';
  /** Folder with adapt-worker.js and the .wasm files, as a URL with a closing slash. */
  readonly programs: URL;
}

/** The gateway's side of the learning thread. It lives as long as there is something to learn: its sessions are memory that decisions may need. */
export class LearningThread {
  readonly #worker: Worker;
  #digest = '';
  #onAnswer: (given: FromLearner) => void = () => {};
  #fail: (error: Error) => void = () => {};

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (given: FromLearner) => this.#onAnswer(given));
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', (code) => this.#fail(new Error(`the learning thread ended with ${code}`)));
  }

  /** SHA-256 of the bundle's manifest that it read. */
  get digest(): string {
    return this.#digest;
  }

  /** @throws Error where the bundle cannot be read, or cannot learn */
  static async start({ bundleFolder, engine, programs }: LearningThreadOptions): Promise<LearningThread> {
    const worker = new Worker(new URL('adapt-worker.js', programs), { name: 'learning' });
    const thread = new LearningThread(worker);
    try {
      const { digest } = await thread.#ask('ready', { kind: 'start', bundleFolder, engine, wasmFolder: fileURLToPath(programs) });
      thread.#digest = digest;
      return thread;
    } catch (error) {
      await endThread(worker, { kind: 'stop' } satisfies ToLearner);
      throw error;
    }
  }

  /** @throws Error where the budget is used up, or the examples cannot be learned */
  learn(work: Omit<Extract<ToLearner, { kind: 'learn' }>, 'kind'>): Promise<LearnerAnswer<'learned'>> {
    return this.#ask('learned', { kind: 'learn', ...work });
  }

  async compare(work: Omit<Extract<ToLearner, { kind: 'compare' }>, 'kind'>): Promise<LearnerAnswer<'compared'>['figures']> {
    return (await this.#ask('compared', { kind: 'compare', ...work })).figures;
  }

  /** Ends the thread with its next step; what is under way fails. */
  async stop(): Promise<void> {
    this.#fail(new Error('the gateway stops'));
    await endThread(this.#worker, { kind: 'stop' } satisfies ToLearner);
  }

  #ask<K extends FromLearner['kind']>(kind: K, message: ToLearner): Promise<LearnerAnswer<K>> {
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      this.#onAnswer = (given) => {
        if (given.kind === kind) resolve(given as LearnerAnswer<K>);
        else reject(new Error(given.kind === 'failed' ? given.reason : `the learning thread said ${given.kind} instead of ${kind}`));
      };
      this.#worker.postMessage(message);
    });
  }
}
