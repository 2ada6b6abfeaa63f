import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isSha256 } from '../../models/checks/sha256.ts';
import { CHUNK_BYTES } from '../contracts/chunk.ts';
import { ChunkMap } from '../update/chunk-map.ts';
import { UpdateRefusalError } from '../update/refusal.ts';
import { MOST_WINDOW } from '../update/transfer.ts';
import { replaceFile, type UpdateDisk } from './update-disk.ts';

/**
 * Chunks that gather before they are written, and how long they may wait for others: what a power cut costs at the most. What is not written takes room
 * in the window, so more of them than that holds would wait out the time with nothing in flight.
 */
const FLUSH_CHUNKS = MOST_WINDOW;
const FLUSH_MS = 300;

/** Objects by the SHA-256 of their bytes: `{sha256}`, and while one is being fetched `{sha256}.part` with its map of chunks `{sha256}.map`. */
export class ObjectStore {
  readonly #disk: UpdateDisk;
  readonly #folder: string;
  /** Files elsewhere on this disk that have an object's bytes, by its name. */
  #elsewhere: ReadonlyMap<string, string> = new Map();

  constructor(disk: UpdateDisk, folder: string) {
    this.#disk = disk;
    this.#folder = folder;
  }

  /** Objects of these names need not be fetched: they are taken from these files, and proved like all others. */
  lookIn(files: ReadonlyMap<string, string>): void {
    this.#elsewhere = files;
  }

  path(object: string): string {
    return join(this.#folder, object);
  }

  /** The whole object; undefined where it is not there. */
  read(object: string): Promise<Uint8Array | undefined> {
    return this.#disk.read(this.path(object));
  }

  /** Whether the bytes on disk are those of the name; an object that a failing disk has spoilt is removed, so that it is fetched again. */
  async proves(object: string): Promise<boolean> {
    const digest = await this.#disk.digest(this.path(object));
    if (digest === object) return true;
    if (digest !== undefined) await this.#disk.remove(this.path(object));
    const file = this.#elsewhere.get(object);
    if (file === undefined || (await this.#disk.digest(file)) !== object) return false;
    await this.#disk.makeFolder(this.#folder);
    await this.#disk.link(file, this.path(object));
    return true;
  }

  /** Keeps bytes of this gateway as an object. @returns its name */
  async keep(bytes: Uint8Array): Promise<string> {
    const object = createHash('sha256').update(bytes).digest('hex');
    await this.#disk.makeFolder(this.#folder);
    if (!(await this.proves(object))) await replaceFile(this.#disk, this.path(object), bytes);
    return object;
  }

  /** An object that is not there, with what an earlier run has of it. */
  async partial(object: string, length: number): Promise<PartialObject> {
    await this.#disk.makeFolder(this.#folder);
    const bytes = await this.#disk.read(`${this.path(object)}.map`);
    const map = (bytes && ChunkMap.decode(bytes, length)) ?? new ChunkMap(length);
    return new PartialObject(this.#disk, this.#folder, object, map);
  }

  /** Removes what nothing needs, and what a power cut has left beside an object that is whole. */
  async collect(needed: ReadonlySet<string>): Promise<void> {
    const names = await this.#disk.list(this.#folder);
    const whole = new Set(names.filter((name) => isSha256(name)));
    for (const name of names) {
      const object = name.slice(0, 64);
      const isLeft = !needed.has(object) || (name !== object && whole.has(object));
      if (isSha256(object) && isLeft) await this.#disk.remove(join(this.#folder, name));
    }
  }
}

/**
 * An object on its way. Bytes are on the disk before the map says so, and the map is replaced as a whole: whenever the power goes, what the map claims is
 * there.
 */
export class PartialObject {
  readonly #disk: UpdateDisk;
  readonly #folder: string;
  readonly #object: string;
  /** What the map on disk says. */
  readonly #saved: ChunkMap;
  #waiting = new Map<number, Uint8Array>();
  #writing: Promise<void> = Promise.resolve();
  #inWriting = 0;
  #timer: NodeJS.Timeout | undefined;
  #error: Error | undefined;

  constructor(disk: UpdateDisk, folder: string, object: string, saved: ChunkMap) {
    this.#disk = disk;
    this.#folder = folder;
    this.#object = object;
    this.#saved = saved;
  }

  /** A map of what is there, for a transfer to go on from. */
  map(): ChunkMap {
    return ChunkMap.decode(this.#saved.encode(), this.#saved.length)!;
  }

  /** Chunks that lie in memory. */
  get unsaved(): number {
    return this.#waiting.size + this.#inWriting;
  }

  /** Takes a chunk; it is written when enough have come or a moment has passed. @throws UpdateRefusalError update/disk after a write that failed */
  write(index: number, bytes: Uint8Array): void {
    // What the disk does not take is not to be fetched either.
    if (this.#error) throw new UpdateRefusalError('update/disk', this.#error.message, { cause: this.#error });
    // The payload's memory is the connection's.
    this.#waiting.set(index, bytes.slice());
    if (this.#waiting.size >= FLUSH_CHUNKS) void this.flush().catch(() => {});
    else this.#timer ??= setTimeout(() => void this.flush().catch(() => {}), FLUSH_MS);
  }

  /** Resolves when all that was taken is on the disk. @throws Error of the disk, of this write or an earlier one */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const chunks = this.#waiting;
    this.#waiting = new Map();
    this.#inWriting += chunks.size;
    this.#writing = this.#writing.then(async () => {
      try {
        if (this.#error === undefined && chunks.size > 0) await this.#save(chunks);
      } catch (error) {
        this.#error = error as Error;
      }
      this.#inWriting -= chunks.size;
    });
    await this.#writing;
    if (this.#error) throw this.#error;
  }

  /**
   * All chunks have come: makes them an object.
   *
   * @returns false where the bytes are not those of its name; then nothing of them is left
   */
  async finish(): Promise<boolean> {
    await this.flush();
    const path = join(this.#folder, this.#object);
    if (this.#saved.length === 0) await this.#disk.write(`${path}.part`, 0, new Uint8Array());
    const proved = (await this.#disk.digest(`${path}.part`)) === this.#object;
    if (proved) {
      await this.#disk.rename(`${path}.part`, path);
      await this.#disk.syncFolder(this.#folder);
      await this.#disk.remove(`${path}.map`);
    } else {
      // The map first: without it, nothing of the bytes is believed.
      await this.#disk.remove(`${path}.map`);
      await this.#disk.remove(`${path}.part`);
      this.#saved.clear();
    }
    return proved;
  }

  async #save(chunks: ReadonlyMap<number, Uint8Array>): Promise<void> {
    const path = join(this.#folder, this.#object);
    for (const [index, bytes] of chunks) await this.#disk.write(`${path}.part`, index * CHUNK_BYTES, bytes);
    await this.#disk.sync(`${path}.part`);
    for (const index of chunks.keys()) this.#saved.add(index);
    await replaceFile(this.#disk, `${path}.map`, this.#saved.encode());
  }
}
