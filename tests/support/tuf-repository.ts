import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { Metadata, MetadataKind, Signature } from '@tufjs/models';
import * as z from 'zod';
import { SIGNED_AT, siteRole, type Target, targetSchema } from '../../runtime/contracts/update.ts';
import type { UpdateTrust } from '../../runtime/update/trust/refresh.ts';
import type { TrustRecord } from '../../runtime/update/trust/trusted-metadata.ts';

type Json = Parameters<typeof Metadata.fromJSON>[1];
type RoleName = 'root' | 'timestamp' | 'snapshot' | 'targets' | 'site';

const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

export interface SigningKey {
  keyId: string;
  json: { keytype: string; scheme: string; keyval: { public: string } };
  private: KeyObject;
}

export function signingKey(): SigningKey {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const hex = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url').toString('hex');
  const json = { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: hex } };
  return { keyId: sha256(`{"keytype":"ed25519","keyval":{"public":"${hex}"},"scheme":"ed25519"}`), json, private: privateKey };
}

const KINDS = {
  root: MetadataKind.Root,
  timestamp: MetadataKind.Timestamp,
  snapshot: MetadataKind.Snapshot,
  targets: MetadataKind.Targets,
  site: MetadataKind.Targets,
};

export interface Publication {
  /** Who signs; the role's keys where it does not say. */
  signers?: SigningKey[];
  /** Changes what is signed, before it is. */
  edit?: (signed: Json) => void;
}

/** What a site's bundle target says; override what a test is about. */
export const bundleTarget = (custom: Partial<Target> = {}): Target =>
  ({
    kind: 'bundle',
    deployment: 'first',
    number: 1,
    gateways: ['press-7'],
    withdrawn: false,
    thresholds: { shadowWindows: 50, shadowSeconds: 60, agreement: 0.9, latencyMs: 20, alarmShareChange: 0.1, memoryBytes: 50e6 },
    budgetBytes: 300_000,
    platforms: [],
    parts: ['core'],
    ...custom,
  }) as Target;

/** A repository of one site that signs whatever it is told to. What gateways may ask for lies in `objects`. */
export class TufRepository {
  readonly site = 'plant';
  readonly objects = new Map<string, Uint8Array>();
  timestamp = new Uint8Array();
  readonly keys: Record<RoleName, SigningKey[]>;
  readonly thresholds: Record<RoleName, number> = { root: 2, timestamp: 1, snapshot: 1, targets: 1, site: 1 };
  readonly versions: Record<RoleName, number> = { root: 0, timestamp: 0, snapshot: 0, targets: 0, site: 0 };
  readonly expires: Record<RoleName, string>;
  /** When the next timestamp says that it was signed. */
  signedAt?: string;
  /** Whether snapshot and timestamp name files by hash and length too. */
  hashes = true;
  paths = [`${this.site}/*`, `${this.site}/*/*`];
  /** Targets of the site's role by path. */
  targets: Record<string, Target> = { 'plant/1-bundle': bundleTarget() };
  #rootSigners: SigningKey[] = [];

  constructor(expires = '2030-01-01T00:00:00Z') {
    this.keys = {
      root: [signingKey(), signingKey()],
      timestamp: [signingKey()],
      snapshot: [signingKey()],
      targets: [signingKey()],
      site: [signingKey()],
    };
    this.expires = { root: expires, timestamp: expires, snapshot: expires, targets: expires, site: expires };
    this.publishRoot();
    this.publishAll();
  }

  /** What a gateway is installed with: the first root. */
  get installed(): TrustRecord {
    return { 'root.json': this.objects.get('1.root.json')!, referenceTimeMs: 0 };
  }

  /** Signed by the keys of the root before and by its own. */
  publishRoot({ signers = [...new Set([...this.#rootSigners, ...this.keys.root])], edit }: Publication = {}): void {
    const roles = (['root', 'timestamp', 'snapshot', 'targets'] as const).map((role) => [
      role,
      { keyids: this.keys[role].map(({ keyId }) => keyId), threshold: this.thresholds[role] },
    ]);
    const keys = [this.keys.root, this.keys.timestamp, this.keys.snapshot, this.keys.targets].flat();
    this.#publish('root', { keys: keysJson(keys), roles: Object.fromEntries(roles), consistent_snapshot: true }, { signers, edit });
    this.#rootSigners = this.keys.root;
  }

  publishTargets(publication?: Publication): void {
    const role = {
      name: siteRole(this.site),
      keyids: this.keys.site.map(({ keyId }) => keyId),
      threshold: this.thresholds.site,
      terminating: true,
      paths: this.paths,
    };
    this.#publish('targets', { targets: {}, delegations: { keys: keysJson(this.keys.site), roles: [role] } }, publication);
  }

  publishSite(publication?: Publication): void {
    const targets = Object.entries(this.targets).map(([path, custom]) => [
      path,
      { length: 1000, hashes: { sha256: sha256(path) }, custom: z.encode(targetSchema, custom) },
    ]);
    this.#publish('site', { targets: Object.fromEntries(targets) }, publication);
  }

  publishSnapshot(publication?: Publication): void {
    this.#publish(
      'snapshot',
      { meta: { 'targets.json': this.#meta('targets'), [`${siteRole(this.site)}.json`]: this.#meta('site') } },
      publication,
    );
  }

  publishTimestamp(publication?: Publication): void {
    this.#publish(
      'timestamp',
      { meta: { 'snapshot.json': this.#meta('snapshot') }, ...(this.signedAt && { [SIGNED_AT]: this.signedAt }) },
      publication,
    );
  }

  /** New versions of all but the root. */
  publishAll(): void {
    this.publishTargets();
    this.publishSite();
    this.publishSnapshot();
    this.publishTimestamp();
  }

  /** Name and bytes of the latest file of a role. */
  latest(role: RoleName): [string, Uint8Array] {
    const name = this.#objectName(role);
    return [name, role === 'timestamp' ? this.timestamp : this.objects.get(name)!];
  }

  #objectName(role: RoleName): string {
    return `${this.versions[role]}.${role === 'site' ? siteRole(this.site) : role}.json`;
  }

  #meta(role: RoleName): Json {
    const [, bytes] = this.latest(role);
    return { version: this.versions[role], ...(this.hashes && { length: bytes.length, hashes: { sha256: sha256(bytes) } }) };
  }

  #publish(role: RoleName, content: object, { signers = this.keys[role], edit }: Publication = {}): void {
    this.versions[role]++;
    const common = { _type: KINDS[role], spec_version: '1.0.33', version: this.versions[role], expires: this.expires[role] };
    const signed: Json = JSON.parse(JSON.stringify({ ...common, ...content }));
    edit?.(signed);
    const metadata = Metadata.fromJSON(KINDS[role] as MetadataKind.Root, { signed, signatures: [] });
    for (const { keyId, private: key } of signers)
      metadata.sign((data) => new Signature({ keyID: keyId, sig: sign(null, data, key).toString('hex') }));
    const bytes = Buffer.from(JSON.stringify(metadata.toJSON()));
    if (role === 'timestamp') this.timestamp = bytes;
    else this.objects.set(this.#objectName(role), bytes);
  }
}

const keysJson = (keys: SigningKey[]) => Object.fromEntries(keys.map(({ keyId, json }) => [keyId, json]));

/** Runs a refresh against the repository; `asked` takes the names of the objects. */
export function refreshFrom(
  trust: UpdateTrust,
  { timestamp, objects }: Pick<TufRepository, 'timestamp' | 'objects'>,
  nowMs: number,
  asked: string[] = [],
) {
  const refresh = trust.refresh(timestamp, nowMs);
  let step = refresh.next();
  while (!step.done) {
    asked.push(step.value.object);
    step = refresh.next(objects.get(step.value.object));
  }
  return step.value;
}
