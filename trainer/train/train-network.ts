import { type Engine, type Session, scalarTensor, type TensorData } from '../../models/engine/engine.ts';
import { featureCount } from '../../models/networks/front-end.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { Network } from '../../models/networks/network.ts';
import { Random } from '../../models/networks/random.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { cosineRate, type OptimizerSnapshot } from '../../models/training/stepper.ts';
import { traceFrontEnd } from '../../models/training/trace-inference.ts';
import { type NetworkWeights, type TrainingOptions, traceForward } from '../../models/training/trace-training.ts';
import type { Recording } from '../data/recording-set.ts';
import { cutWindows, recordingStarts, type Windows } from '../data/windows.ts';
import { argmaxRows, metricsOf } from '../evaluate/metrics.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { planPartition } from './accumulate-memory.ts';
import { type Augmentation, BatchSampler } from './batches.ts';
import type { EngineName } from './engines.ts';
import { FeatureRunner, measureStatistics, runWindows } from './run-windows.ts';
import { openStepRunner } from './step-runner.ts';

export interface TrainSettings {
  readonly steps: number;
  readonly batch: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly warmUp: number;
  readonly clipNorm: number;
  readonly labelSmoothing: number;
  readonly augmentation: Augmentation;
  readonly seed: number;
  /** Decay of the running mean of the parameters that is returned in the place of the last ones; 0 returns the last ones. */
  readonly averaging: number;
  /** Epochs without a lower validation loss after which training ends; 0 never. */
  readonly patience: number;
}

/**
 * AdamW with 30 warm-up steps, cosine, clip 1, batch 96, 400 steps and band masking. Against mixup of raw windows: it mixes loudness, which is
 * evidence; a running mean of the weights with more weight decay makes seeds agree. Noise in every fifth window holds a network up in noise (cwru12,
 * an unseen load at 20 dB: .97 instead of .54) and costs a tenth of a point there without noise, and two points on unseen motors of uet_motor1k: it is
 * offered, not chosen.
 */
export const DEFAULT_SETTINGS: TrainSettings = {
  steps: 400,
  batch: 96,
  learningRate: 2e-3,
  weightDecay: 0.1,
  warmUp: 30,
  clipNorm: 1,
  labelSmoothing: 0,
  augmentation: { mask: 0.4, mixup: 0, dropout: 0.1, noise: 0, gain: 1, speed: 0 },
  seed: 1,
  averaging: 0.99,
  patience: 3,
};

/** What a student learns from beside the labels. */
export interface Distillation {
  readonly teacher: TrainedNetwork;
  /** Softens both distributions (Hinton et al. 2015). */
  readonly temperature: number;
  /** Share of the soft targets in the loss. */
  readonly weight: number;
  /** Weight of the likeness of the embeddings. */
  readonly embedding: number;
}

export const DEFAULT_DISTILLATION = { temperature: 2, weight: 0.5, embedding: 1 } as const;

/** A point of the training curve. */
export interface CurvePoint {
  readonly step: number;
  /** Mean of the training loss since the point before. */
  readonly loss: number;
  readonly validationLoss?: number;
  readonly validationAccuracy?: number;
}

/** All that a training needs to go on, bit by bit, where it was broken off. */
export interface TrainState {
  readonly optimizer: OptimizerSnapshot;
  readonly average: Float32Array;
  readonly random: Uint32Array;
  readonly steps: number;
  readonly curve: readonly CurvePoint[];
  readonly lossSum: number;
}

/** Where a training keeps its state against an interrupt. */
export interface Checkpoint {
  load(): Promise<TrainState | undefined>;
  save(state: TrainState): Promise<void>;
}

export interface TrainProgress {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
}

export interface TrainRequest {
  readonly options: TrainedNetwork['options'];
  readonly recordings: readonly Recording[];
  readonly classes: readonly string[];
  readonly settings: TrainSettings;
  /** Weights to start from; new ones by the seed where absent. */
  readonly initial?: NetworkWeights;
  readonly distillation?: Distillation;
  /** Labelled windows that training does not see, for the curve and the early stop. */
  readonly validation?: Windows;
  /** Seconds that all steps may take; fewer steps are made where the machine is too slow for `settings.steps`. */
  readonly budgetSeconds?: number;
  readonly checkpoint?: Checkpoint;
  /** How a step is taken; whole, on this thread, where absent. */
  readonly division?: Division;
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

/** How the work of a step is divided. The same division gives the same bits. */
export interface Division {
  /** Opened by every worker thread. */
  readonly engineName: EngineName;
  readonly workers: number;
  /** What the process may take; a batch is cut until it fits. */
  readonly memoryBytes?: number;
}

export interface TrainResult extends TrainedNetwork {
  readonly curve: readonly CurvePoint[];
  readonly steps: number;
  readonly stoppedEarly: boolean;
  /** Largest resident set seen, in bytes. */
  readonly peakRssBytes: number;
}

/** Steps between two measures on the validation windows, at the least. */
const MEASURE_STEPS = 100;
/** Steps from which the time of a step is told, after as many that warm the engine up. */
const TIMED_STEPS = 6;
const FEWEST_STEPS = 30;
const CHECKPOINT_MS = 30_000;

/**
 * Trains a network on recordings.
 *
 * @param request.signal stops between two steps, after the state was saved
 * @returns the running mean of the weights
 */
export async function trainNetwork(engine: Engine, request: TrainRequest): Promise<TrainResult> {
  const { options, recordings, classes, settings, distillation, checkpoint, signal } = request;
  const network = createNetwork(options);
  const random = new Random(settings.seed);
  const { window } = network.frontEnd;
  const statistics =
    request.initial?.statistics ?? (await measureStatistics(engine, network, cutWindows(recordings, classes, window, window)));
  const parameters = request.initial?.parameters ?? network.parameters.initialize(random);
  const { augmentation, batch } = settings;
  const teacher = distillation && (await TeacherRunner.create(engine, network, distillation, settings));
  const training: TrainingOptions = {
    batch,
    input: 'windows',
    dropout: augmentation.dropout > 0 && network.dropout.sites > 0,
    featureMask: augmentation.mask > 0,
    distillation: distillation !== undefined,
    teacherEmbedding: teacher?.embeddingWidth,
  };
  const weights = { parameters, statistics };
  const { engineName, workers, memoryBytes } = request.division ?? { engineName: 'onnx', workers: 1 };
  const partition = planPartition({ network, training, weights, workers, memoryBytes });
  const stepper = await openStepRunner({ engine, engineName, network, training, weights, initial: parameters, partition, signal });
  const { optimizer } = stepper;
  const sampler = new BatchSampler(network, recordings, classes, batch, augmentation, random, settings.labelSmoothing);
  const meter = request.validation && (await ValidationMeter.create(engine, network, statistics, request.validation));
  const average = parameters.slice();
  const curve: CurvePoint[] = [];
  const { learningRate: peak, warmUp, weightDecay, clipNorm } = settings;
  let { steps } = settings;
  let [lossSum, timedFrom, savedAt] = [0, 0, performance.now()];
  let stoppedEarly = false;

  const saved = await checkpoint?.load();
  if (saved) {
    optimizer.restore(saved.optimizer);
    average.set(saved.average);
    random.restore(saved.random);
    curve.push(...saved.curve);
    ({ steps, lossSum } = saved);
  }
  const first = optimizer.steps;
  let timed = request.budgetSeconds === undefined || first >= 2 * TIMED_STEPS;
  const save = (randomState = random.save()) =>
    checkpoint?.save({ optimizer: optimizer.save(), average: average.slice(), random: randomState, steps, curve: [...curve], lossSum });

  const epoch = recordings.reduce((sum, recording) => sum + recordingStarts(recording, window, window / 2).length, 0) / batch;
  const every = Math.max(MEASURE_STEPS, Math.ceil(epoch));
  try {
    while (optimizer.steps < steps && !stoppedEarly) {
      const step = optimizer.steps;
      const learningRate = cosineRate(step, { peak, final: peak / 100, warmUp: Math.min(warmUp, steps / 4), steps });
      const randomBefore = random.save();
      const feeds = sampler.next();
      const taught = teacher ? { ...feeds, ...(await teacher.targets(feeds)) } : feeds;
      const { loss } = await stepper.step(taught, { learningRate, weightDecay, clipNorm }).catch(async (error: unknown) => {
        // Threads break off in the middle of a step: it is taken again when the training goes on.
        if (signal?.aborted) await save(randomBefore);
        throw error;
      });
      // Never longer a memory than the steps that there were: the first values are noise.
      const decay = Math.min(settings.averaging, (step + 1) / (step + 10));
      const current = optimizer.trainable;
      for (let index = 0; index < average.length; index++) average[index] += (1 - decay) * (current[index] - average[index]);
      lossSum += loss;
      const done = step + 1;
      if (!timed) {
        const here = done - first;
        if (here === TIMED_STEPS) timedFrom = performance.now();
        if (here === 2 * TIMED_STEPS) {
          timed = true;
          const stepSeconds = (performance.now() - timedFrom) / 1000 / TIMED_STEPS;
          steps = Math.max(FEWEST_STEPS, Math.min(steps, Math.floor(request.budgetSeconds! / stepSeconds)));
        }
      }
      const weights = settings.averaging > 0 ? average : current;
      if (done % every === 0 || done === steps) {
        const since = done - (curve.at(-1)?.step ?? 0);
        curve.push({ step: done, loss: lossSum / since, ...(meter && (await meter.measure(weights))) });
        lossSum = 0;
        stoppedEarly = done < steps && settings.patience > 0 && meter !== undefined && hasStalled(curve, settings.patience);
      }
      request.onProgress?.({ step: done, steps, loss });
      // The step blocks this thread; a turn of the event loop lets signals and the progress bar through.
      if (step % 4 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (signal?.aborted || performance.now() - savedAt > CHECKPOINT_MS) {
        await save();
        savedAt = performance.now();
      }
      signal?.throwIfAborted();
    }
    const trained = settings.averaging > 0 ? average : optimizer.trainable.slice();
    return {
      options,
      weights: { parameters: trained, statistics },
      curve,
      steps: optimizer.steps,
      stoppedEarly,
      peakRssBytes: stepper.peakRssBytes,
    };
  } finally {
    await Promise.all([stepper.release(), teacher?.release(), meter?.release()]);
  }
}

/** Whether the last `patience` measures were all no better than the best before them. */
function hasStalled(curve: readonly CurvePoint[], patience: number): boolean {
  if (curve.length <= patience) return false;
  const losses = curve.map(({ validationLoss }) => validationLoss!);
  return Math.min(...losses.slice(-patience)) >= Math.min(...losses.slice(0, -patience));
}

/**
 * What the teacher says of the batches that its student learns from: masks and all where both have the same features, and of the whole windows
 * where tokens of the student were pruned.
 */
class TeacherRunner {
  readonly #session: Session;
  readonly #constant: Record<string, TensorData>;
  readonly #masked: boolean;
  readonly embeddingWidth: number | undefined;

  private constructor(session: Session, distillation: Distillation, masked: boolean, embeddingWidth: number) {
    this.#session = session;
    this.#masked = masked;
    const { temperature, weight, embedding } = distillation;
    this.embeddingWidth = embedding > 0 ? embeddingWidth : undefined;
    this.#constant = {
      temperature: scalarTensor(temperature),
      distillationWeight: scalarTensor(weight),
      ...(embedding > 0 && { embeddingWeight: scalarTensor(embedding) }),
    };
  }

  static async create(
    engine: Engine,
    student: Network,
    distillation: Distillation,
    { batch, augmentation }: TrainSettings,
  ): Promise<TeacherRunner> {
    const { options, weights } = distillation.teacher;
    const network = createNetwork(options);
    const masked = augmentation.mask > 0 && featureCount(network.parts) === featureCount(student.parts);
    const graph = traceForward(network, { batch, input: 'windows', featureMask: masked }, weights);
    return new TeacherRunner(await engine.load({ graph: encodeOnnx(graph) }), distillation, masked, network.embeddingWidth);
  }

  async targets({ window, scale, featureMask }: Record<string, TensorData>): Promise<Record<string, TensorData>> {
    const { logits, embedding } = await this.#session.run({ window, scale, ...(this.#masked && { featureMask }) });
    return { ...this.#constant, teacherLogits: logits, ...(this.embeddingWidth && { teacherEmbedding: embedding }) };
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** Loss and accuracy on windows whose features were made once. */
class ValidationMeter {
  readonly #runner: FeatureRunner;
  readonly #features: Float32Array;
  readonly #labels: Int32Array;
  readonly #classes: number;

  private constructor(runner: FeatureRunner, features: Float32Array, labels: Int32Array, classes: number) {
    this.#runner = runner;
    this.#features = features;
    this.#labels = labels;
    this.#classes = classes;
  }

  static async create(engine: Engine, network: Network, statistics: Float32Array, windows: Windows): Promise<ValidationMeter> {
    const { window, channels } = network.frontEnd;
    const graph = encodeOnnx(traceFrontEnd(network, 'float32', statistics));
    const features = await runWindows(engine, graph, windows, [window, channels], 'features');
    return new ValidationMeter(await FeatureRunner.create(engine, network, statistics), features, windows.labels, network.classes);
  }

  async measure(parameters: Float32Array): Promise<{ validationLoss: number; validationAccuracy: number }> {
    const { logits } = await this.#runner.run(parameters, this.#features, this.#labels.length);
    return {
      validationLoss: crossEntropy(logits, this.#labels, this.#classes),
      validationAccuracy: metricsOf(this.#labels, argmaxRows(logits, this.#classes), this.#classes).balancedAccuracy,
    };
  }

  release(): Promise<void> {
    return this.#runner.release();
  }
}

/** Mean of -log softmax at the label. logits: [labels.length, classes] */
export function crossEntropy(logits: Float32Array, labels: ArrayLike<number>, classes: number): number {
  let sum = 0;
  for (let row = 0; row < labels.length; row++) {
    const own = logits.subarray(row * classes, (row + 1) * classes);
    const largest = own.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const total = own.reduce((total, value) => total + Math.exp(value - largest), 0);
    sum += largest + Math.log(total) - own[labels[row]];
  }
  return sum / labels.length;
}
