import { join } from 'node:path';
import { readManifest } from '../../models/bundle/bundle.ts';
import { Refusal } from '../refusal.ts';
import type { ServerConfiguration } from './configuration.ts';

/** Folder of a model: one that was made here, or the one that gateways are installed with. @throws Refusal server/model */
export async function modelFolder(
  { artifacts, retrain: settings }: Pick<ServerConfiguration, 'artifacts' | 'retrain'>,
  digest: string,
): Promise<string> {
  for (const folder of [join(artifacts, digest), ...(settings ? [settings.bundle] : [])]) {
    const found = await readManifest(folder).catch(() => undefined);
    if (found?.digest === digest) return folder;
  }
  throw new Refusal(
    'server/model',
    `there is no bundle ${digest.slice(0, 12)} below ${artifacts}, nor is it retrain.bundle; share that folder`,
  );
}
