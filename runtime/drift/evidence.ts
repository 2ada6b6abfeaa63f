import { FEATURES } from './features.ts';

/** A window that speaks for a drift. */
export interface EvidenceWindow {
  readonly epoch: number;
  readonly endSequence: number;
  /** NaN where there is none. */
  readonly novelty: number;
  /** [classes] */
  readonly probabilities: Float32Array;
  /** [FEATURES] */
  readonly features: Float64Array;
  /** Physical, [window, channels]. */
  readonly samples: Float32Array;
}

/**
 * The windows that tell most: the most novel one, then whichever lies farthest from those already chosen (Gonzalez 1985), so that ten windows of one
 * sort do not crowd out the eleventh.
 */
export function informative(windows: readonly EvidenceWindow[], most: number): EvidenceWindow[] {
  if (windows.length === 0 || most < 1) return [];
  const left = [...windows].sort((a, b) => (b.novelty || 0) - (a.novelty || 0));
  const chosen = left.splice(0, 1);
  const scale = spreads(windows);
  const apart = (one: EvidenceWindow, other: EvidenceWindow) => {
    let sum = 0;
    for (let at = 1; at < FEATURES; at++) sum += ((one.features[at] - other.features[at]) / scale[at]) ** 2;
    return sum;
  };
  while (chosen.length < most && left.length > 0) {
    const nearest = left.map((window) => Math.min(...chosen.map((other) => apart(window, other))));
    chosen.push(...left.splice(nearest.indexOf(Math.max(...nearest)), 1));
  }
  return chosen;
}

/** Deviation of each feature over the windows, never zero. */
function spreads(windows: readonly EvidenceWindow[]): Float64Array {
  return Float64Array.from({ length: FEATURES }, (_, at) => {
    const mean = windows.reduce((sum, { features }) => sum + features[at], 0) / windows.length;
    return Math.sqrt(windows.reduce((sum, { features }) => sum + (features[at] - mean) ** 2, 0) / windows.length) || 1;
  });
}
