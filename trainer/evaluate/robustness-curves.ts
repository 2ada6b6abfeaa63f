import type { Windows } from '../data/windows.ts';
import { argmaxRows, metricsOf } from './metrics.ts';
import { describePerturbation, type Perturbation, perturbed } from './robustness.ts';
import { balancedSample } from './sampling.ts';

/** Windows that the curves are drawn from; their standard error is at most 2 %. */
export const ROBUSTNESS_WINDOWS = 600;

export interface RobustnessPoint {
  /** For people: `noise 20 dB`. */
  readonly label: string;
  /** Decibels, factor, channels lost or multiple of the RMS, as the kind has it. */
  readonly level: number;
  readonly accuracy: number;
  /** Mean recall over the classes that occur. */
  readonly balancedAccuracy: number;
}

export interface RobustnessCurve {
  /** `clean` has one point, of level 0: the same windows as they were recorded. */
  readonly kind: 'clean' | Perturbation['kind'];
  readonly points: readonly RobustnessPoint[];
}

/**
 * Tier (c): accuracy on windows as sensor and machine faults would have changed them, in the order of {@link ROBUSTNESS_SUITE}. Lost channels
 * are left out where there is only one.
 *
 * @param probabilitiesOf probabilities of windows, [count, classes]
 * @param windows of which a class-balanced sample of at most `most` is taken, evenly spread
 * @param onProgress share done, 0 to 1
 * @param signal stops between two points
 */
export async function robustnessCurves(
  probabilitiesOf: (windows: Windows) => Promise<Float32Array>,
  windows: Windows,
  shape: readonly [window: number, channels: number],
  classes: number,
  seed: number,
  onProgress: (share: number) => void = () => {},
  signal?: AbortSignal,
  most: number = ROBUSTNESS_WINDOWS,
): Promise<RobustnessCurve[]> {
  const sample = balancedSample(windows, most);
  const suite = perturbed(sample, shape, seed);
  const point = async (label: string, level: number, changed: Windows): Promise<RobustnessPoint> => {
    signal?.throwIfAborted();
    const { accuracy, balancedAccuracy } = metricsOf(sample.labels, argmaxRows(await probabilitiesOf(changed), classes), classes);
    // A turn of the event loop lets signals and the progress bar through.
    await new Promise((resolve) => setImmediate(resolve));
    return { label, level, accuracy, balancedAccuracy };
  };
  const curves = new Map<RobustnessCurve['kind'], RobustnessPoint[]>([['clean', [await point('as recorded', 0, sample)]]]);
  for (const [index, { perturbation: one, windows: changed }] of suite.entries()) {
    const points = curves.get(one.kind) ?? [];
    points.push(await point(describePerturbation(one), levelOf(one), changed()));
    curves.set(one.kind, points);
    onProgress((index + 1) / suite.length);
  }
  return [...curves].map(([kind, points]) => ({ kind, points }));
}

function levelOf(perturbation: Perturbation): number {
  switch (perturbation.kind) {
    case 'noise':
      return perturbation.snrDb;
    case 'channel-loss':
      return perturbation.lost;
    case 'clipping':
      return perturbation.level;
    default:
      return perturbation.factor;
  }
}
