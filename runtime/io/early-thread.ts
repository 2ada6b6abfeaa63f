import { Worker } from 'node:worker_threads';
import { endThread } from './end-thread.ts';

/** What an inference thread is told as it starts. */
export interface ThreadData {
  /** Whether it was started with the process: before anybody knows what it is to run, and before any stream has come. */
  readonly early: boolean;
}

/** Started before anybody knew what it is to run. */
let early: Worker | undefined;

const start = (programs: URL, workerData: ThreadData) =>
  new Worker(new URL('inference-worker.js', programs), { name: 'inference', workerData });

const forget = () => {
  early = undefined;
};

/**
 * Starts an inference thread before the main thread has read its own program, let alone a configuration: the two load beside each other. One that cannot
 * be started now is started when it is asked for.
 *
 * @param programs folder with inference-worker.js, as a URL with a closing slash
 */
export function startEarly(programs: URL): void {
  try {
    early = start(programs, { early: true }).once('error', forget);
  } catch {
    // Whoever asks for one hears why there is none.
  }
}

/** The thread that was started early, once; another afterwards. */
export function inferenceWorker(programs: URL): Worker {
  const worker = early?.off('error', forget) ?? start(programs, { early: false });
  early = undefined;
  return worker;
}

/** Ends the thread that was started early and that nobody took. To be awaited before the process exits: it may be inside the engine's own code. */
export async function endEarly(): Promise<void> {
  const worker = early;
  early = undefined;
  if (worker) await endThread(worker, { kind: 'stop' });
}
