import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readManifest, sha256 } from '../../../models/bundle/bundle.ts';
import { isSha256 } from '../../../models/checks/sha256.ts';
import { LearnedStore } from '../../../runtime/io/learned-store.ts';
import { Repository } from '../../fleet/repository.ts';
import { readRollouts } from '../../fleet/rollout-store.ts';

/** Where the parts of a loop keep what must outlive them, below one folder. */
export const LOOP_FOLDERS = {
  /** Repository of signed updates. */
  fleet: 'fleet',
  /** State of the gateway. */
  gateway: 'gateway',
  /** Models that the server made, by digest. */
  models: 'server/models',
} as const;

/** What lies on the disks of gateway and server. */
export interface LoopDisk {
  /** Adapters that the gateway has learned and still has, by stream: SHA-256 of the file, and ids of the labels that the stream had then. */
  readonly learned: Readonly<Record<string, readonly { readonly adapter: string; readonly labels: readonly string[] }[]>>;
  /** Models that the server made: digest of the manifest, and of the bundle that it was tuned from. */
  readonly models: readonly { readonly digest: string; readonly parent: string | undefined; readonly split: string }[];
  readonly rollouts: readonly {
    readonly deployment: string;
    readonly target: string;
    readonly status: string;
    readonly waves: number;
    readonly confirmed: readonly string[];
  }[];
  /** What the site's signed metadata tell its gateways to run. */
  readonly signed: readonly { readonly version: number; readonly targets: readonly string[] }[];
}

const namesIn = (folder: string) => readdir(folder).catch((): string[] => []);

async function learnedBelow(folder: string): Promise<LoopDisk['learned']> {
  const store = new LearnedStore(folder);
  const found: Record<string, { adapter: string; labels: readonly string[] }[]> = {};
  for (const stream of await namesIn(folder)) {
    found[stream] = [];
    for (const { adapter, labels } of (await store.readHistory(stream)).versions)
      if (sha256(await store.readAdapter(stream, adapter)) === adapter) found[stream].push({ adapter, labels });
  }
  return found;
}

async function modelsBelow(folder: string): Promise<LoopDisk['models']> {
  const names = (await namesIn(folder)).filter((name) => isSha256(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const { digest, manifest } = await readManifest(join(folder, name));
      return { digest, parent: manifest.lineage.parent, split: manifest.lineage.split };
    }),
  );
}

/** Reads what gateway and server have written below a folder so far. A file that is being replaced is read the next time. */
export async function readLoopDisk(folder: string, site: string): Promise<LoopDisk> {
  const fleet = join(folder, LOOP_FOLDERS.fleet);
  const rollouts = await readRollouts(Repository.at(fleet));
  const versions = (await namesIn(fleet)).filter((name) => name.endsWith(`.site-${site}.json`));
  const signed = await Promise.all(
    versions.map(async (name) => {
      const { signed: told } = JSON.parse(await readFile(join(fleet, name), 'utf8')) as SignedTargets;
      return { version: told.version, targets: Object.values(told.targets).map(({ hashes }) => hashes.sha256) };
    }),
  );
  return {
    learned: await learnedBelow(join(folder, LOOP_FOLDERS.gateway, 'learned')),
    models: await modelsBelow(join(folder, LOOP_FOLDERS.models)),
    rollouts: rollouts.map(({ deployment, target, status, groups, devices }) => ({
      deployment,
      target: target.sha256,
      status,
      waves: groups.length,
      confirmed: Object.entries(devices).flatMap(([name, { outcome }]) => (outcome === 'confirmed' ? [name] : [])),
    })),
    signed: signed.sort((a, b) => a.version - b.version),
  };
}

interface SignedTargets {
  readonly signed: {
    readonly version: number;
    readonly targets: Readonly<Record<string, { readonly hashes: { readonly sha256: string } }>>;
  };
}
