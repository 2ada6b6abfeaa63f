import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FILES, readManifest, readParts, sha256 } from '../../models/bundle/bundle.ts';
import { type Manifest, type PartName, parseManifest } from '../../models/bundle/schema/manifest.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import type { CodedRefusal } from '../../models/checks/refusal.ts';
import { Refusal } from '../refusal.ts';
import type { ServerConfiguration } from './configuration.ts';
import { ObjectStore, type Patience, StoreAway } from './object-store.ts';

/**
 * Models by their digests, for all processes of a server on all its machines. A model is there wholly or not at all.
 *
 * Two implementations: a folder that the machines share, and an S3-compatible store.
 */
export interface ModelStore {
  /** For people. */
  readonly name: string;
  /** @param onAway told where it is only away now, and may come back @throws Refusal where it can never be used as it is configured */
  check(onAway: (error: StoreAway) => void): Promise<void>;
  /** A folder with the model in it; undefined where there is none. @throws Refusal server/model where it is not what was kept */
  folderOf(digest: string): Promise<string | undefined>;
  /** Keeps what lies in a folder, which may be gone afterwards. Under its digest a model has one content: who comes second has brought the same. */
  keep(folder: string, digest: string): Promise<void>;
  replays(): Promise<Replays>;
  /** Lets all machines have a model that this one alone has, from before there was an `objectStore`. */
  share(digest: string): Promise<void>;
  /** May be called again, also where it was cut short. */
  remove(digest: string): Promise<void>;
}

/** Replay windows of all models. */
export interface Replays {
  /** Hashes by digest. */
  readonly found: ReadonlyMap<string, string>;
  /** What was in the way of finding more. */
  readonly broken: readonly CodedRefusal[];
}

/** @param folder for what must be fetched from elsewhere @throws Refusal server/objects */
export function openModelStore(
  { artifacts, objectStore }: Pick<ServerConfiguration, 'artifacts' | 'objectStore'>,
  folder = artifacts,
  patience?: Patience,
): ModelStore {
  return objectStore ? new ObjectModels(new ObjectStore(objectStore, patience), folder) : new FolderModels(artifacts);
}

/** Folders by digest. */
export class FolderModels implements ModelStore {
  readonly name: string;

  constructor(folder: string) {
    this.name = folder;
  }

  async check(): Promise<void> {}

  async folderOf(digest: string): Promise<string | undefined> {
    const folder = join(this.name, digest);
    return (await isModel(folder, digest)) ? folder : undefined;
  }

  async keep(folder: string, digest: string): Promise<void> {
    await moveTo(folder, join(this.name, digest), digest);
  }

  async replays(): Promise<Replays> {
    const found = new Map<string, string>();
    for (const digest of await readdir(this.name).catch((): string[] => [])) {
      const bytes = await readFile(join(this.name, digest, FILES.replay)).catch(() => undefined);
      if (bytes) found.set(digest, sha256(bytes));
    }
    return { found, broken: [] };
  }

  async share(): Promise<void> {}

  async remove(digest: string): Promise<void> {
    await rm(join(this.name, digest), { recursive: true, force: true });
  }
}

/**
 * Objects named DIGEST/FILE. The manifest is put last and names the hashes of all others, and the digest is the manifest's own: nothing half written and
 * nothing altered is taken for a model.
 */
class ObjectModels implements ModelStore {
  readonly #store: ObjectStore;
  readonly #copies: FolderModels;
  /** Copies of which every byte was looked at. */
  readonly #whole = new Set<string>();
  readonly #shared = new Set<string>();

  /** @param folder where what was fetched is kept for the next time, by this process alone */
  constructor(store: ObjectStore, folder: string) {
    this.#store = store;
    this.#copies = new FolderModels(folder);
  }

  get name(): string {
    return this.#store.name;
  }

  async check(onAway: (error: StoreAway) => void): Promise<void> {
    await this.#store.list('', 1).catch((error: Error) => {
      if (!(error instanceof StoreAway)) throw error;
      onAway(error);
    });
  }

  async folderOf(digest: string): Promise<string | undefined> {
    const known = await this.#copies.folderOf(digest);
    if (known && (this.#whole.has(digest) || (await isWhole(known, digest)))) {
      this.#whole.add(digest);
      return known;
    }
    await this.#copies.remove(digest);
    const manifest = await this.#manifestOf(digest);
    if (!manifest) return undefined;
    const scratch = this.#scratchOf(digest);
    await rm(scratch, { recursive: true, force: true });
    await mkdir(scratch, { recursive: true });
    try {
      for (const [name, hash] of filesOf(manifest.parsed)) await writeFile(join(scratch, name), await this.#fetch(digest, name, hash));
      await writeFile(join(scratch, FILES.manifest), manifest.bytes);
      await this.#copies.keep(scratch, digest);
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
    return this.#copies.folderOf(digest);
  }

  async keep(folder: string, digest: string): Promise<void> {
    const { manifest } = await readManifest(folder);
    for (const name of [...filesOf(manifest).keys(), FILES.manifest])
      await this.#store.put(`${digest}/${name}`, await readFile(join(folder, name)));
  }

  async replays(): Promise<Replays> {
    const found = new Map<string, string>();
    const broken: CodedRefusal[] = [];
    for (const name of await this.#store.list('')) {
      const [digest, file] = name.split('/');
      if (file !== FILES.manifest) continue;
      try {
        const manifest = await this.#manifestOf(digest);
        const replay = manifest && filesOf(manifest.parsed).get(FILES.replay);
        if (replay !== undefined) found.set(digest, replay);
      } catch (error) {
        const isManifests = error instanceof BundleRefusal || (error instanceof Refusal && error.code === 'server/model');
        if (!isManifests) throw error;
        broken.push(error);
        const copy = await this.#copies.folderOf(digest);
        const replay = copy && filesOf((await readManifest(copy)).manifest).get(FILES.replay);
        if (replay !== undefined) found.set(digest, replay);
      }
    }
    return { found, broken };
  }

  async share(digest: string): Promise<void> {
    if (this.#shared.has(digest)) return;
    const copy = await this.#copies.folderOf(digest);
    if (copy && (await isWhole(copy, digest)) && !(await this.#manifestOf(digest))) await this.keep(copy, digest);
    this.#shared.add(digest);
  }

  async remove(digest: string): Promise<void> {
    // In this order it is whole until it is none.
    const names = await this.#store.list(`${digest}/`);
    const manifest = `${digest}/${FILES.manifest}`;
    for (const name of names.toSorted((one, other) => Number(other === manifest) - Number(one === manifest)))
      await this.#store.remove(name);
    // Of somebody who was killed while he fetched it; who is about to end that finds it gone, or has made the copy that goes next.
    await rm(this.#scratchOf(digest), { recursive: true, force: true });
    await this.#copies.remove(digest);
    this.#whole.delete(digest);
  }

  #scratchOf(digest: string): string {
    return join(this.#copies.name, `.fetching-${digest}`);
  }

  async #manifestOf(digest: string): Promise<{ readonly bytes: Uint8Array; readonly parsed: Manifest } | undefined> {
    const bytes = await this.#store.get(`${digest}/${FILES.manifest}`);
    if (!bytes) return undefined;
    if (sha256(bytes) !== digest) throw this.#altered(digest, FILES.manifest);
    return { bytes, parsed: parseManifest(new TextDecoder().decode(bytes)) };
  }

  async #fetch(digest: string, name: string, hash: string): Promise<Uint8Array> {
    const bytes = await this.#store.get(`${digest}/${name}`);
    if (!bytes || sha256(bytes) !== hash) throw this.#altered(digest, name);
    return bytes;
  }

  #altered(digest: string, name: string): Refusal {
    return new Refusal(
      'server/model',
      `${digest}/${name} in ${this.name} is not what was kept (its SHA-256 differs); put it back from a copy`,
    );
  }
}

/** Hashes of all files by their names. */
function filesOf({ parts }: Manifest): Map<string, string> {
  return new Map(
    Object.values(parts).flatMap((part) => Object.entries(part ?? {}).map(([name, { sha256: hash }]) => [name, hash] as const)),
  );
}

async function isModel(folder: string, digest: string): Promise<boolean> {
  const found = await readManifest(folder).catch(() => undefined);
  return found?.digest === digest;
}

/** Whether every byte is the model's. */
async function isWhole(folder: string, digest: string): Promise<boolean> {
  try {
    const { manifest } = await readManifest(folder);
    return (await readParts(folder, Object.keys(manifest.parts) as PartName[])).digest === digest;
  } catch (error) {
    if (error instanceof BundleRefusal) return false;
    throw error;
  }
}

/** What is at the place already stays if it is the model. */
async function moveTo(made: string, place: string, digest: string): Promise<void> {
  const isTaken = await rename(made, place).then(
    () => false,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
      return true;
    },
  );
  if (!isTaken || (await isWhole(place, digest))) return;
  await rm(place, { recursive: true, force: true });
  await rename(made, place);
}

/** Folder of a model: the one that gateways are installed with, or one that was made here. @throws Refusal server/model, server/objects */
export async function modelFolder(
  models: ModelStore,
  { retrain: settings }: Pick<ServerConfiguration, 'retrain'>,
  digest: string,
): Promise<string> {
  if (settings && (await isModel(settings.bundle, digest))) return settings.bundle;
  const folder = await models.folderOf(digest);
  if (folder) return folder;
  throw new Refusal(
    'server/model',
    `there is no bundle ${digest.slice(0, 12)} in ${models.name}, nor is it retrain.bundle; share that folder or store`,
  );
}
