import * as tf from '@tensorflow/tfjs-core';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { createWasmEngine } from '../../models/engine/wasm-engine.ts';
import { registerCompositeKernels } from '../../models/trace/operations/composite.ts';
import { TrainingStepper } from '../../models/training/stepper.ts';
import { traceTrainingStep } from '../../models/training/trace-training.ts';
import { load } from '../fixtures/inference.ts';
import { fixture, rawPatchNetwork, WIDTHS, type Width } from '../fixtures/networks.ts';
import { EagerTrainer, plainTraining, RATE, trainingFeeds } from '../fixtures/training.ts';
import { digits, inProcess, interleave, ratio, ratioDetails } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

const BATCH = 32;

/**
 * The traced step beside the same step run eagerly on a tfjs backend: same weights, same batch, one thread.
 *
 * @param activate makes the backend the active one
 */
async function againstEager(width: Width, name: string, activate: () => Promise<void>, { quick, progress }: Context): Promise<Measured> {
  const made = fixture(rawPatchNetwork(width));
  const training = plainTraining(BATCH);
  progress('tracing');
  const graph = traceTrainingStep(made.network, training, made.weights);
  const feeds = trainingFeeds(made.network, graph.inputs, BATCH, { trainable: made.weights.parameters });
  const session = await load(await createOnnxruntimeEngine(), graph);
  const stepper = new TrainingStepper(session, made.weights.parameters);
  await activate();
  const eager = new EagerTrainer(made, training, feeds);
  progress(`one step on both: ${name}`);
  const [traced, plain] = [(await stepper.step(feeds, RATE)).loss, eager.step()];
  progress('timing');
  const [ours, theirs] = await interleave(
    [inProcess('traced', () => stepper.step(feeds, RATE)), inProcess(name, () => eager.step())],
    // A step of the other side alone takes 20 seconds at width 256.
    { seconds: quick ? 1 : 20, sliceMs: 20, leastRounds: quick ? 1 : 3 },
  );
  eager.dispose();
  await session.release();
  const details = { ...ratioDetails(theirs, ours), 'loss of the first step differs by': digits(Math.abs(traced - plain)) };
  return { figure: ratio(theirs, ours).median, samples: ours.wallMs.length, details };
}

const againstWasm = (width: Width): Scenario => ({
  id: `train.step.vs-wasm.${width}`,
  what: `training step, width ${width}, batch ${BATCH}, one thread: times as fast as tfjs wasm`,
  unit: 'x',
  target: { atLeast: 15 },
  measure: (context) =>
    againstEager(
      width,
      'tfjs wasm',
      async () => {
        const folder = `${context.root}node_modules/@tensorflow/tfjs-backend-wasm/wasm-out/`;
        await createWasmEngine(folder);
        if (tf.getBackend() !== 'wasm') await tf.setBackend('wasm');
      },
      context,
    ),
});

/** Makes tfjs-node's native backend the active one, or says why not. */
async function activateNative(): Promise<Skipped | undefined> {
  // Not a literal: the package is optional and neither compiler nor bundler may look for it.
  const name: string = '@tensorflow/tfjs-node';
  try {
    await import(name);
  } catch (error) {
    const [line] = (error as Error).message.split('\n');
    // Results are committed: no paths of this machine.
    return {
      skipped: `@tensorflow/tfjs-node cannot be loaded: ${line
        .replaceAll(/(?:\/[^/\s]+)+\/(?=node_modules|dist)/g, '')
        .replace(/ imported from .*/, '')
        .trim()}`,
    };
  }
  await tf.setBackend('tensorflow');
  registerCompositeKernels('tensorflow');
  return undefined;
}

const againstNative = (width: Width): Scenario => ({
  id: `train.step.vs-tfjs-node.${width}`,
  what: `training step, width ${width}, batch ${BATCH}: times as fast as eager tfjs-node`,
  unit: 'x',
  async measure(context) {
    const unavailable = await activateNative();
    if (unavailable) return unavailable;
    return againstEager(width, 'tfjs-node', async () => void (await activateNative()), context);
  },
});

export const TRAIN_STEP: readonly Scenario[] = [...WIDTHS.map(againstWasm), ...WIDTHS.map(againstNative)];
