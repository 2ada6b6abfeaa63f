import type { Session } from '../../models/engine/engine.ts';
import { Random } from '../../models/networks/random.ts';
import { cosineRate, TrainingStepper } from '../../models/training/stepper.ts';
import { AdaptationBatches } from './adaptation-batches.ts';
import type { LabelledFeatures } from './labelled-features.ts';

export interface AdaptationSettings {
  /** The budget: steps of one batch each. */
  readonly steps: number;
  /** Of the first step; falls to a hundredth along half a cosine. */
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly clipNorm: number;
  /** Share of a batch that is replay. Without replay a network forgets what it knew within these few steps. */
  readonly replayShare: number;
  readonly seed: number;
}

/** Rates from 2e-3 to 5e-3 do alike; at 1e-2 one label a class is learned so hard that other windows of the class suffer. */
export const DEFAULT_ADAPTATION: AdaptationSettings = {
  steps: 60,
  learningRate: 5e-3,
  weightDecay: 0.01,
  clipNorm: 1,
  replayShare: 1 / 3,
  seed: 1,
};

export interface AdaptationProgress {
  /** Steps done. */
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
}

/** What is needed of an AbortSignal, which this room does not know. */
export interface Abortable {
  throwIfAborted(): void;
}

export interface AdaptationHooks {
  /** Stops between two steps. */
  readonly signal?: Abortable;
  /** Awaited after every step: where the caller lets other work through, a gateway its decisions. A step blocks the thread. */
  readonly onStep?: (progress: AdaptationProgress) => Promise<void> | void;
}

/** The session's sizes, as its graph states them. @throws Error where it is not a training step on features */
function batchShape(session: Session): { rows: number; features: number; classes: number } {
  const shapeOf = (name: string): readonly number[] => {
    const shape = session.inputs.find((input) => input.name === name)?.shape;
    if (!shape?.every((size) => typeof size === 'number')) throw new Error(`the graph has no input ${name} of fixed shape`);
    return shape as readonly number[];
  };
  const [rows, features] = shapeOf('features');
  const [, classes] = shapeOf('target');
  return { rows, features, classes };
}

/** @throws RangeError where rows, width or labels do not fit the graph */
function check({ features, labels }: LabelledFeatures, shape: { features: number; classes: number }, what: string): void {
  if (features.length !== labels.length * shape.features) {
    throw new RangeError(`${what}: ${features.length} numbers are not ${labels.length} rows of ${shape.features} features`);
  }
  const odd = labels.find((label) => label < 0 || label >= shape.classes);
  if (odd !== undefined) throw new RangeError(`${what}: label ${odd} where there are ${shape.classes} classes`);
}

/**
 * Trains an adapter on a few labelled windows, with replay, through a training step on features (a bundle's adapt.onnx).
 *
 * The same session, vectors and seed give the same adapter, bit for bit.
 *
 * @param session of a graph made by traceTrainingStep with `input: 'features'`
 * @param initial the adapter to start from, [P]; left as it is
 * @param examples labelled windows of the machine at hand
 * @param replay windows of what the network knew; may be empty
 * @returns the adapter as trained, [P]
 * @throws the signal's reason where it was aborted; RangeError where the windows do not fit the graph; Error where training diverged
 */
export async function adapt(
  session: Session,
  initial: Float32Array,
  examples: LabelledFeatures,
  replay: LabelledFeatures,
  settings: AdaptationSettings = DEFAULT_ADAPTATION,
  { signal, onStep }: AdaptationHooks = {},
): Promise<Float32Array> {
  const shape = batchShape(session);
  check(examples, shape, 'examples');
  check(replay, shape, 'replay');
  if (examples.labels.length === 0) throw new RangeError('examples: there are none to adapt to');
  const { steps, learningRate: peak, weightDecay, clipNorm, replayShare, seed } = settings;
  const batches = new AdaptationBatches(shape, examples, replay, replayShare, new Random(seed));
  const stepper = new TrainingStepper(session, initial);
  for (let step = 0; step < steps; step++) {
    signal?.throwIfAborted();
    const learningRate = cosineRate(step, { peak, final: peak / 100, warmUp: 0, steps });
    const { loss } = await stepper.step(batches.next(), { learningRate, weightDecay, clipNorm });
    if (!Number.isFinite(loss)) throw new Error(`the loss is ${loss} after ${step + 1} steps; lower the learning rate`);
    await onStep?.({ step: step + 1, steps, loss });
  }
  signal?.throwIfAborted();
  return stepper.optimizer.trainable.slice();
}
