import { mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { nodeDisk, type UpdateDisk } from '../../runtime/io/update-disk.ts';

export class PowerCut extends Error {
  readonly syscall = 'cut';
}

/**
 * A disk that stops at its n-th step, in the midst of it, and takes and gives nothing from then on.
 *
 * `kill`: what was done stays, as when a process is killed. `power`: what was not synced is lost as well: bytes become zeros, and names that a folder was
 * given or has lost since it was synced are undone.
 */
export class CutDisk implements UpdateDisk {
  readonly #how: 'kill' | 'power';
  readonly #at: number;
  #steps = 0;
  #cut = false;
  /** What the disk has for certain of files that were written since they were synced. */
  readonly #durable = new Map<string, Buffer>();
  readonly #undo: { readonly folder: string; run(): Promise<void> }[] = [];
  #trash: string | undefined;

  constructor(how: 'kill' | 'power', at = Number.POSITIVE_INFINITY) {
    this.#how = how;
    this.#at = at;
  }

  get cut(): boolean {
    return this.#cut;
  }

  async read(path: string) {
    this.#alive();
    return nodeDisk.read(path);
  }

  async digest(path: string) {
    this.#alive();
    return nodeDisk.digest(path);
  }

  async list(folder: string) {
    this.#alive();
    return nodeDisk.list(folder);
  }

  async makeFolder(path: string) {
    await this.#step();
    await nodeDisk.makeFolder(path);
  }

  async write(path: string, at: number, bytes: Uint8Array) {
    const before = await readFile(path).catch(() => undefined);
    if (before === undefined) this.#onUndo(path, () => rm(path, { force: true }));
    if (!this.#durable.has(path)) this.#durable.set(path, before ?? Buffer.alloc(0));
    await this.#step(() => nodeDisk.write(path, at, bytes.subarray(0, bytes.length >> 1)));
    await nodeDisk.write(path, at, bytes);
  }

  async sync(path: string) {
    await this.#step();
    await nodeDisk.sync(path);
    this.#durable.delete(path);
  }

  async rename(from: string, to: string) {
    await this.#step();
    const over = await readFile(to).catch(() => undefined);
    await nodeDisk.rename(from, to);
    const written = this.#durable.get(from);
    this.#durable.delete(from);
    if (written) this.#durable.set(to, written);
    this.#onUndo(to, async () => {
      await rename(to, from);
      if (over) await writeFile(to, over);
    });
  }

  async link(from: string, to: string) {
    await this.#step();
    await nodeDisk.link(from, to);
    this.#onUndo(to, () => rm(to, { force: true }));
  }

  async remove(path: string) {
    await this.#step();
    if (!(await stat(path).catch(() => undefined))) return;
    this.#trash ??= await mkdtemp(join(tmpdir(), 'tremolo-trash-'));
    const moved = join(this.#trash, String(this.#steps));
    await rename(path, moved);
    this.#durable.delete(path);
    this.#onUndo(path, async () => {
      await rm(path, { recursive: true, force: true });
      await rename(moved, path);
    });
  }

  async syncFolder(folder: string) {
    await this.#step();
    const left = this.#undo.filter((one) => one.folder !== folder);
    this.#undo.splice(0, this.#undo.length, ...left);
  }

  #onUndo(path: string, run: () => Promise<void>): void {
    this.#undo.push({ folder: dirname(path), run });
  }

  #alive(): void {
    if (this.#cut) throw new PowerCut('the power is gone');
  }

  async #step(half?: () => Promise<void>): Promise<void> {
    this.#alive();
    if (++this.#steps < this.#at) return;
    this.#cut = true;
    await half?.();
    if (this.#how === 'power') await this.#lose();
    throw new PowerCut('the power is gone');
  }

  async #lose(): Promise<void> {
    for (const [path, durable] of this.#durable) {
      const length = (await stat(path).catch(() => undefined))?.size ?? 0;
      await writeFile(path, Buffer.concat([durable.subarray(0, length), Buffer.alloc(Math.max(0, length - durable.length))]));
    }
    for (const { run } of this.#undo.reverse()) await run();
  }
}
