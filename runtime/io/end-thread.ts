import type { Worker } from 'node:worker_threads';

/** Longer than any run; a thread that has not ended by then hangs. */
const LONGEST_MS = 20_000;

/**
 * Ends a worker thread that may be inside an engine's native code: it is asked to end, and does when its run is over. `terminate()` there ends the
 * whole process, because an engine that comes back to a thread without JavaScript throws where nobody catches.
 *
 * @param stop message that the thread takes as an order to end itself
 */
export async function endThread(worker: Worker, stop: { readonly kind: 'stop' }): Promise<void> {
  // Of a thread that has ended: no exit would come.
  if (worker.threadId === -1) return;
  // What goes wrong on its last way is of no use to anybody.
  worker.on('error', () => {});
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage(stop);
  const hanging = setTimeout(() => void worker.terminate(), LONGEST_MS);
  await ended;
  clearTimeout(hanging);
}
