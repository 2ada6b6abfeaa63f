import type { Worker } from 'node:worker_threads';

/**
 * Ends a worker thread that may be inside an engine's native code: it is asked to end, and does when its run is over. `terminate()` there ends the
 * whole process, because an engine that comes back to a thread without JavaScript throws where nobody catches.
 *
 * @param stop message that the thread takes as an order to end itself
 */
export async function endThread(worker: Worker, stop: { readonly kind: 'stop' }): Promise<void> {
  // Of a thread that has ended: no exit would come.
  if (worker.threadId === -1) return;
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage(stop);
  await ended;
}
