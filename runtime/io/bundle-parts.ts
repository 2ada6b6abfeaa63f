import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import type { DecisionOptions } from '../decide/decisions.ts';
import { decisionSettings } from '../decide/settings.ts';
import type { DecisionLoopEvents, DecisionLoopOptions } from '../decision-loop.ts';
import type { StreamOptions } from '../stream/stream-gateway.ts';
import { StreamMemory } from '../stream/stream-memory.ts';
import { InferenceThread } from './inference-thread.ts';
import type { ReferenceStore } from './reference-store.ts';
import { StreamReferences } from './stream-references.ts';

/*
 * What a decision loop makes anew with each bundle, and how two bundles compare.
 */

export function memoryOf({ recipe }: Manifest, largestStreams: number): StreamMemory {
  return new StreamMemory({ streams: largestStreams, window: recipe.window, channels: recipe.channels.length });
}

export function streamOptions({ recipe }: Manifest): StreamOptions {
  const { window, stride, channels, sampleRateHz } = recipe;
  return { window, stride, channels: channels.length, sampleRateHz, rateTolerance: 0.01 };
}

export function decisionOptions(manifest: Manifest, largestStreams: number): DecisionOptions {
  return { settings: decisionSettings(manifest), classes: manifest.classes.length, stride: manifest.recipe.stride, largestStreams };
}

/** Whether two bundles read the same windows. Names of channels are for people. */
export function sameRecipe({ recipe: one }: Pick<Manifest, 'recipe'>, { recipe: other }: Pick<Manifest, 'recipe'>): boolean {
  const windows = ({ window, stride, channels, sampleRateHz }: typeof one) => [window, stride, channels.length, sampleRateHz].join();
  return windows(one) === windows(other);
}

/** Whether what was smoothed and counted under one bundle means the same under the other. */
export function sameDecisions(one: Manifest, other: Manifest): boolean {
  const facts = ({ classes, decision, recipe }: Manifest) => JSON.stringify([classes, decision, recipe.stride]);
  return facts(one) === facts(other);
}

export async function startThread(
  { engine, threads, paced, programs }: DecisionLoopOptions,
  events: DecisionLoopEvents,
  bundleFolder: string,
  memory: StreamMemory,
  digest: string,
): Promise<InferenceThread> {
  const inference = await InferenceThread.start({ bundleFolder, memory, engine, threads, paced, programs }, (error) =>
    events.onExit(error),
  );
  if (inference.proof.digest === digest) return inference;
  await inference.stop();
  throw new BundleRefusal('bundle/hash', `${bundleFolder} was replaced while it was read; start again`);
}

export async function readReferences(
  inference: InferenceThread,
  base: string,
  store: ReferenceStore | undefined,
  events: DecisionLoopEvents,
  folder: string | undefined,
): Promise<StreamReferences> {
  const known = await store
    ?.read(base, (path, error) => events.onReferenceError(error, path))
    .catch((error: Error) => {
      // A disk that is full or read-only costs the references, not the decisions.
      events.onReferenceError(error, folder);
      return undefined;
    });
  return new StreamReferences(inference, store ?? { write: async () => {} }, base, known ?? new Map(), (error) =>
    events.onReferenceError(error),
  );
}
