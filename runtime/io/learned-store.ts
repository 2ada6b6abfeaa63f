import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { decodeSafetensors, encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { sha256Schema } from '../../models/checks/sha256.ts';
import { type BookEntry, ExampleBook } from '../adapt/example-book.ts';
import { joinWindows } from '../adapt/raw-windows.ts';
import { labelSchema } from '../contracts/label.ts';
import { readIfThere, writeWhole } from './whole-file.ts';

/** Ways back that are kept of a stream. */
const LARGEST_HISTORY = 16;

const versionSchema = z.strictObject({
  version: z.number().int().positive(),
  /** SHA-256 of its file, and of the one that decided before; absent for the base. */
  adapter: sha256Schema,
  before: sha256Schema.optional(),
  at: z.iso.datetime(),
  /** Ids of all labels that the stream had then. */
  labels: z.array(z.string()),
});
export type LearnedVersion = z.infer<typeof versionSchema>;

const historySchema = z.strictObject({ lastVersion: z.number().int().nonnegative(), versions: z.array(versionSchema) });
export type LearnedHistory = z.infer<typeof historySchema>;

const place = z.strictObject({ epoch: z.number(), endSequence: z.number() });
const entriesSchema = z.array(z.strictObject({ label: labelSchema, windows: z.array(place) }));

/**
 * What a gateway has learned, on disk: a folder a stream with its labels and their windows, its adapters by digest, and the way back. Each file is replaced as
 * a whole; a crash leaves the old one or the new one.
 */
export class LearnedStore {
  readonly #folder: string;

  /** Streams' names are topic levels, so they cannot leave the folder. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** @throws Error where the file is there and cannot be read */
  async readBook(stream: string): Promise<ExampleBook> {
    const bytes = await readIfThere(this.#path(stream, 'labels.safetensors'));
    if (!bytes) return new ExampleBook();
    const { tensors, metadata } = decodeSafetensors(bytes, 'labels.safetensors');
    const told = entriesSchema.parse(JSON.parse(metadata.entries ?? '[]'));
    const [codes, scales] = [tensors.codes?.values as Int16Array, tensors.scales?.values as Float32Array];
    const count = told.reduce((sum, { windows }) => sum + windows.length, 0);
    const [size, channels] = count === 0 ? [0, 0] : [codes.length / count, scales.length / count];
    let row = 0;
    return new ExampleBook(
      told.map(({ label, windows }): BookEntry => {
        const own = windows.map((where, index) => ({
          ...where,
          codes: codes.slice((row + index) * size, (row + index + 1) * size),
          scales: scales.slice((row + index) * channels, (row + index + 1) * channels),
        }));
        row += windows.length;
        return { label, windows: own };
      }),
    );
  }

  async writeBook(stream: string, { entries }: ExampleBook): Promise<void> {
    const { codes, scales } = joinWindows(entries.flatMap(({ windows }) => windows));
    const told = entries.map(({ label, windows }) => ({
      label,
      windows: windows.map(({ epoch, endSequence }) => ({ epoch, endSequence })),
    }));
    const file = encodeSafetensors({
      tensors: {
        codes: { type: 'int16', shape: [codes.length], values: codes },
        scales: { type: 'float32', shape: [scales.length], values: scales },
      },
      metadata: { entries: JSON.stringify(told) },
    });
    await writeWhole(this.#path(stream, 'labels.safetensors'), file);
  }

  async readHistory(stream: string): Promise<LearnedHistory> {
    const bytes = await readIfThere(this.#path(stream, 'history.json'));
    return bytes ? historySchema.parse(JSON.parse(new TextDecoder().decode(bytes))) : { lastVersion: 0, versions: [] };
  }

  /** Keeps a history; adapters that it no longer names go. @param adapters files that it names and that may not be on disk yet, by digest */
  async writeHistory(stream: string, history: LearnedHistory, adapters: ReadonlyMap<string, Uint8Array> = new Map()): Promise<void> {
    const kept = history.versions.slice(-LARGEST_HISTORY);
    const before = new Set((await this.readHistory(stream)).versions.flatMap(namesOf));
    const after = new Set(kept.flatMap(namesOf));
    // The files first: the history names what is there.
    for (const [name, bytes] of adapters) if (after.has(name)) await writeWhole(this.#path(stream, `${name}.safetensors`), bytes);
    await writeWhole(
      this.#path(stream, 'history.json'),
      JSON.stringify({ lastVersion: history.lastVersion, versions: kept } satisfies LearnedHistory),
    );
    for (const name of before) if (!after.has(name)) await rm(this.#path(stream, `${name}.safetensors`), { force: true });
  }

  /** @throws Error where there is none */
  async readAdapter(stream: string, name: string): Promise<Uint8Array> {
    return new Uint8Array(await readFile(this.#path(stream, `${name}.safetensors`)));
  }

  #path(stream: string, file: string): string {
    return join(this.#folder, stream, file);
  }
}

const namesOf = ({ adapter, before }: LearnedVersion): string[] => (before === undefined ? [adapter] : [adapter, before]);
