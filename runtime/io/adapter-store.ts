import { readFileSync, rmSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';

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
    const own = readIfThere(this.#path(stream));
    return own ?? (Object.hasOwn(this.#configured, stream) ? readFileSync(this.#configured[stream]) : undefined);
  }

  /** A crash leaves the old one or the new one. */
  async write(stream: string, bytes: Uint8Array): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const fresh = `${this.#path(stream)}.new`;
    const file = await open(fresh, 'w');
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(fresh, this.#path(stream));
  }

  remove(stream: string): void {
    rmSync(this.#path(stream), { force: true });
  }

  #path(stream: string): string {
    return join(this.#folder, `${stream}.safetensors`);
  }
}

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
