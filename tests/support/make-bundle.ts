import type { Bundle } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import type { Recording } from '../../trainer/data/recording-set.ts';
import type { Metrics } from '../../trainer/evaluate/metrics.ts';
import { type BundleRequest, type DraftBundle, draftBundle } from '../../trainer/release/draft-bundle.ts';

/** Drafts, measures and writes a bundle in one go. */
export async function makeBundle(
  folder: string,
  engine: Engine,
  request: BundleRequest,
  train: readonly Recording[],
  measure: (probabilities: DraftBundle['probabilities']) => Promise<Metrics>,
): Promise<Bundle> {
  const draft = await draftBundle(engine, request, train);
  const { accuracy, balancedAccuracy, macroF1, windows } = await measure(draft.probabilities);
  const bundle = await draft.write(folder, { measured: { accuracy, balancedAccuracy, macroF1, windows } });
  await draft.release();
  return bundle;
}
