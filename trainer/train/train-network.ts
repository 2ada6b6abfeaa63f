import type { Engine, TensorData } from '../../models/engine/engine.ts';
import { floatTensor } from '../../models/engine/engine.ts';
import type { Network } from '../../models/networks/network.ts';
import { Random } from '../../models/networks/random.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { cosineRate, TrainingStepper } from '../../models/training/stepper.ts';
import { traceFrontEnd } from '../../models/training/trace-inference.ts';
import { type NetworkWeights, traceTrainingStep } from '../../models/training/trace-training.ts';
import type { Recording } from '../data/recording-set.ts';
import { cutWindows, type Windows } from '../data/windows.ts';
import { type Augmentation, BatchSampler } from './batches.ts';

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
}

/**
 * AdamW with 30 warm-up steps, cosine, clip 1, batch 96, 350 steps and band masking. Against the usual 2e-3: a lower rate carries over to other loads;
 * against mixup of raw windows: it mixes loudness, which is evidence; a running mean of the weights with more weight decay makes seeds agree.
 */
export const DEFAULT_SETTINGS: TrainSettings = {
  steps: 350,
  batch: 96,
  learningRate: 5e-4,
  weightDecay: 0.1,
  warmUp: 30,
  clipNorm: 1,
  labelSmoothing: 0,
  augmentation: { mask: 0.4, mixup: 0, dropout: 0.1 },
  seed: 1,
  averaging: 0.99,
};

export interface TrainProgress {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
}

/** Windows through a graph in batches: one output's rows, [count, width]. */
export async function runWindows(
  engine: Engine,
  graph: Uint8Array,
  windows: Windows,
  [window, channels]: readonly [number, number],
  output: string,
): Promise<Float32Array> {
  const session = await engine.load({ graph });
  const rows: Float32Array[] = [];
  const size = window * channels;
  for (let from = 0; from < windows.count; from += 64) {
    const count = Math.min(64, windows.count - from);
    const feeds: Record<string, TensorData> = {
      window: floatTensor(windows.samples.subarray(from * size, (from + count) * size), [count, window, channels]),
      scale: floatTensor(new Float32Array(count * channels).fill(1), [count, channels]),
    };
    rows.push((await session.run(feeds))[output].values as Float32Array);
  }
  await session.release();
  const all = new Float32Array(rows.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of rows) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Mean and inverse deviation of every feature over the windows, as the network's statistics; tokens of one kind share theirs. */
export async function measureStatistics(engine: Engine, network: Network, windows: Windows): Promise<Float32Array> {
  const { window, channels } = network.frontEnd;
  const features = await runWindows(engine, encodeOnnx(traceFrontEnd(network, 'float32')), windows, [window, channels], 'features');
  const statistics = network.statistics.initialize(new Random(0));
  const rowSize = features.length / windows.count;
  let offset = 0;
  for (const { kind, tokens, width } of network.parts) {
    const mean = network.statistics.view(statistics, `${kind}.mean`);
    const inverse = network.statistics.view(statistics, `${kind}.inverseDeviation`);
    const [sum, square] = [new Float64Array(width), new Float64Array(width)];
    for (let row = 0; row < windows.count; row++) {
      for (let at = 0; at < tokens * width; at++) {
        const value = features[row * rowSize + offset + at];
        sum[at % width] += value;
        square[at % width] += value * value;
      }
    }
    const count = windows.count * tokens;
    for (let column = 0; column < width; column++) {
      mean[column] = sum[column] / count;
      const variance = Math.max(0, square[column] / count - (sum[column] / count) ** 2);
      // A feature that never changed says nothing; without the floor its first change would drown all others.
      inverse[column] = 1 / Math.max(Math.sqrt(variance), 1e-2);
    }
    offset += tokens * width;
  }
  return statistics;
}

/**
 * Trains a network on recordings.
 *
 * @param signal stops between two steps
 * @returns the weights after the last step
 */
export async function trainNetwork(
  engine: Engine,
  network: Network,
  recordings: readonly Recording[],
  classes: readonly string[],
  settings: TrainSettings,
  onProgress: (progress: TrainProgress) => void = () => {},
  signal?: AbortSignal,
): Promise<NetworkWeights> {
  const random = new Random(settings.seed);
  const { window } = network.frontEnd;
  const statistics = await measureStatistics(engine, network, cutWindows(recordings, classes, window, window));
  const parameters = network.parameters.initialize(random);
  const { augmentation, batch, steps } = settings;
  const graph = traceTrainingStep(
    network,
    { batch, input: 'windows', dropout: augmentation.dropout > 0, featureMask: augmentation.mask > 0, distillation: false },
    { parameters, statistics },
  );
  const session = await engine.load({ graph: encodeOnnx(graph) });
  const stepper = new TrainingStepper(session, parameters);
  const sampler = new BatchSampler(network, recordings, classes, batch, augmentation, random, settings.labelSmoothing);
  const average = parameters.slice();
  const { learningRate: peak, warmUp, weightDecay, clipNorm } = settings;
  for (let step = 0; step < steps; step++) {
    signal?.throwIfAborted();
    const learningRate = cosineRate(step, { peak, final: peak / 100, warmUp: Math.min(warmUp, steps / 4), steps });
    const { loss } = await stepper.step(sampler.next(), { learningRate, weightDecay, clipNorm });
    // Never longer a memory than the steps that there were: the first values are noise.
    const decay = Math.min(settings.averaging, (step + 1) / (step + 10));
    const current = stepper.trainable;
    for (let index = 0; index < average.length; index++) average[index] += (1 - decay) * (current[index] - average[index]);
    onProgress({ step: step + 1, steps, loss });
    // The step blocks this thread; a turn of the event loop lets signals and the progress bar through.
    if (step % 4 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const trained = settings.averaging > 0 ? average : stepper.trainable.slice();
  await session.release();
  return { parameters: trained, statistics };
}
