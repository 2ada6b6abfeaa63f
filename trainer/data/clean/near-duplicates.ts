import { LaggedCorrelation } from '../../evaluate/correlation.ts';
import type { CleaningRow } from './cleaning.ts';

/** The space in which likeness is measured: in others, 0.85 means something else altogether (reference/ml.md, trap 2). */
export const NEAR_DUPLICATE_SPACE = 'largest lagged cross-correlation of z-scored windows';

/** Windows that a window is compared with. */
export const COMPARED_WINDOWS = 32;

export interface NearDuplicateOptions {
  /** Likeness above which a window is a near-duplicate. Default 0.85. */
  readonly threshold?: number;
  /** Windows that a window is compared with: the latest of those that stay. Default 32. */
  readonly compared?: number;
  readonly signal?: AbortSignal;
}

/** Windows to be compared with each other, in order. */
export interface ComparedWindows {
  /** Row-major [count, window, channels]. */
  readonly samples: Float32Array;
  readonly recordings: ArrayLike<number>;
  /** First sample of each in its recording. */
  readonly starts: ArrayLike<number>;
  /** So many of the first are known to stay and only compared with. Default 0. */
  readonly settled?: number;
}

/**
 * Stage 3: windows that resemble an earlier one which stays, in {@link NEAR_DUPLICATE_SPACE}. The first of a family stays. A window is compared
 * with the latest that stay, so the time grows with the number of windows and not with its square; a repetition after more than so many
 * different windows is not found.
 */
export async function findNearDuplicates(
  { samples, recordings, starts, settled = 0 }: ComparedWindows,
  shape: readonly [window: number, channels: number],
  { threshold = 0.85, compared = COMPARED_WINDOWS, signal }: NearDuplicateOptions = {},
): Promise<CleaningRow[]> {
  const space = new LaggedCorrelation(samples, shape);
  const kept: number[] = Array.from({ length: settled }, (_, index) => index);
  const rows: CleaningRow[] = [];
  for (let index = settled; index < starts.length; index++) {
    const twin = latestAlike(space, index, kept.slice(-compared), threshold);
    if (!twin) kept.push(index);
    else {
      const [recording, other] = [recordings[index], recordings[twin.index]];
      const where = `sample ${starts[twin.index]}${other === recording ? '' : ` of recording ${other}`}`;
      const why = `likeness ${twin.likeness.toFixed(3)} to the window at ${where} (${NEAR_DUPLICATE_SPACE})`;
      rows.push({ recording, start: starts[index], stage: 'near-duplicate', reason: 'near-duplicate', why });
    }
    if (index % 16 !== 0) continue;
    signal?.throwIfAborted();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return rows;
}

/** The latest of some windows that is more alike than the threshold. */
function latestAlike(
  space: LaggedCorrelation,
  index: number,
  others: readonly number[],
  threshold: number,
): { index: number; likeness: number } | undefined {
  for (let at = others.length - 1; at >= 0; at -= 2) {
    const pair = [others[at], others[at - 1] ?? others[at]] as const;
    const likeness = space.likeness(index, ...pair);
    const which = likeness.findIndex((value) => value > threshold);
    if (which >= 0) return { index: pair[which], likeness: likeness[which] };
  }
  return undefined;
}
