import type { DriftReference } from './calibrate.ts';

/**
 * For bundles without a reference of their own. Statistics are measured in a stream's own deviations, so thresholds fit every model about as well: these are
 * those of the shipped bundle, from 64 simulated machines of 20 minutes each (`npm run ship`).
 */
export const DEFAULT_REFERENCE: DriftReference = {
  referenceWindows: 256,
  thresholds: [
    { runLength: 500, novelty: 2.4, shift: 4.8 },
    { runLength: 2000, novelty: 3.4, shift: 6.2 },
    { runLength: 20_000, novelty: 4.7, shift: 7.5 },
    { runLength: 100_000, novelty: 5.6, shift: 9 },
  ],
};
