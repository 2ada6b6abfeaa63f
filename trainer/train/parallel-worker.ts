import { parentPort } from 'node:worker_threads';
import { emptyTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import { PartFeeds } from './accumulate-parts.ts';
import { openEngine } from './engines.ts';
import type { FromTrainingWorker, ToTrainingWorker } from './parallel-protocol.ts';

/**
 * A worker of data-parallel training: computes the gradient of one micro-batch at a time. Inputs, parameters and gradients lie in shared
 * memory and are copied in and out, because engines refuse shared memory as tensors.
 */

if (!parentPort) throw new Error('runs as a worker thread of the trainer');
const port = parentPort;
const say = (message: FromTrainingWorker) => port.postMessage(message);

interface Work {
  readonly session: Session;
  readonly feeds: PartFeeds;
  readonly sharedTrainable: Float32Array;
  readonly sharedGradients: Float32Array;
  readonly trainable: TensorData;
  readonly accumulated: TensorData;
  readonly fetches: Record<'gradient' | 'loss', TensorData>;
}

let work: Work | undefined;
let inputs: Record<string, Pick<TensorData, 'shape' | 'values'>> = {};
let latest = -1;

async function start(message: Extract<ToTrainingWorker, { kind: 'start' }>): Promise<void> {
  const engine = await openEngine(message.engine, { programs: new URL(message.programs) });
  const session = await engine.load({ graph: message.graph });
  const sharedTrainable = new Float32Array(message.trainable);
  const size = [sharedTrainable.length];
  work = {
    session,
    feeds: new PartFeeds(session.inputs, message.shape),
    sharedTrainable,
    sharedGradients: new Float32Array(message.gradients),
    trainable: emptyTensor('float32', size),
    accumulated: emptyTensor('float32', size),
    fetches: { gradient: emptyTensor('float32', size), loss: emptyTensor('float32', []) },
  };
  say({ kind: 'ready' });
}

async function run({ step, part }: Extract<ToTrainingWorker, { kind: 'run' }>): Promise<void> {
  const { session, feeds, sharedTrainable, sharedGradients, trainable, accumulated, fetches } = work!;
  if (step !== latest) (trainable.values as Float32Array).set(sharedTrainable);
  latest = step;
  await session.run({ ...feeds.fill(inputs, part), trainable, accumulated }, fetches);
  sharedGradients.set(fetches.gradient.values as Float32Array, part.index * sharedTrainable.length);
  say({ kind: 'done', part: part.index, loss: (fetches.loss.values as Float32Array)[0] });
}

/** The work under way. */
let working: Promise<void> = Promise.resolve();

// What is thrown here, now or later, ends the thread and reaches the trainer as the worker's error.
port.on('message', (message: ToTrainingWorker) => {
  if (message.kind === 'start') working = start(message);
  else if (message.kind === 'run') working = run(message);
  else if (message.kind === 'stop') void Promise.allSettled([working]).then(() => process.exit());
  else {
    inputs = Object.fromEntries(
      Object.entries(message.inputs).map(([name, { shape, buffer }]) => [name, { shape, values: new Float32Array(buffer) }]),
    );
  }
});
