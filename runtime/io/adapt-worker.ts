import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort } from 'node:worker_threads';
import { readParts } from '../../models/bundle/bundle.ts';
import { DEFAULT_ADAPTATION } from '../adapt/adaptation.ts';
import type { Learner } from '../adapt/learner.ts';
import { openLearner } from './adapt-bundle.ts';
import { lowerThreadPriority, threadCpuSeconds } from './adapt-priority.ts';
import type { FromLearner, ToLearner } from './adapt-protocol.ts';
import { createEngine } from './create-engine.ts';

/** The learning thread: has sessions of its own, gives way to all other threads, and shares no memory with them. */

if (!parentPort) throw new Error('runs as a worker thread of the gateway');
const port = parentPort;

let learner: Learner | undefined;
/** Ends a pause between two steps too: a gateway that stops waits for this thread. */
const stopping = new AbortController();

async function start({ bundleFolder, engine, wasmFolder }: Extract<ToLearner, { kind: 'start' }>): Promise<FromLearner> {
  const lowPriority = lowerThreadPriority();
  const bundle = await readParts(bundleFolder, ['core', 'adapt']);
  ({ learner } = await openLearner(await createEngine(engine, wasmFolder), bundle));
  return { kind: 'ready', digest: bundle.digest, lowPriority };
}

async function learn({ examples, current, anchors, budget }: Extract<ToLearner, { kind: 'learn' }>): Promise<FromLearner> {
  const [beganMs, beganCpu] = [performance.now(), threadCpuSeconds()];
  const seconds = () => {
    const cpu = threadCpuSeconds();
    return {
      wall: (performance.now() - beganMs) / 1000,
      ...(cpu !== undefined && beganCpu !== undefined && { cpu: cpu - beganCpu }),
    };
  };
  let stepMs = performance.now();
  const onStep = async () => {
    if (stopping.signal.aborted) throw new Error('the gateway stops');
    const { wall, cpu } = seconds();
    if (wall > budget.wallSeconds) throw new Error(`${budget.wallSeconds} s are over`);
    if (cpu !== undefined && cpu > budget.cpuSeconds) throw new Error(`${budget.cpuSeconds} s of CPU are used up`);
    await sleep((performance.now() - stepMs) * (1 / budget.workShare - 1), undefined, { signal: stopping.signal });
    stepMs = performance.now();
  };
  const learned = await learner!.learn(examples, current, anchors, DEFAULT_ADAPTATION, { onStep });
  return { kind: 'learned', learned, seconds: seconds() };
}

async function answer(message: Exclude<ToLearner, { kind: 'stop' }>): Promise<FromLearner> {
  if (message.kind === 'start') return start(message);
  if (message.kind === 'learn') return learn(message);
  const { windows, current, candidate, contested } = message;
  return { kind: 'compared', figures: await learner!.compare(windows, { current, candidate }, contested) };
}

/** One thing after the other: a session runs one batch at a time. */
let queue: Promise<void> = Promise.resolve();

port.on('message', (message: ToLearner) => {
  if (message.kind === 'stop') {
    stopping.abort();
    void queue.finally(() => process.exit());
    return;
  }
  queue = queue.then(async () =>
    port.postMessage(await answer(message).catch((error: Error): FromLearner => ({ kind: 'failed', reason: error.message }))),
  );
});
