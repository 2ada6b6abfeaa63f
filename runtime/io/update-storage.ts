import { join } from 'node:path';
import * as z from 'zod';
import { type BundleObject, bundleObjects, MANIFEST } from '../update/bundle-objects.ts';
import {
  activeSlot,
  decodeRecord,
  encodeRecord,
  FACTORY_RECORD,
  neededObjects,
  type Slot,
  type SlotName,
  type UpdateRecord,
  type Wanted,
} from '../update/record.ts';
import { UpdateRefusalError } from '../update/refusal.ts';
import type { TrustRecord } from '../update/trust/trusted-metadata.ts';
import { replaceFile, type UpdateDisk } from './update-disk.ts';
import { ObjectStore } from './update-objects.ts';

/** Files of the metadata by their names, base64; one that is none, or a time that is none, is as if it were not there. */
const trustSchema = z
  .object({ referenceTimeMs: z.number().int().nonnegative().optional().catch(undefined) })
  .catchall(z.base64().catch(''));

/** The metadata as they were found on disk. */
export type KeptTrust = Partial<Omit<TrustRecord, 'referenceTimeMs'>> & {
  readonly referenceTimeMs: number;
  /** Why it is not all that was kept. */
  readonly damage?: string;
};

/**
 * What updates keep in the gateway's folder of state:
 *
 * ```
 * objects/{sha256}     what was fetched, by its digest
 * slots/{a,b}/         bundles, made of objects
 * slots/pointer.json   which of them decides, and all else that must be known after a power cut
 * update/trust.json    the signed metadata as last verified
 * ```
 */
export class UpdateStorage {
  readonly objects: ObjectStore;
  readonly #disk: UpdateDisk;
  readonly #slots: string;
  readonly #pointer: string;
  readonly #trust: string;
  #trustOnDisk: string | undefined;

  constructor(disk: UpdateDisk, stateFolder: string) {
    this.#disk = disk;
    this.objects = new ObjectStore(disk, join(stateFolder, 'objects'));
    this.#slots = join(stateFolder, 'slots');
    this.#pointer = join(this.#slots, 'pointer.json');
    this.#trust = join(stateFolder, 'update', 'trust.json');
  }

  /** Makes the folders, and reads what is known; of a gateway that was never updated, or whose pointer a disk has spoilt, nothing. */
  async open(): Promise<UpdateRecord> {
    await this.#disk.makeFolder(this.#slots);
    await this.#disk.makeFolder(join(this.#trust, '..'));
    const bytes = await this.#disk.read(this.#pointer);
    return (bytes && decodeRecord(new TextDecoder().decode(bytes))) ?? FACTORY_RECORD;
  }

  async write(record: UpdateRecord): Promise<void> {
    await replaceFile(this.#disk, this.#pointer, new TextEncoder().encode(encodeRecord(record)));
  }

  /** Folder of the bundle that a record lets decide; undefined for the configuration's. */
  activeFolder(record: UpdateRecord): string | undefined {
    return activeSlot(record) && this.slotFolder(record.active as SlotName);
  }

  slotFolder(slot: SlotName): string {
    return join(this.#slots, slot);
  }

  /** Whether a slot's manifest, which names the digests of all else in it, is the one that was signed. */
  async isSigned(slot: SlotName, { digest }: Slot): Promise<boolean> {
    return (await this.#disk.digest(join(this.slotFolder(slot), MANIFEST))) === digest;
  }

  /**
   * Makes a bundle's folder out of its objects, each of which is proved by its digest once more.
   *
   * @throws UpdateRefusalError update/bundle, update/disk
   */
  async assemble(slot: SlotName, { target, sha256, length }: Wanted): Promise<Slot> {
    if (target.kind !== 'bundle') throw new Error('an adapter is no bundle');
    await this.#prove(sha256);
    const parts = bundleObjects((await this.objects.read(sha256))!, target);
    const files: BundleObject[] = [...parts, { name: MANIFEST, sha256, length }];
    for (const { sha256: object } of parts) await this.#prove(object);
    const folder = this.slotFolder(slot);
    try {
      await this.#disk.remove(folder);
      await this.#disk.makeFolder(folder);
      for (const { name, sha256: object } of files) await this.#disk.link(this.objects.path(object), join(folder, name));
      await this.#disk.syncFolder(folder);
      await this.#disk.syncFolder(this.#slots);
    } catch (cause) {
      throw new UpdateRefusalError('update/disk', (cause as Error).message, { cause });
    }
    const { deployment, number } = target;
    return { deployment, number, digest: sha256, objects: files.map(({ sha256: object }) => object) };
  }

  /** Removes objects that nothing needs any more; those of an update under way stay. */
  async collect(record: UpdateRecord): Promise<void> {
    const needed = neededObjects(record);
    const target = record.current?.wanted.target;
    const manifest = target?.kind === 'bundle' ? await this.objects.read(record.current!.wanted.sha256) : undefined;
    if (target?.kind === 'bundle' && manifest) for (const { sha256 } of bundleObjects(manifest, target)) needed.add(sha256);
    await this.objects.collect(needed);
  }

  /** The metadata as last verified; undefined before the first time. Of a file that a disk has spoilt, what can still be read of it. */
  async readTrust(): Promise<KeptTrust | undefined> {
    const bytes = await this.#disk.read(this.#trust);
    if (!bytes) return undefined;
    const text = new TextDecoder().decode(bytes);
    const parsed = trustSchema.safeParse(parseJson(text));
    if (!parsed.success) return { damage: `${this.#trust} is not what was written`, referenceTimeMs: 0 };
    this.#trustOnDisk = text;
    const { referenceTimeMs, ...files } = parsed.data;
    const decoded = Object.entries(files).map(([name, file]) => [name, new Uint8Array(Buffer.from(file, 'base64'))]);
    return {
      ...(Object.fromEntries(decoded) as Omit<TrustRecord, 'referenceTimeMs'>),
      referenceTimeMs: referenceTimeMs ?? 0,
      damage: referenceTimeMs === undefined ? `${this.#trust} knows no time` : undefined,
    };
  }

  /** All of it at once, so that the parts always belong together; what is there already is not written again. */
  async writeTrust({ referenceTimeMs, ...files }: TrustRecord): Promise<void> {
    const encoded = Object.entries(files).flatMap(([name, bytes]) =>
      bytes ? [[name, Buffer.from(bytes as Uint8Array).toString('base64')]] : [],
    );
    const text = JSON.stringify({ ...Object.fromEntries(encoded), referenceTimeMs });
    if (text === this.#trustOnDisk) return;
    await replaceFile(this.#disk, this.#trust, new TextEncoder().encode(text));
    this.#trustOnDisk = text;
  }

  async #prove(object: string): Promise<void> {
    // Not final: what the disk has spoilt is fetched again.
    if (!(await this.objects.proves(object)))
      throw new UpdateRefusalError('update/disk', `${this.objects.path(object)} is not what was written`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
