import { readManifest } from '../../models/bundle/bundle.ts';
import type { DecisionLoop } from '../decision-loop.ts';
import type { Running } from '../update/plan.ts';
import type { InferenceOptions } from './inference-thread.ts';
import { UpdateTrial } from './update-trial.ts';

/** What updates ask of the part that decides. */
export interface UpdateHost {
  /** What decides, as the inference process proved it. */
  running(): Running;
  /** SHA-256 of each stream's adapter, as the bank holds it. */
  adapters(): Readonly<Record<string, string>>;
  /** Windows that got an answer so far, and those that the model could give none for. */
  windows(): { readonly decided: number; readonly unanswered: number };
  /** The file that a stream is decided with; undefined where the base decides. */
  adapterOf(stream: string): Uint8Array | undefined;
  /** Lets another bundle decide. @param folder undefined for the configuration's */
  swap(folder: string | undefined): Promise<void>;
  /** Resolves when the adapter decides and is on disk. @throws Error of the file system where it decides and is not */
  setAdapter(stream: string, bytes: Uint8Array | undefined): Promise<void>;
  /** Runs a bundle, or the active one with another adapter, beside what decides. */
  startTrial(
    of: { readonly folder: string } | { readonly stream: string; readonly bytes: Uint8Array },
  ): Promise<Pick<UpdateTrial, 'digest' | 'warmUp' | 'shadow' | 'stop'>>;
}

/** @param factoryFolder bundle of the configuration */
export function loopHost(
  loop: DecisionLoop,
  factoryFolder: string,
  { engine, threads, programs }: Pick<InferenceOptions, 'engine' | 'threads' | 'programs'>,
): UpdateHost {
  return {
    running: () => ({ bundle: loop.status().bundle!.digest, base: loop.manifest.base }),
    adapters: () => loop.status().running!.adapters,
    windows() {
      const { windowsDecided, windowsRefused } = loop.status().ledger!;
      return { decided: windowsDecided, unanswered: windowsRefused.failed + windowsRefused.notFinite };
    },
    adapterOf: (stream) => loop.keptAdapter(stream),
    async swap(next = factoryFolder) {
      // By its digest too: a slot is written over while another bundle decides.
      if (next === loop.bundleFolder && (await readManifest(next)).digest === loop.status().bundle!.digest) return;
      await loop.swap(next);
    },
    async setAdapter(stream, bytes) {
      loop.setAdapter(stream, bytes);
      await loop.adapterSaved(stream);
    },
    async startTrial(of) {
      const common = { active: loop, engine, threads, programs };
      if ('folder' in of)
        return UpdateTrial.start({ ...common, bundleFolder: of.folder, manifest: (await readManifest(of.folder)).manifest });
      return UpdateTrial.start({ ...common, bundleFolder: loop.bundleFolder, manifest: loop.manifest, adapter: of });
    },
  };
}
