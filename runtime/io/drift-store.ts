import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { check, mistakesLine } from '../../models/checks/mistakes.ts';
import type { KeptState } from '../drift/state.ts';
import { writeWhole } from './whole-file.ts';

/** 2: a baseline has the deviations of late means too. */
const FORMAT_VERSION = 2;
/** Between two writes, milliseconds: where a stream was learned or has drifted, and where baselines have only ripened. */
const LEAST_MS = 60_000;
const RIPENED_MS = 15 * 60_000;

/** What a restart must not forget of a stream. */
export interface KeptDrift {
  /** Digest of the stream's adapter: through another one the machine lies elsewhere. */
  readonly adapter: string | undefined;
  /** Whether it was in a drift that has been said. */
  readonly raised: boolean;
  readonly states: readonly KeptState[];
}

const numbers = z.base64().transform((text) => {
  const bytes = Uint8Array.from(Buffer.from(text, 'base64'));
  return bytes.buffer;
});
const doubles = numbers
  .refine(({ byteLength }) => byteLength % 8 === 0, 'must be whole numbers')
  .transform((buffer) => new Float64Array(buffer));
const floats = numbers
  .refine(({ byteLength }) => byteLength % 4 === 0, 'must be whole numbers')
  .transform((buffer) => new Float32Array(buffer));
const schema = z.strictObject({
  formatVersion: z.literal(FORMAT_VERSION),
  /** Digest of the bundle that the baselines belong to. */
  model: z.string(),
  streams: z.record(
    z.string(),
    z.strictObject({
      adapter: z.string().optional(),
      raised: z.boolean(),
      states: z.array(
        z.strictObject({
          sum: doubles,
          first: doubles,
          power: floats,
          decided: z.number().int().nonnegative(),
          accuracy: z.number(),
          /** rpm */
          speed: z.number().optional(),
        }),
      ),
    }),
  ),
});

const base64 = ({ buffer, byteOffset, byteLength }: Float64Array | Float32Array) =>
  Buffer.from(buffer, byteOffset, byteLength).toString('base64');

function encode(model: string, streams: ReadonlyMap<string, KeptDrift>): string {
  const entries = Array.from(streams, ([name, { adapter, raised, states }]) => [
    name,
    {
      ...(adapter !== undefined && { adapter }),
      raised,
      states: states.map(({ sum, first, power, decided, accuracy, speed }) => ({
        sum: base64(sum),
        first: base64(first),
        power: base64(power),
        decided,
        accuracy,
        ...(!Number.isNaN(speed) && { speed }),
      })),
    },
  ]);
  return `${JSON.stringify({ formatVersion: FORMAT_VERSION, model, streams: Object.fromEntries(entries) })}\n`;
}

/** Baselines of all streams in one file, about 8 kB a stream, so that a restart neither learns a drifted machine as well nor says a drift again. */
export class DriftStore {
  readonly #path: string;
  #changes = 0;
  #savedMs = 0;
  #saving: Promise<void> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * @returns the streams that were kept, none where they belong to another model
   * @throws Error where the file is there and cannot be used
   */
  async read(model: string): Promise<Map<string, KeptDrift>> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    });
    if (text === undefined) return new Map();
    const kept = check(schema, JSON.parse(text));
    if ('mistakes' in kept) throw new Error(mistakesLine(kept.mistakes, 'file'));
    if (kept.data.model !== model) return new Map();
    const entries = Object.entries(kept.data.streams).map(([name, { adapter, raised, states }]): [string, KeptDrift] => [
      name,
      { adapter, raised, states: states.map((state) => ({ ...state, speed: state.speed ?? Number.NaN })) },
    ]);
    return new Map(entries);
  }

  /**
   * Writes where it is time to. One write at a time.
   *
   * @param changes streams learned and drifts said since the start
   * @param kept asked for only where it is written
   * @param nowMs undefined to write at once what has changed, as at the end
   */
  async save(model: string, changes: number, kept: () => ReadonlyMap<string, KeptDrift>, nowMs?: number): Promise<void> {
    if (this.#saving) return this.#saving;
    const waited = nowMs === undefined ? Number.POSITIVE_INFINITY : nowMs - this.#savedMs;
    if (waited < (changes === this.#changes ? RIPENED_MS : LEAST_MS)) return;
    this.#changes = changes;
    this.#savedMs = nowMs ?? this.#savedMs;
    this.#saving = writeWhole(this.#path, encode(model, kept()));
    await this.#saving.finally(() => {
      this.#saving = undefined;
    });
  }
}
