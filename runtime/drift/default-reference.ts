import type { DriftReference } from './calibrate.ts';

/**
 * For bundles without a reference of their own. Statistics are relative to each stream's baseline, so thresholds of one model fit another about; what
 * they promise is measured on simulated machines (`npm run bench -- drift.run-length.simulator`).
 */
export const DEFAULT_REFERENCE: DriftReference = {
  referenceWindows: 256,
  thresholds: [
    { runLength: 500, novelty: 2.5, shift: 5.95 },
    { runLength: 2000, novelty: 2.8, shift: 6.35 },
  ],
};
