import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { TrainingStepper } from '../../models/training/stepper.ts';
import { traceTrainingStep } from '../../models/training/trace-training.ts';
import { load } from '../fixtures/inference.ts';
import { fixture, rawPatchNetwork, WIDTHS, type Width } from '../fixtures/networks.ts';
import { plainTraining, RATE, trainingFeeds } from '../fixtures/training.ts';
import { digits, inProcess, interleave, ratio, ratioDetails } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped, Target } from '../harness/scenario.ts';
import { currentPython, debianPython, PyTorchPeer, type Python } from '../peers/pytorch.ts';

const BATCH = 32;
/** Steps taken on both sides before timing: the losses agree only if forward, backward, clipping and AdamW do. */
const COMPARED_STEPS = 5;
const LARGEST_LOSS_DIFFERENCE = 1e-4;

async function againstPyTorch(width: Width, python: Python, context: Context): Promise<Measured> {
  const options = rawPatchNetwork(width);
  const made = fixture(options);
  const training = plainTraining(BATCH);
  const graph = traceTrainingStep(made.network, training, made.weights);
  const feeds = trainingFeeds(made.network, graph.inputs, BATCH, { trainable: made.weights.parameters });
  const session = await load(await createOnnxruntimeEngine(), graph);
  const stepper = new TrainingStepper(session, made.weights.parameters);
  const batch = { window: feeds.window.values as Float32Array, target: feeds.target.values as Float32Array };
  const peer = await PyTorchPeer.start(python, context, options, made, batch);
  try {
    const { blas, parameters } = peer.information;
    if (parameters !== made.network.parameters.size) {
      throw new Error(`${peer.name} has ${parameters} parameters, the traced network ${made.network.parameters.size}`);
    }
    const differences: number[] = [];
    for (let step = 0; step < COMPARED_STEPS; step++) {
      differences.push(Math.abs((await stepper.step(feeds, RATE)).loss - (await peer.steps(1))));
    }
    const difference = Math.max(...differences);
    context.progress(`${peer.name} (${blas}), losses of ${COMPARED_STEPS} steps differ by ${digits(difference)} at most`);
    if (!(difference <= LARGEST_LOSS_DIFFERENCE)) throw new Error(`losses differ by ${difference}: not the same network or optimiser`);
    const [ours, theirs] = await interleave([inProcess('traced', () => stepper.step(feeds, RATE)), peer], {
      seconds: context.quick ? 2 : 20,
      sliceMs: 40,
      leastRounds: context.quick ? 3 : 11,
    });
    return {
      figure: ratio(theirs, ours).median,
      samples: ours.wallMs.length,
      details: {
        ...ratioDetails(theirs, ours),
        'matrix library': blas,
        'loss of the first step differs by': digits(differences[0]),
        [`losses of ${COMPARED_STEPS} steps differ by at most`]: digits(difference),
      },
    };
  } finally {
    await peer.stop();
    await session.release();
  }
}

/** What the issue asks against Debian's 1.13. */
const LEAST: Record<Width, number> = { 64: 1.3, 128: 1.2, 256: 1.0 };

const scenario = (
  id: string,
  version: string,
  width: Width,
  find: (context: Context) => Promise<Python | Skipped>,
  target?: Target,
): Scenario => ({
  id: `train.step.${id}.${width}`,
  what: `training step, width ${width}, batch ${BATCH}, one thread: times as fast as PyTorch CPU, ${version}`,
  unit: 'x',
  target,
  async measure(context) {
    const python = await find(context);
    return 'skipped' in python ? python : againstPyTorch(width, python, context);
  },
});

export const TRAIN_PEERS: readonly Scenario[] = [
  ...WIDTHS.map((width) => scenario('vs-pytorch', "Debian's 1.13", width, debianPython, { atLeast: LEAST[width] })),
  ...WIDTHS.map((width) => scenario('vs-pytorch-current', 'current wheel', width, currentPython)),
];
