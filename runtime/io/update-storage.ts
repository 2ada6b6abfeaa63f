import { join } from 'node:path';
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

  /** The metadata as last verified; undefined before the first time, and where a disk has spoilt them. */
  async readTrust(): Promise<TrustRecord | undefined> {
    const bytes = await this.#disk.read(this.#trust);
    if (!bytes) return undefined;
    try {
      const { referenceTimeMs, ...files } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, string> & {
        referenceTimeMs: number;
      };
      const decoded = Object.entries(files).map(([name, text]) => [name, new Uint8Array(Buffer.from(text, 'base64'))]);
      return { ...Object.fromEntries(decoded), referenceTimeMs } as TrustRecord;
    } catch {
      return undefined;
    }
  }

  /** All of it at once, so that the parts always belong together. */
  async writeTrust({ referenceTimeMs, ...files }: TrustRecord): Promise<void> {
    const encoded = Object.entries(files).flatMap(([name, bytes]) =>
      bytes ? [[name, Buffer.from(bytes as Uint8Array).toString('base64')]] : [],
    );
    const text = JSON.stringify({ ...Object.fromEntries(encoded), referenceTimeMs });
    await replaceFile(this.#disk, this.#trust, new TextEncoder().encode(text));
  }

  async #prove(object: string): Promise<void> {
    // Not final: what the disk has spoilt is fetched again.
    if (!(await this.objects.proves(object)))
      throw new UpdateRefusalError('update/disk', `${this.objects.path(object)} is not what was written`);
  }
}
