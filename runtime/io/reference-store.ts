import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeReference, encodeReference, type StreamReference } from '../decide/stream-reference.ts';
import { writeWhole } from './whole-file.ts';

const SUFFIX = '.json';

/** Commissioning references on disk: one small file a stream, replaced as a whole. */
export class ReferenceStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Reads the references that belong to a base; those of another stay on disk.
   *
   * @param onDamaged called for each file that cannot be used; its stream is commissioned anew
   */
  async read(base: string, onDamaged: (path: string, error: Error) => void): Promise<Map<string, StreamReference>> {
    await mkdir(this.#folder, { recursive: true });
    const references = new Map<string, StreamReference>();
    for (const name of await readdir(this.#folder)) {
      if (!name.endsWith(SUFFIX)) continue;
      const path = join(this.#folder, name);
      try {
        const reference = decodeReference(await readFile(path, 'utf8'));
        if (`${reference.stream}${SUFFIX}` !== name) throw new Error(`holds the reference of stream ${reference.stream}`);
        if (reference.base === base) references.set(reference.stream, reference);
      } catch (error) {
        onDamaged(path, error as Error);
      }
    }
    return references;
  }

  /** Writes one reference; a crash leaves the old one or the new one. The stream's name is a topic level, so it cannot leave the folder. */
  async write(reference: StreamReference): Promise<void> {
    const text = encodeReference(reference);
    decodeReference(text);
    await writeWhole(join(this.#folder, `${reference.stream}${SUFFIX}`), text);
  }

  async remove(stream: string): Promise<void> {
    await rm(join(this.#folder, `${stream}${SUFFIX}`), { force: true });
  }
}
