import * as z from 'zod';
import { sha256Schema } from '../../models/checks/sha256.ts';
import { targetSchema } from '../contracts/update.ts';

const count = z.number().int().nonnegative();

/** Version of the file, and the only one that is read. */
const FORMAT_VERSION = 1;

/** Deployments whose end is remembered. */
const REMEMBERED = 32;

/** A target as it was signed. */
export const wantedSchema = z.strictObject({
  target: targetSchema,
  /** Digest and length of the target's file: a bundle's manifest.json, or an adapter. */
  sha256: sha256Schema,
  length: count,
});
export type Wanted = z.infer<typeof wantedSchema>;

export const SLOTS = ['a', 'b'] as const;
export type SlotName = (typeof SLOTS)[number];
/** What the gateway was installed with: the bundle of its configuration. */

const slotSchema = z.strictObject({
  deployment: z.string(),
  /** Number of its target (see Target). */
  number: count,
  /** SHA-256 of the bundle's manifest. */
  digest: sha256Schema,
  /** SHA-256 of all its files, the manifest included: what must stay in the store. */
  objects: z.array(sha256Schema),
});
export type Slot = z.infer<typeof slotSchema>;

const adapterSchema = z.strictObject({ deployment: z.string(), number: count, digest: sha256Schema, base: sha256Schema });
/** Deployment of an adapter that nobody pushed: the gateway learned it, or was installed with it. */
export const OWN = '';

/** An adapter that a stream is decided with. */
export type AdapterInUse = z.infer<typeof adapterSchema>;

const activeName = z.enum([...SLOTS, 'factory']);

const recordSchema = z.strictObject({
  formatVersion: z.literal(FORMAT_VERSION),
  active: activeName,
  slots: z.strictObject({ a: slotSchema.optional(), b: slotSchema.optional() }),
  adapters: z.record(z.string(), adapterSchema),
  /** Streams whose adapter is not where it decides yet. */
  unsettled: z.array(z.string()),
  /** What decides but is not confirmed yet, and what decided before. */
  trial: z
    .discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('bundle'), deployment: z.string(), previous: activeName }),
      z.strictObject({ kind: z.literal('adapter'), deployment: z.string(), stream: z.string(), previous: adapterSchema.optional() }),
    ])
    .optional(),
  /** The update that is under way. */
  current: z
    .strictObject({
      wanted: wantedSchema,
      /** Bytes that it moved over the network. */
      spentBytes: count,
      /** The withdrawn deployment whose place it takes: nothing is to be compared with that. */
      insteadOf: z.string().optional(),
      /** SHA-256 of the adapter whose place it takes, which lies in the store. */
      replaces: sha256Schema.optional(),
      /** Whether the candidate runs in this process, where it could bring it down. */
      probing: z.boolean(),
    })
    .optional(),
  /** Starts since something unconfirmed first ran; 0 where nothing does. */
  boots: count,
  confirmed: z.array(z.string()),
  failed: z.array(z.strictObject({ deployment: z.string(), error: z.string() })),
});

/**
 * All that a gateway must know of its updates after a power cut, in one file that is replaced as a whole: which bundle decides, what to go back to,
 * and what came of earlier updates. One file, so that no two can contradict each other.
 */
export type UpdateRecord = Omit<z.infer<typeof recordSchema>, 'formatVersion'>;

export const FACTORY_RECORD: UpdateRecord = {
  active: 'factory',
  slots: {},
  adapters: {},
  unsettled: [],
  boots: 0,
  confirmed: [],
  failed: [],
};

export function encodeRecord(record: UpdateRecord): string {
  return `${JSON.stringify(z.encode(recordSchema, { formatVersion: FORMAT_VERSION, ...record }))}\n`;
}

/** @returns undefined where the text is no record: then the bundle of the configuration decides */
export function decodeRecord(text: string): UpdateRecord | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = recordSchema.safeParse(raw);
  if (!parsed.success) return undefined;
  const { formatVersion: _, ...record } = parsed.data;
  return record.active === 'factory' || record.slots[record.active] ? record : undefined;
}

/** The slot that may be written over: the one that does not decide. */
export function freeSlot({ active }: UpdateRecord): SlotName {
  return active === 'a' ? 'b' : 'a';
}

/** The bundle in the active slot; undefined for the configuration's. */
export function activeSlot({ active, slots }: UpdateRecord): Slot | undefined {
  return active === 'factory' ? undefined : slots[active];
}

/** Objects that must stay in the store. */
export function neededObjects({ slots, adapters, trial, current }: UpdateRecord): Set<string> {
  const needed = new Set([slots.a, slots.b].flatMap((slot) => slot?.objects ?? []));
  for (const { digest } of Object.values(adapters)) needed.add(digest);
  if (trial?.kind === 'adapter' && trial.previous) needed.add(trial.previous.digest);
  if (current) needed.add(current.wanted.sha256);
  if (current?.replaces) needed.add(current.replaces);
  return needed;
}

export function withConfirmed(record: UpdateRecord, deployment: string): UpdateRecord {
  const failed = record.failed.filter((one) => one.deployment !== deployment);
  return { ...record, failed, confirmed: [...record.confirmed.filter((one) => one !== deployment), deployment].slice(-REMEMBERED) };
}

export function withFailed(record: UpdateRecord, deployment: string, error: string): UpdateRecord {
  const confirmed = record.confirmed.filter((one) => one !== deployment);
  const failed = [...record.failed.filter((one) => one.deployment !== deployment), { deployment, error: error.slice(0, 512) }];
  return { ...record, confirmed, failed: failed.slice(-REMEMBERED) };
}
