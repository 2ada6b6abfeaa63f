import { cpus, loadavg } from 'node:os';
import { TEACHER } from '../../models/networks/attention-network.ts';
import { type TrainingOptions, traceTrainingStep } from '../../models/training/trace-training.ts';
import { planPartition } from '../../trainer/train/accumulate-memory.ts';
import { openEngine } from '../../trainer/train/engines.ts';
import { openStepRunner } from '../../trainer/train/step-runner.ts';
import { fixture } from '../fixtures/networks.ts';
import { RATE, trainingFeeds } from '../fixtures/training.ts';
import { digits, inProcess, interleaveAnew, quantile, type Sides } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

const BATCH = 96;
const WORKERS = 2;

/** The teacher's step on worker threads beside the same step as one graph on one thread: wall clock, since threads are what is compared. */
async function measure({ quick, progress }: Context): Promise<Measured | Skipped> {
  if (cpus().length < WORKERS) return { skipped: `this machine has ${cpus().length} core` };
  const { network, weights } = fixture({ ...TEACHER, channels: 1 });
  const training: TrainingOptions = { batch: BATCH, input: 'windows', dropout: true, featureMask: true, distillation: false };
  const { inputs } = traceTrainingStep(network, training, weights);
  const feeds = trainingFeeds(network, inputs, BATCH, { trainable: weights.parameters });
  const engine = await openEngine('onnx');
  const open = (workers: number) => {
    const partition = planPartition({ network, training, weights, workers });
    return openStepRunner({ engine, engineName: 'onnx', network, training, weights, initial: weights.parameters, partition });
  };
  let differs = 0;

  async function sides(): Promise<Sides> {
    progress('starting workers');
    const runners = [await open(1), await open(WORKERS)];
    const [one, many] = runners;
    differs = Math.max(differs, Math.abs((await one.step(feeds, RATE)).loss - (await many.step(feeds, RATE)).loss));
    progress('timing');
    return {
      variants: [inProcess('one thread', () => one.step(feeds, RATE)), inProcess(`${WORKERS} workers`, () => many.step(feeds, RATE))],
      async release() {
        for (const runner of runners) await runner.release();
      },
    };
  }

  const [single, parallel] = await interleaveAnew(
    sides,
    { seconds: quick ? 3 : 30, sliceMs: 100, leastRounds: quick ? 1 : 7 },
    quick ? 1 : 3,
  );
  const ratios = single.wallMs.map((wallMs, round) => wallMs / parallel.wallMs[round]);
  return {
    figure: quantile(ratios, 0.5),
    samples: ratios.length,
    details: {
      'one thread, windows/s': digits((1000 * BATCH) / quantile(single.wallMs, 0.5)),
      [`${WORKERS} workers, windows/s`]: digits((1000 * BATCH) / quantile(parallel.wallMs, 0.5)),
      'ratio, quartiles': `${digits(quantile(ratios, 0.25))} to ${digits(quantile(ratios, 0.75))}`,
      'processor time of the workers against one thread': digits(quantile(parallel.cpuMs, 0.5) / quantile(single.cpuMs, 0.5)),
      'loss of the first step differs by': digits(differs),
      'load of the machine': digits(loadavg()[0]),
    },
  };
}

export const TRAIN_PARALLEL: readonly Scenario[] = [
  {
    id: 'train.parallel.2',
    what: `training step of the teacher, batch ${BATCH}: windows/s with ${WORKERS} worker threads against one thread`,
    unit: 'x',
    target: { atLeast: 1.6 },
    measure,
  },
];
