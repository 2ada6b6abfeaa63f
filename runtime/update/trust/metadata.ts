import { type Key, Metadata, MetadataKind, MetaFile, type Root, type Snapshot, type Targets, type Timestamp } from '@tufjs/models';
import { SIGNED_AT } from '../../contracts/update.ts';
import { TrustRefusal } from './refusal.ts';

/** Every runtime has them, but pure rooms compile without a runtime's types. */
declare const TextDecoder: new (encoding: 'utf-8', options: { fatal: boolean }) => { decode(bytes: Uint8Array): string };
declare const TextEncoder: new () => { encode(text: string): Uint8Array };

export type SignedRole = Root | Timestamp | Snapshot | Targets;

/** A metadata file that was read: its bytes as they came, for the disk, and what they say. */
export interface MetadataFile<T extends SignedRole = SignedRole> {
  readonly bytes: Uint8Array;
  readonly metadata: Metadata<T>;
}

type Json = Parameters<typeof Metadata.fromJSON>[1];

/** Of a date-time as 4.2 of the specification has it; fractions of a second, which other writers add, do no harm. */
const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

/** Highest version: as many digits as an object's name has room for. A repository that reached it could never sign a newer file. */
export const LARGEST_VERSION = 2 ** 31 - 1;

/** @throws TrustRefusal `update/metadata` where it is no date-time */
export function timeOf(name: string, field: string, text: unknown): number {
  const time = typeof text === 'string' && DATE_TIME.test(text) ? Date.parse(text) : Number.NaN;
  // The classes take a time that they cannot read for one that never comes, so that such a file would never expire.
  if (Number.isNaN(time)) throw new TrustRefusal('update/metadata', `${name}: "${field}" is not a UTC date-time`);
  return time;
}

export const expiryOf = ({ signed }: Metadata<SignedRole>, name: string) => timeOf(name, 'expires', signed.expires);

/** When the timestamp says that it was signed; 0 where it does not say. */
export function signedTimeOf({ signed }: Metadata<Timestamp>): number {
  const text = signed.unrecognizedFields[SIGNED_AT];
  if (text === undefined) return 0;
  const time = timeOf('timestamp.json', SIGNED_AT, text);
  if (time > Date.parse(signed.expires)) throw new TrustRefusal('update/metadata', 'timestamp.json: signed after it expires');
  return time;
}

function checkVersion(name: string, version: number): void {
  if (!Number.isInteger(version) || version < 1)
    throw new TrustRefusal('update/metadata', `${name}: version ${version} is not a whole number from 1`);
  if (version > LARGEST_VERSION)
    throw new TrustRefusal(
      'update/fast-forward',
      `${name}: fast-forward attack: version ${version} is above ${LARGEST_VERSION}, the highest there may be`,
    );
}

/**
 * 4.3: "Clients MUST calculate each KEYID to verify this is correct for the associated key." One form of a key means one name for it: else one stolen
 * key under two names would pass for two signatures.
 */
function checkKeys(name: string, keys: Readonly<Record<string, Key>>): void {
  for (const [keyId, { keyType, scheme, keyVal }] of Object.entries(keys)) {
    if (keyType !== 'ed25519' || scheme !== 'ed25519' || !/^[0-9a-f]{64}$/.test(keyVal.public))
      throw new TrustRefusal('update/metadata', `${name}: key ${keyId} is not an Ed25519 key in lower-case hexadecimal`);
    const canonical = `{"keytype":"ed25519","keyval":{"public":"${keyVal.public}"},"scheme":"ed25519"}`;
    if (!hashesMatch({ sha256: keyId }, new TextEncoder().encode(canonical)))
      throw new TrustRefusal('update/metadata', `${name}: key ${keyId} does not have the SHA-256 of its canonical form for a name`);
  }
}

function hashesMatch(hashes: Record<string, string>, bytes: Uint8Array): boolean {
  try {
    new MetaFile({ version: 1, hashes }).verify(bytes as Parameters<MetaFile['verify']>[0]);
    return true;
  } catch {
    return false;
  }
}

function read<T extends SignedRole>(name: string, bytes: Uint8Array, parse: (json: Json) => Metadata<T>): MetadataFile<T> {
  let metadata: Metadata<T>;
  try {
    metadata = parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
  } catch (cause) {
    throw new TrustRefusal('update/metadata', `${name}: cannot be read: ${(cause as Error).message}`, { cause });
  }
  checkVersion(name, metadata.signed.version);
  expiryOf(metadata, name);
  return { bytes, metadata };
}

/*
 * Readers of the four kinds: form only, no trust. Each throws TrustRefusal `update/metadata`, or `update/fast-forward` for a version beyond reach.
 */

export function readRoot(name: string, bytes: Uint8Array): MetadataFile<Root> {
  const file = read(name, bytes, (json) => Metadata.fromJSON(MetadataKind.Root, json));
  // 5.3.12: nothing else is served here, and only versioned names let many gateways read while the server writes.
  if (!file.metadata.signed.consistentSnapshot) throw new TrustRefusal('update/metadata', `${name}: has no consistent snapshots`);
  checkKeys(name, file.metadata.signed.keys);
  return file;
}

export function readTimestamp(bytes: Uint8Array): MetadataFile<Timestamp> {
  const file = read('timestamp.json', bytes, (json) => Metadata.fromJSON(MetadataKind.Timestamp, json));
  checkVersion('timestamp.json: snapshot.json', file.metadata.signed.snapshotMeta.version);
  signedTimeOf(file.metadata);
  return file;
}

export function readSnapshot(bytes: Uint8Array): MetadataFile<Snapshot> {
  const file = read('snapshot.json', bytes, (json) => Metadata.fromJSON(MetadataKind.Snapshot, json));
  for (const [path, { version }] of Object.entries(file.metadata.signed.meta)) checkVersion(`snapshot.json: ${path}`, version);
  return file;
}

export function readTargets(name: string, bytes: Uint8Array): MetadataFile<Targets> {
  const file = read(name, bytes, (json) => Metadata.fromJSON(MetadataKind.Targets, json));
  checkKeys(name, file.metadata.signed.delegations?.keys ?? {});
  return file;
}

/** A role and its keys as the delegator's metadata has them. @throws TrustRefusal `update/missing` where it knows no such role */
export function roleOf({ signed }: Metadata<Root> | Metadata<Targets>, roleName: string, name: string) {
  const { keys = {}, roles = {} } = 'roles' in signed ? signed : (signed.delegations ?? {});
  if (Object.hasOwn(roles, roleName)) return { keys, role: roles[roleName] };
  throw new TrustRefusal(
    'update/missing',
    `${name}: the trusted ${signed.type} metadata knows no role "${roleName}"; has anything been pushed to it?`,
  );
}

export function isSigned(delegator: Metadata<Root> | Metadata<Targets>, roleName: string, { metadata }: MetadataFile): boolean {
  try {
    delegator.verifyDelegate(roleName, metadata);
    return true;
  } catch {
    return false;
  }
}

/**
 * Arbitrary software and key compromise: the file bears valid signatures of a threshold of its role's keys.
 *
 * @throws TrustRefusal `update/missing` where the delegator knows no such role, `update/arbitrary-software` where no signature is valid,
 *   `update/threshold` where some are but not enough
 */
export function verifySignatures(delegator: Metadata<Root> | Metadata<Targets>, roleName: string, name: string, file: MetadataFile): void {
  const { keys, role } = roleOf(delegator, roleName, name);
  if (isSigned(delegator, roleName, file)) return;
  const valid = role.keyIDs.filter((keyId) => isSignedBy(keys[keyId], file)).length;
  if (valid === 0)
    throw new TrustRefusal('update/arbitrary-software', `${name}: arbitrary software attack: no valid signature of role "${roleName}"`);
  throw new TrustRefusal(
    'update/threshold',
    `${name}: key compromise: ${valid} valid signatures of role "${roleName}", ${role.threshold} are needed`,
  );
}

function isSignedBy(key: Key | undefined, { metadata }: MetadataFile): boolean {
  try {
    key?.verifySignature(metadata);
    return key !== undefined;
  } catch {
    return false;
  }
}

/** Endless data. @throws TrustRefusal `update/endless-data` */
export function checkLongest(name: string, bytes: Uint8Array, maxBytes: number): void {
  if (bytes.length > maxBytes)
    throw new TrustRefusal('update/endless-data', `${name}: endless data attack: ${bytes.length} bytes, at most ${maxBytes} are expected`);
}

/** Whether the bytes are those that a timestamp or a snapshot names; the version is for the caller to compare. */
export function isNamedBy({ length, hashes }: MetaFile, bytes: Uint8Array): boolean {
  return (length === undefined || length === bytes.length) && hashesMatch(hashes ?? {}, bytes);
}

/** @throws TrustRefusal `update/endless-data`, `update/partial` or `update/mix-and-match` where the bytes are not those that a timestamp or a snapshot names */
export function checkNamedBy(name: string, meta: MetaFile, bytes: Uint8Array): void {
  const { length } = meta;
  if (length !== undefined) checkLongest(name, bytes, length);
  if (length !== undefined && bytes.length < length)
    throw new TrustRefusal('update/partial', `${name}: ${bytes.length} of ${length} signed bytes came`);
  if (!isNamedBy(meta, bytes))
    throw new TrustRefusal('update/mix-and-match', `${name}: mix-and-match attack: its hash is not the signed one`);
}
