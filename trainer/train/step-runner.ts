import type { Engine, TensorData } from '../../models/engine/engine.ts';
import type { Network } from '../../models/networks/network.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { type OptimizerState, type StepRates, TrainingStepper } from '../../models/training/stepper.ts';
import {
  type NetworkWeights,
  type TrainingOptions,
  traceGradient,
  traceTrainingStep,
  traceUpdate,
} from '../../models/training/trace-training.ts';
import { AccumulatingRunner } from './accumulate.ts';
import type { Partition } from './accumulate-memory.ts';
import { type EngineName, PROGRAMS } from './engines.ts';
import { ParallelRunner } from './parallel.ts';
import { PeakMemory } from './peak-memory.ts';

/** One step's figures. */
export interface StepOutcome {
  /** Mean over the whole batch. */
  readonly loss: number;
  /** Before clipping. */
  readonly gradientNorm: number;
}

/** Takes training steps: at once, in micro-batches, or on several threads. The same feeds give the same step, within rounding. */
export interface StepRunner {
  /**
   * @param feeds inputs of the whole batch, as the network's training graph names them; read before the promise settles, not after
   * @throws Error the abort signal's reason, or what a worker thread died of
   */
  step(feeds: Readonly<Record<string, TensorData>>, rates: StepRates): Promise<StepOutcome>;
  /** What is trained, and all that a training goes on from between two steps. */
  readonly optimizer: OptimizerState;
  /** Largest resident set of the process seen at a step's end, in bytes. */
  readonly peakRssBytes: number;
  release(): Promise<void>;
}

export interface StepRunnerRequest {
  /** Runs what runs on this thread: all with one thread, the update alone with several. */
  readonly engine: Engine;
  /** What worker threads open. */
  readonly engineName: EngineName;
  readonly network: Network;
  /** `batch` counts the samples of a whole step. */
  readonly training: TrainingOptions;
  readonly weights: NetworkWeights;
  /** Starting values of what is trained, [P]; copied. */
  readonly initial: Float32Array;
  readonly partition: Partition;
  readonly signal?: AbortSignal;
  /** Folder with training-worker.js. */
  readonly programs?: URL;
}

/** The runner that a partition asks for: the whole step as one graph where nothing is divided. */
export async function openStepRunner(request: StepRunnerRequest): Promise<StepRunner> {
  const { engine, engineName, network, training, weights, initial, partition, signal, programs = PROGRAMS } = request;
  const { partBatch, parts, workers } = partition;
  if (parts === 1) {
    return wholeStepRunner(
      new TrainingStepper(await engine.load({ graph: encodeOnnx(traceTrainingStep(network, training, weights)) }), initial),
    );
  }
  const gradient = encodeOnnx(traceGradient(network, { ...training, batch: partBatch }, weights));
  const update = await engine.load({ graph: encodeOnnx(traceUpdate(network, training)) });
  const shape = { batch: training.batch, partBatch };
  if (workers === 1) return new AccumulatingRunner(await engine.load({ graph: gradient }), update, initial, shape);
  return ParallelRunner.start({ engineName, gradient, update, initial, shape, workers, programs, signal });
}

function wholeStepRunner(stepper: TrainingStepper): StepRunner {
  const memory = new PeakMemory();
  return {
    optimizer: stepper.optimizer,
    async step(feeds, rates) {
      const { loss, gradientNorm } = await stepper.step(feeds, rates);
      memory.sample();
      return { loss, gradientNorm };
    },
    get peakRssBytes() {
      return memory.bytes;
    },
    release: () => stepper.release(),
  };
}
