import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { TrainingStepper } from '../../models/training/stepper.ts';
import { traceTrainingStep } from '../../models/training/trace-training.ts';
import { load } from '../fixtures/inference.ts';
import { fixture, rawPatchNetwork, WIDTHS, type Width } from '../fixtures/networks.ts';
import { plainTraining, RATE, trainingFeeds } from '../fixtures/training.ts';
import { digits, inProcess, interleaveAnew, ratio, ratioDetails, type Sides } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped, Target } from '../harness/scenario.ts';
import { currentPython, debianPython, PyTorchPeer, type Python } from '../peers/pytorch.ts';

const BATCH = 32;
/** Steps taken on both sides before timing: the losses agree only if forward, backward, clipping and AdamW do. */
const COMPARED_STEPS = 5;
const LARGEST_LOSS_DIFFERENCE = 1e-4;

async function againstPyTorch(width: Width, python: Python, context: Context): Promise<Measured> {
  const options = rawPatchNetwork(width);
  const made = fixture(options);
  const graph = traceTrainingStep(made.network, plainTraining(BATCH), made.weights);
  const feeds = trainingFeeds(made.network, graph.inputs, BATCH, { trainable: made.weights.parameters });
  const batch = { window: feeds.window.values as Float32Array, target: feeds.target.values as Float32Array };
  const engine = await createOnnxruntimeEngine();
  let [first, largest, blas] = [0, 0, ''];

  /** Both from the same weights, compared before they are timed. */
  async function sides(): Promise<Sides> {
    const session = await load(engine, graph);
    const stepper = new TrainingStepper(session, made.weights.parameters);
    const peer = await PyTorchPeer.start(python, context, options, made, batch);
    const release = async () => {
      await peer.stop();
      await session.release();
    };
    try {
      const { parameters } = peer.information;
      if (parameters !== made.network.parameters.size) {
        throw new Error(`${peer.name} has ${parameters} parameters, the traced network ${made.network.parameters.size}`);
      }
      const differences: number[] = [];
      for (let step = 0; step < COMPARED_STEPS; step++) {
        differences.push(Math.abs((await stepper.step(feeds, RATE)).loss - (await peer.steps(1))));
      }
      [first, largest, blas] = [differences[0], Math.max(...differences), peer.information.blas];
      context.progress(`${peer.name} (${blas}), losses of ${COMPARED_STEPS} steps differ by ${digits(largest)} at most`);
      if (!(largest <= LARGEST_LOSS_DIFFERENCE)) throw new Error(`losses differ by ${largest}: not the same network or optimiser`);
    } catch (error) {
      await release();
      throw error;
    }
    return { variants: [inProcess('traced', () => stepper.step(feeds, RATE)), peer], release };
  }

  const budget = { seconds: context.quick ? 2 : 24, sliceMs: 40, leastRounds: context.quick ? 1 : 7 };
  const [ours, theirs] = await interleaveAnew(sides, budget, context.quick ? 1 : 3);
  return {
    figure: ratio(theirs, ours).median,
    samples: ours.wallMs.length,
    details: {
      ...ratioDetails(theirs, ours),
      'matrix library': blas,
      'loss of the first step differs by': digits(first),
      [`losses of ${COMPARED_STEPS} steps differ by at most`]: digits(largest),
    },
  };
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
