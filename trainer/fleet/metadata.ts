import { Metadata, MetadataKind, type Root, type Signature, type Snapshot, type Targets, type Timestamp } from '@tufjs/models';
import { Refusal } from '../refusal.ts';
import type { SigningKey } from './keys.ts';

/** Version of The Update Framework's specification that the metadata follow. */
export const SPECIFICATION = '1.0.33';

const DAY_MS = 86_400_000;

/**
 * How long each role's word holds, days, if nobody signs it anew. The timestamp's is the longest that a frozen gateway goes unnoticed; the server signs it
 * anew after half of that. A site's and the snapshot's bound what a stolen timestamp key can hold back.
 */
export const VALID_DAYS = { root: 365, targets: 365, site: 30, snapshot: 30, timestamp: 1 } as const;

/** The time so many days from now as TUF writes it: without fractions of a second (4.2.1). */
export function expiry(now: Date, days: number): string {
  return `${new Date(now.getTime() + days * DAY_MS).toISOString().slice(0, 19)}Z`;
}

/** Whether more than half of a role's time is over. */
export function isAgeing(signed: { readonly expires: string }, days: number, now: Date): boolean {
  return Date.parse(signed.expires) - now.getTime() < (days * DAY_MS) / 2;
}

type Signed = Root | Targets | Snapshot | Timestamp;

/** Signs with every key given, and writes as few bytes as JSON allows. */
export function signMetadata(signed: Signed, keys: readonly SigningKey[]): { metadata: Metadata<Signed>; bytes: Uint8Array } {
  const metadata = new Metadata(signed);
  for (const key of keys) metadata.sign((bytes: Buffer): Signature => key.sign(bytes));
  return { metadata, bytes: new TextEncoder().encode(JSON.stringify(metadata.toJSON())) };
}

interface Kinds {
  root: Metadata<Root>;
  targets: Metadata<Targets>;
  snapshot: Metadata<Snapshot>;
  timestamp: Metadata<Timestamp>;
}

/** @throws Refusal fleet/damaged where the file is not what its name says */
export function parseMetadata<K extends keyof Kinds>(kind: K, bytes: Uint8Array, path: string): Kinds[K] {
  try {
    // The class has an overload a kind; the kind decides.
    const parse = Metadata.fromJSON as (kind: MetadataKind, data: object) => unknown;
    return parse.call(Metadata, KIND[kind], JSON.parse(new TextDecoder().decode(bytes))) as Kinds[K];
  } catch (cause) {
    throw new Refusal(
      'fleet/damaged',
      `${path} is not ${kind} metadata (${(cause as Error).message}); bring back a copy of the repository`,
      {
        cause,
      },
    );
  }
}

const KIND = {
  root: MetadataKind.Root,
  targets: MetadataKind.Targets,
  snapshot: MetadataKind.Snapshot,
  timestamp: MetadataKind.Timestamp,
} as const;
