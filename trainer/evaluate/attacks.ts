import { type Engine, emptyTensor, floatTensor, type Session } from '../../models/engine/engine.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceInputGradient } from '../../models/training/trace-input-gradient.ts';
import type { NetworkWeights } from '../../models/training/trace-training.ts';
import type { Windows } from '../data/windows.ts';
import { argmaxRows } from './metrics.ts';
import { balancedSample, pickWindows } from './sampling.ts';

/** Largest change of a sample, as a share of its channel's RMS in the window. */
const ATTACK_BUDGETS: readonly number[] = [0.001, 0.003, 0.01, 0.03, 0.1];
/** Windows that are attacked. */
const ATTACK_WINDOWS = 200;
const PGD_STEPS = 10;
/** A step of PGD as a multiple of budget / steps: far enough to cross the ball and come back (Madry et al. 2018). */
const PGD_STRIDE = 2.5;
/** Windows a run of the gradient. */
const BATCH = 32;

export interface AttackPoint {
  /** For people: `PGD 1 % of the RMS`. */
  readonly label: string;
  /** The budget: largest change of a sample as a share of its channel's RMS (mean left out) in that window. */
  readonly level: number;
  /** Share of the windows decided right before that are decided wrong after; `null` where none was right. */
  readonly success: number | null;
  /** Accuracy on the whole sample after the attack. */
  readonly accuracy: number;
}

export interface Attack {
  readonly kind: 'fgsm' | 'pgd';
  readonly points: readonly AttackPoint[];
}

export interface AttackTarget {
  /** The float network whose gradient is climbed. */
  readonly options: NetworkOptions;
  readonly weights: NetworkWeights;
  /** What is attacked in the end: probabilities [count, classes] of the deployed graph. */
  readonly probabilitiesOf: (windows: Windows) => Promise<Float32Array>;
}

export interface AttackSettings {
  readonly seed: number;
  readonly budgets?: readonly number[];
  /** Most windows, class-balanced and evenly spread. */
  readonly most?: number;
  readonly onProgress?: (share: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Tier (c): how small a change of the samples makes decisions wrong, when whoever makes it knows the float network.
 *
 * FGSM (Goodfellow et al. 2015): one step of the budget along the sign of the gradient. PGD (Madry et al. 2018): 10 steps of a quarter of the budget
 * from a random start, each projected back on the L-infinity ball; of all points on its way the one with the largest loss of the float network is
 * taken. The budget is relative to the RMS of each channel in the window, its mean left out. Windows that come out are decided by the deployed int8
 * graph: a transferred attack. Rounding stops a gradient, it does not make a network robust; read the figures as a bound from below.
 */
export async function attackCurves(engine: Engine, target: AttackTarget, windows: Windows, settings: AttackSettings): Promise<Attack[]> {
  const { seed, budgets = ATTACK_BUDGETS, most = ATTACK_WINDOWS, onProgress = () => {}, signal } = settings;
  const { classes } = target.options;
  signal?.throwIfAborted();
  const sample = balancedSample(windows, most);
  const before = argmaxRows(await target.probabilitiesOf(sample), classes);
  const right = Array.from(sample.labels.keys()).filter((row) => before[row] === sample.labels[row]);
  const attacked = pickWindows(sample, right);
  const climber = await LossClimber.open(engine, target);
  let done = 0;
  const attack = async (kind: Attack['kind']): Promise<Attack> => {
    const points: AttackPoint[] = [];
    for (const level of budgets) {
      const steps = kind === 'fgsm' ? 1 : PGD_STEPS;
      const changed =
        level === 0 ? attacked : await climber.climb(attacked, level, steps, kind === 'pgd' ? new Random(seed) : undefined, signal);
      const after = right.length === 0 ? [] : argmaxRows(await target.probabilitiesOf(changed), classes);
      const wrong = after.filter((decided, row) => decided !== attacked.labels[row]).length;
      points.push({
        label: `${kind.toUpperCase()} ${Number((100 * level).toPrecision(3))} % of the RMS`,
        level,
        success: right.length === 0 ? null : wrong / right.length,
        accuracy: sample.count === 0 ? 0 : (right.length - wrong) / sample.count,
      });
      done += steps;
      onProgress(done / (budgets.length * (1 + PGD_STEPS)));
    }
    return { kind, points };
  };
  try {
    return [await attack('fgsm'), await attack('pgd')];
  } finally {
    await climber.release();
  }
}

/** Climbs the loss of a float network within a ball around each window. */
class LossClimber {
  readonly #session: Session;
  readonly #shape: readonly [window: number, channels: number];
  readonly #classes: number;

  private constructor(session: Session, shape: readonly [number, number], classes: number) {
    [this.#session, this.#shape, this.#classes] = [session, shape, classes];
  }

  static async open(engine: Engine, { options, weights }: AttackTarget): Promise<LossClimber> {
    const session = await engine.load({ graph: encodeOnnx(traceInputGradient(createNetwork(options), weights, BATCH)) });
    return new LossClimber(session, [options.window, options.channels], options.classes);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  /** @param start of the random place in the ball from which to climb; the window itself where absent */
  async climb(windows: Windows, budget: number, steps: number, start: Random | undefined, signal?: AbortSignal): Promise<Windows> {
    const [window, channels] = this.#shape;
    const size = window * channels;
    const samples = new Float32Array(windows.samples.length);
    for (let from = 0; from < windows.count; from += BATCH) {
      const count = Math.min(BATCH, windows.count - from);
      const original = windows.samples.subarray(from * size, (from + count) * size);
      const labels = windows.labels.subarray(from, from + count);
      samples.set(await this.#climbBatch(original, labels, budget, steps, start, signal), from * size);
    }
    return { ...windows, samples };
  }

  async #climbBatch(
    original: Float32Array,
    labels: Int32Array,
    budget: number,
    steps: number,
    start: Random | undefined,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const radius = this.#radii(original, budget);
    const size = original.length / labels.length;
    const current = start ? original.map((value, at) => value + radius[at] * (2 * start.uniform() - 1)) : original.slice();
    const best = current.slice();
    const bestLoss = new Float32Array(labels.length).fill(Number.NEGATIVE_INFINITY);
    for (let step = 0; ; step++) {
      signal?.throwIfAborted();
      const { loss, gradient } = await this.#gradient(current, labels);
      for (let row = 0; row < labels.length; row++) {
        // A single step is taken as it is; of many the best place on the way.
        if (steps > 1 && loss[row] <= bestLoss[row]) continue;
        bestLoss[row] = loss[row];
        best.set(current.subarray(row * size, (row + 1) * size), row * size);
      }
      if (step === steps) return best;
      const stride = steps === 1 ? 1 : PGD_STRIDE / steps;
      for (let at = 0; at < current.length; at++) {
        const moved = current[at] + stride * radius[at] * Math.sign(gradient[at]);
        current[at] = Math.max(original[at] - radius[at], Math.min(original[at] + radius[at], moved));
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #gradient(samples: Float32Array, labels: Int32Array): Promise<{ loss: Float32Array; gradient: Float32Array }> {
    const [window, channels] = this.#shape;
    const feeds = {
      window: emptyTensor('float32', [BATCH, window, channels]),
      scale: floatTensor(new Float32Array(BATCH * channels).fill(1), [BATCH, channels]),
      target: emptyTensor('float32', [BATCH, this.#classes]),
    };
    feeds.window.values.set(samples as never);
    labels.forEach((label, row) => {
      feeds.target.values[row * this.#classes + label] = 1;
    });
    const { loss, gradient } = await this.#session.run(feeds);
    return { loss: loss.values as Float32Array, gradient: (gradient.values as Float32Array).subarray(0, samples.length) };
  }

  /** How far each sample may move: budget times the RMS of its channel in its window. samples: [N, window, C] -> the same shape */
  #radii(samples: Float32Array, budget: number): Float32Array {
    const [window, channels] = this.#shape;
    const radii = new Float32Array(samples.length);
    for (let start = 0; start < samples.length; start += window * channels) {
      for (let channel = start; channel < start + channels; channel++) {
        const end = channel + window * channels;
        let [mean, variance] = [0, 0];
        for (let at = channel; at < end; at += channels) mean += samples[at] / window;
        for (let at = channel; at < end; at += channels) variance += (samples[at] - mean) ** 2 / window;
        for (let at = channel; at < end; at += channels) radii[at] = budget * Math.sqrt(variance);
      }
    }
    return radii;
  }
}
