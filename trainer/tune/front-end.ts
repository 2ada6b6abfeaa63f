import { type Bundle, bundleModel, FILES } from '../../models/bundle/bundle.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import { decodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { type Engine, floatTensor } from '../../models/engine/engine.ts';
import type { LabelledFeatures } from '../../runtime/adapt/labelled-features.ts';
import type { Windows } from '../data/windows.ts';
import { Refusal } from '../refusal.ts';
import { encodeWindows } from '../release/feeds.ts';

const BATCH = 64;

/**
 * Windows through the bundle's own front end, as int16 like a device sends them: standardised features, [count, F].
 *
 * @throws Refusal tune/reference where the bundle decides on what differs from a machine's reference
 */
export async function featuresOf(engine: Engine, bundle: Bundle, windows: Windows): Promise<LabelledFeatures> {
  if (bundle.manifest.reference)
    throw new Refusal('tune/reference', `${bundle.manifest.name} follows a machine by its reference; commission it instead of tuning`);
  const { window, channels: names } = bundle.manifest.recipe;
  const channels = names.length;
  const session = await engine.load(bundleModel(bundle, FILES.features));
  const width = session.outputs.find(({ name }) => name === 'features')!.shape[1] as number;
  const { codes, scales } = encodeWindows(windows, channels);
  const features = new Float32Array(windows.count * width);
  const size = window * channels;
  for (let from = 0; from < windows.count; from += BATCH) {
    const count = Math.min(BATCH, windows.count - from);
    const made = await session.run({
      window: { type: 'int16', shape: [count, window, channels], values: codes.subarray(from * size, (from + count) * size) },
      scale: floatTensor(scales.subarray(from * channels, (from + count) * channels), [count, channels]),
    });
    features.set(made.features.values as Float32Array, from * width);
  }
  await session.release();
  return { features, labels: windows.labels };
}

/** The bundle's replay windows. @throws BundleRefusal bundle/tensors, bundle/part */
export function readReplay({ files }: Bundle): LabelledFeatures {
  const bytes = files.get(FILES.replay);
  if (!bytes) throw new BundleRefusal('bundle/part', `the bundle has no ${FILES.replay}; use the folder that tremolo train wrote`);
  const { features, labels } = decodeSafetensors(bytes, FILES.replay).tensors;
  if (features?.type !== 'float32' || labels?.type !== 'int32' || features.shape[0] !== labels.values.length) {
    throw new BundleRefusal('bundle/tensors', `${FILES.replay} does not hold features with a label each`);
  }
  return { features: features.values as Float32Array, labels: labels.values as Int32Array };
}
