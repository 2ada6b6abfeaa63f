import type { DriftReference } from './calibrate.ts';

/**
 * For bundles without a reference of their own. A shift is measured in a stream's own deviations, so its thresholds fit every model: they are those of 16
 * simulated machines, 45 minutes each, through the shipped bundle (`npm run bench -- drift.run-length.simulator`). That bundle has no novelty; its
 * thresholds were raised over those of cwru12 by judgement.
 */
export const DEFAULT_REFERENCE: DriftReference = {
  referenceWindows: 256,
  thresholds: [
    { runLength: 500, novelty: 3, shift: 4.5 },
    { runLength: 2000, novelty: 3.5, shift: 5.7 },
    { runLength: 20_000, novelty: 5, shift: 7.1 },
  ],
};
