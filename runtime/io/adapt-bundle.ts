import { bankRow } from '../../models/adapters/scheme.ts';
import { type Bundle, bankLayout, FILES, loadGraph, readAdapter } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import { decodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import type { Engine } from '../../models/engine/engine.ts';
import type { LabelledFeatures } from '../adapt/labelled-features.ts';
import { Learner } from '../adapt/learner.ts';
import type { RawWindows } from '../adapt/raw-windows.ts';

/** Why a gateway cannot learn with a bundle; undefined where it can. */
export function cannotLearn({ parts, reference, adapter }: Manifest): string | undefined {
  if (!parts.adapt) return 'the bundle has no part adapt';
  if (reference) return 'the bundle follows a machine by its reference: say that it is healthy instead of labelling it';
  if (adapter.kind === 'prefix') return 'a gateway does not learn prefixes';
  return undefined;
}

/**
 * A bundle's sessions, replay windows and known answers, ready to learn.
 *
 * @param bundle read with its parts core and adapt
 * @throws BundleRefusal where the part adapt is not what the manifest promises
 */
export async function openLearner(engine: Engine, bundle: Bundle): Promise<{ learner: Learner; release(): Promise<void> }> {
  const { manifest, files } = bundle;
  const { recipe, classes } = manifest;
  const layout = bankLayout(manifest);
  const own = files.get(FILES.adapter);
  const load = (name: string) => loadGraph(engine, bundle, name);
  const sessions = { features: await load(FILES.features), adapt: await load(FILES.adapt), infer: await load(FILES.infer) };
  const learner = new Learner({
    sessions,
    shape: { window: recipe.window, channels: recipe.channels.length, classes: classes.length },
    replay: readReplay(files),
    answers: readAnswers(files),
    initial: own ? readAdapter(bundle, own, FILES.adapter) : new Float32Array(layout.size),
    toRow: (adapter) => bankRow(manifest.adapter, layout, adapter),
  });
  const release = async () => {
    for (const session of Object.values(sessions)) await session.release();
  };
  return { learner, release };
}

function readReplay(files: Bundle['files']): LabelledFeatures {
  const { features, labels } = decodeSafetensors(files.get(FILES.replay) ?? new Uint8Array(), FILES.replay).tensors;
  if (features?.type !== 'float32' || labels?.type !== 'int32' || features.shape[0] !== labels.values.length)
    throw new BundleRefusal('bundle/tensors', `${FILES.replay} does not hold features with a label each`);
  return { features: features.values as Float32Array, labels: labels.values as Int32Array };
}

function readAnswers(files: Bundle['files']): RawWindows {
  const { window, scale } = decodeSafetensors(files.get(FILES.answers) ?? new Uint8Array(), FILES.answers).tensors;
  if (window?.type !== 'int16' || scale?.type !== 'float32')
    throw new BundleRefusal('bundle/tensors', `${FILES.answers} does not hold windows with their scales`);
  return { count: window.shape[0], codes: window.values as Int16Array, scales: scale.values as Float32Array };
}
