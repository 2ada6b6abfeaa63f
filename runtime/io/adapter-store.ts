import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { syncFolder, unlessMissing, writeWhole } from './whole-file.ts';

/** Adapters on disk: one safetensors file a stream, replaced as a whole. A stream's name is a topic level, so it cannot leave the folder. */
export class AdapterStore {
  readonly #folder: string;
  readonly #configured: Readonly<Record<string, string>>;

  /** @param configured files that streams begin with, by stream, for those of which the folder has none */
  constructor(folder: string, configured: Readonly<Record<string, string>> = {}) {
    this.#folder = folder;
    this.#configured = configured;
  }

  /**
   * Reads at once, so that a stream is decided with its adapter from its first window on: some kilobytes, when a stream comes.
   *
   * @throws Error of the file system where there is a file that cannot be read
   */
  read(stream: string): Uint8Array | undefined {
    return this.#own(stream) ?? (Object.hasOwn(this.#configured, stream) ? readFileSync(this.#configured[stream]) : undefined);
  }

  async write(stream: string, bytes: Uint8Array): Promise<void> {
    await writeWhole(this.#path(stream), bytes);
  }

  /** Resolves when what was removed stays so after a power cut. */
  async sync(): Promise<void> {
    await syncFolder(this.#folder).catch(unlessMissing);
  }

  #own(stream: string): Uint8Array | undefined {
    try {
      return readFileSync(this.#path(stream));
    } catch (error) {
      return unlessMissing(error as NodeJS.ErrnoException);
    }
  }

  remove(stream: string): void {
    rmSync(this.#path(stream), { force: true });
  }

  #path(stream: string): string {
    return join(this.#folder, `${stream}.safetensors`);
  }
}
