import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import type { Windows } from '../data/windows.ts';
import { ColumnScaling } from './column-scaling.ts';
import { gramThroughEngine } from './engine-gram.ts';
import { RandomForest } from './forest.ts';
import { type Metrics, metricsOf } from './metrics.ts';
import { MiniRocket } from './minirocket.ts';
import { RidgeClassifier, RidgeSystem } from './ridge.ts';
import { logSpectra, signalFeatures } from './signal-features.ts';
import { zScoreChannels } from './z-score.ts';

const RIDGE_ALPHA = 1;
const MINIROCKET_ALPHA = 100;
const TREES = 200;
/** Windows of the test whose MiniRocket features, 13 kB each, are in memory at a time. */
const PART = 2048;

export interface Baselines {
  /** Ridge on the log spectrum. */
  readonly ridge: Metrics;
  /** Random forest on statistics and log bands. */
  readonly forest: Metrics;
  /** MiniRocket with ridge. */
  readonly minirocket: Metrics;
}

export const BASELINES: readonly (keyof Baselines)[] = ['ridge', 'forest', 'minirocket'];

export interface BaselineProgress {
  readonly baseline: keyof Baselines;
  /** 0 to 1, of all baselines. */
  readonly share: number;
}

export interface BaselineOptions {
  readonly seed: number;
  readonly which?: readonly (keyof Baselines)[];
  readonly onProgress?: (progress: BaselineProgress) => void;
  readonly signal?: AbortSignal;
}

type Shape = readonly [window: number, channels: number];

/** One baseline's work. */
interface Job {
  readonly train: Windows;
  readonly test: Windows;
  readonly shape: Shape;
  readonly classes: number;
  readonly seed: number;
  readonly onProgress: (share: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Baselines on one split. All are fitted on `train` alone. The Hann window and the floors under the powers of ridge and forest were
 * chosen by their accuracy on held-out parts of cwru12 (and ridge on uet_motor1k): on these two sets the bar is, if anything, a little high.
 *
 * @param shape samples and channels a window
 * @param options.which to train; all three where absent
 * @param options.signal stops within a second or so
 */
export async function runBaselines(
  train: Windows,
  test: Windows,
  shape: Shape,
  classes: number,
  options: BaselineOptions,
): Promise<Partial<Baselines>> {
  const { seed, which = BASELINES, onProgress = () => {}, signal } = options;
  const made: Partial<Record<keyof Baselines, Metrics>> = {};
  for (const [index, baseline] of which.entries()) {
    const report = (share: number) => onProgress({ baseline, share: (index + share) / which.length });
    const decided = await DECISIONS[baseline]({ train, test, shape, classes, seed, onProgress: report, signal });
    made[baseline] = metricsOf(test.labels, decided, classes);
  }
  return made;
}

/** Ridge on features of any width; the matrix product is the engine's. */
async function trainRidge(
  features: Float32Array,
  labels: Int32Array,
  classes: number,
  alpha: number,
  onProgress: (share: number) => void,
  signal?: AbortSignal,
): Promise<RidgeClassifier> {
  const scaling = ColumnScaling.of(features, labels.length);
  const dual = labels.length < scaling.mean.length;
  const gram = dual ? undefined : await gramThroughEngine(await createOnnxruntimeEngine(), features, scaling, onProgress, signal);
  return new RidgeClassifier(features, labels, classes, alpha, new RidgeSystem(features, labels, classes, scaling, gram));
}

async function ridgeDecisions({ train, test, shape, classes, onProgress, signal }: Job): Promise<Int32Array> {
  const features = logSpectra(train.samples, shape);
  onProgress(0.3);
  const ridge = await trainRidge(features, train.labels, classes, RIDGE_ALPHA, (share) => onProgress(0.3 + 0.5 * share), signal);
  const decided = ridge.decide(logSpectra(test.samples, shape));
  onProgress(1);
  return decided;
}

async function forestDecisions({ train, test, shape, classes, seed, onProgress, signal }: Job): Promise<Int32Array> {
  const features = signalFeatures(train.samples, shape);
  const forest = await RandomForest.train(features, train.labels, classes, { trees: TREES, seed, onProgress, signal });
  return forest.decide(signalFeatures(test.samples, shape));
}

async function miniRocketDecisions({ train, test, shape, classes, seed, onProgress, signal }: Job): Promise<Int32Array> {
  const scored = zScoreChannels(train.samples, shape);
  const rocket = MiniRocket.fit(scored, shape, { seed });
  const features = await rocket.transform(scored, (share) => onProgress(0.4 * share), signal);
  const ridge = await trainRidge(features, train.labels, classes, MINIROCKET_ALPHA, (share) => onProgress(0.4 + 0.4 * share), signal);
  const decided = new Int32Array(test.count);
  for (let from = 0; from < test.count; from += PART) {
    const part = test.samples.subarray(from * shape[0] * shape[1], (from + PART) * shape[0] * shape[1]);
    const tested = await rocket.transform(zScoreChannels(part, shape), undefined, signal);
    decided.set(ridge.decide(tested), from);
    onProgress(0.8 + 0.2 * Math.min(1, (from + PART) / test.count));
  }
  return decided;
}

/** Classes of the test windows. */
const DECISIONS: Record<keyof Baselines, (job: Job) => Promise<Int32Array>> = {
  ridge: ridgeDecisions,
  forest: forestDecisions,
  minirocket: miniRocketDecisions,
};
