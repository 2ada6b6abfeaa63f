import type { Metadata, MetaFile, Root, Snapshot, Targets, Timestamp } from '@tufjs/models';
import { siteRole } from '../../contracts/update.ts';
import {
  checkLongest,
  checkNamedBy,
  expiryOf,
  isNamedBy,
  isSigned,
  type MetadataFile,
  readRoot,
  readSnapshot,
  readTargets,
  readTimestamp,
  roleOf,
  signedTimeOf,
  verifySignatures,
} from './metadata.ts';
import { TrustRefusal } from './refusal.ts';

/**
 * What a gateway keeps of the repository: the latest trusted file of each role as it came, and the latest time it has proof of. It is written as one
 * (a new file renamed over the old), so that the parts always belong together. Before the first refresh it is the root that the gateway was
 * installed with.
 */
export interface TrustRecord {
  'root.json': Uint8Array;
  'timestamp.json'?: Uint8Array;
  'snapshot.json'?: Uint8Array;
  'targets.json'?: Uint8Array;
  /** `site-SITE.json` */
  [role: `${string}.json`]: Uint8Array | undefined;
  /** Milliseconds since 1970 that are past for certain; 0: none known. */
  referenceTimeMs: number;
}

/**
 * Longest file of each role, bytes: against endless data where no signed length is known, and against a signed one that is absurd. A role of a thousand
 * sites or targets fits several times.
 */
export const LARGEST_METADATA_BYTES = {
  root: 64 << 10,
  timestamp: 16 << 10,
  snapshot: 512 << 10,
  targets: 1 << 20,
  site: 1 << 20,
} as const;

/**
 * The metadata that a gateway trusts, and the only ways to change it: section 5 of The Update Framework 1.0.33 without its downloads. Every method checks
 * in the specification's order and assigns last; what throws has changed nothing but the reference time, which only ever knows better.
 *
 * @throws TrustRefusal from the constructor where the root does not verify itself: the gateway needs another copy of it
 */
export class TrustedMetadata {
  readonly #siteRole: string;
  readonly #buildTimeMs: number;
  #referenceTimeMs: number;
  /** 5.1: the time that this refresh takes for now. */
  #nowMs = 0;
  #root: MetadataFile<Root>;
  #timestamp?: MetadataFile<Timestamp>;
  #snapshot?: MetadataFile<Snapshot>;
  #targets?: MetadataFile<Targets>;
  #site?: MetadataFile<Targets>;

  /** @param buildTimeMs when this program was built: it cannot be earlier */
  constructor(site: string, record: TrustRecord, buildTimeMs: number) {
    this.#siteRole = siteRole(site);
    this.#buildTimeMs = buildTimeMs;
    this.#referenceTimeMs = record.referenceTimeMs;
    // 5.2: its expiry does not matter, for the next step is to update it.
    this.#root = readRoot('root.json', record['root.json']);
    verifySignatures(this.#root.metadata, 'root', 'root.json', this.#root);
    // The rest can be fetched again, so a file that a failing disk has spoilt is forgotten rather than left to stop updates for ever.
    this.#timestamp = intact(record['timestamp.json'], (bytes) => this.#signed('timestamp', readTimestamp(bytes)));
    this.#snapshot = intact(record['snapshot.json'], (bytes) => this.#signed('snapshot', readSnapshot(bytes)));
    // Signatures of these two are verified at each use: keys of their roles may change while the files stay.
    this.#targets = intact(record['targets.json'], (bytes) => readTargets('targets.json', bytes));
    this.#site = intact(record[`${this.#siteRole}.json`], (bytes) => readTargets(`${this.#siteRole}.json`, bytes));
  }

  get record(): TrustRecord {
    const record: TrustRecord = {
      'root.json': this.#root.bytes,
      'timestamp.json': this.#timestamp?.bytes,
      'snapshot.json': this.#snapshot?.bytes,
      'targets.json': this.#targets?.bytes,
      referenceTimeMs: this.#referenceTimeMs,
    };
    record[`${this.#siteRole}.json`] = this.#site?.bytes;
    return record;
  }

  /** 5.1. @param systemClockMs may be wrong by years: it only counts where nothing better is known to be later */
  begin(systemClockMs: number): void {
    this.#nowMs = systemClockMs;
  }

  get rootVersion(): number {
    return this.#root.metadata.signed.version;
  }

  /** 5.3.4 to 5.3.11, but for expiry. @returns whether to look for the next one */
  updateRoot(bytes: Uint8Array): boolean {
    const name = `${this.rootVersion + 1}.root.json`;
    checkLongest(name, bytes, LARGEST_METADATA_BYTES.root);
    const next = readRoot(name, bytes);
    // 5.3.4 arbitrary software: signed by the keys that were trusted, and by its own.
    verifySignatures(this.#root.metadata, 'root', name, next);
    verifySignatures(next.metadata, 'root', name, next);
    // 5.3.5 rollback; the same version again is no error, and the end of the chain.
    const { version } = next.metadata.signed;
    if (version === this.rootVersion) return false;
    if (version < this.rootVersion) throw rollback(name, `version ${version} after ${this.rootVersion}`);
    if (version > this.rootVersion + 1)
      throw new TrustRefusal(
        'update/fast-forward',
        `${name}: fast-forward attack: holds version ${version}, so that roots between would be skipped`,
      );
    // 5.3.6: an intermediate root may have expired. 5.3.11 here rather than after 5.3.10, for whoever stopped in between would forget that keys changed.
    const rotated = ['timestamp', 'snapshot'].some((role) => !sameRole(this.#root.metadata, next.metadata, role));
    // 5.3.7, 5.3.8
    this.#root = next;
    if (rotated) {
      this.#timestamp = undefined;
      this.#snapshot = undefined;
      // The time came from a key that is no longer believed: a clock can be fast-forwarded too.
      this.#referenceTimeMs = 0;
    }
    return true;
  }

  /** 5.3.10 */
  checkRootExpiry(): void {
    this.#checkExpiry('root.json', this.#root);
  }

  /** 5.4 */
  updateTimestamp(bytes: Uint8Array): void {
    const name = 'timestamp.json';
    checkLongest(name, bytes, LARGEST_METADATA_BYTES.timestamp);
    const next = readTimestamp(bytes);
    // 5.4.2 arbitrary software
    this.#signed('timestamp', next);
    // 5.4.3.1 rollback
    const trusted = this.#timestamp;
    const { version } = next.metadata.signed;
    const trustedVersion = trusted?.metadata.signed.version ?? 0;
    if (version < trustedVersion) throw rollback(name, `version ${version} after ${trustedVersion}`);
    // The same version: the new file is discarded. The specification ends the update here; we go on with the trusted file, to finish what was interrupted.
    const file = trusted && version === trustedVersion ? trusted : next;
    // 5.4.3.2 rollback of the snapshot
    const snapshotVersion = file.metadata.signed.snapshotMeta.version;
    const trustedSnapshot = trusted?.metadata.signed.snapshotMeta.version ?? 0;
    if (snapshotVersion < trustedSnapshot) throw rollback(name, `names snapshot ${snapshotVersion} after ${trustedSnapshot}`);
    // 5.4.4 freeze. Time that is proved stays proved: what has expired once does not come back when a clock starts at 1970 again. The system clock counts
    // here up to the expiry only, so that one reading from the year 2099 does not outlive the day on which the clock is set right.
    const byClockMs = Math.min(this.#nowMs, expiryOf(file.metadata, name));
    this.#referenceTimeMs = Math.max(this.#referenceTimeMs, signedTimeOf(file.metadata), byClockMs);
    this.#checkExpiry(name, file);
    // 5.4.5
    this.#timestamp = file;
  }

  /** What the trusted timestamp says of the snapshot. */
  get snapshotMeta(): MetaFile {
    return this.#timestamp!.metadata.signed.snapshotMeta;
  }

  /** Whether the trusted snapshot is the one that the timestamp names: then it need not be fetched. 5.5.6 is checked all the same. */
  keepsSnapshot(): boolean {
    if (!this.#snapshot || !isCurrent(this.snapshotMeta, this.#snapshot)) return false;
    this.#checkExpiry('snapshot.json', this.#snapshot);
    return true;
  }

  /** 5.5 */
  updateSnapshot(bytes: Uint8Array): void {
    const name = 'snapshot.json';
    checkLongest(name, bytes, LARGEST_METADATA_BYTES.snapshot);
    // 5.5.2 the timestamp's hash
    checkNamedBy(name, this.snapshotMeta, bytes);
    const next = readSnapshot(bytes);
    // 5.5.3 arbitrary software
    this.#signed('snapshot', next);
    // 5.5.4 the timestamp's version
    checkNamedVersion(name, this.snapshotMeta, next);
    // 5.5.5 rollback: no file older, none gone
    const { meta } = next.metadata.signed;
    for (const [path, { version }] of Object.entries(this.#snapshot?.metadata.signed.meta ?? {})) {
      if (!Object.hasOwn(meta, path)) throw rollback(name, `no longer names ${path}`);
      if (meta[path].version < version) throw rollback(name, `names version ${meta[path].version} of ${path} after ${version}`);
    }
    // 5.5.6 freeze, then 5.5.7
    this.#checkExpiry(name, next);
    this.#snapshot = next;
  }

  /** What the trusted snapshot says of the targets role, or of the site's. */
  targetsMeta(role: 'targets' | 'site'): MetaFile {
    const { name, delegator, roleName } = this.#targetsRole(role);
    roleOf(delegator, roleName, name);
    const { meta } = this.#snapshot!.metadata.signed;
    if (Object.hasOwn(meta, name)) return meta[name];
    throw new TrustRefusal('update/missing', `${name}: the signed snapshot does not name it; has anything been pushed to this site?`);
  }

  /** As keepsSnapshot. The delegator's keys may have changed since, so signatures are verified anew. */
  keepsTargets(role: 'targets' | 'site'): boolean {
    const { name, delegator, roleName } = this.#targetsRole(role);
    const file = role === 'targets' ? this.#targets : this.#site;
    if (!file || !isCurrent(this.targetsMeta(role), file)) return false;
    if (!isSigned(delegator, roleName, file)) return false;
    this.#checkExpiry(name, file);
    return true;
  }

  /** 5.6 for the top-level role, and by the same steps for the site's (5.6.7). */
  updateTargets(role: 'targets' | 'site', bytes: Uint8Array): void {
    const { name, delegator, roleName } = this.#targetsRole(role);
    const meta = this.targetsMeta(role);
    checkLongest(name, bytes, LARGEST_METADATA_BYTES[role]);
    // 5.6.2 the snapshot's hash
    checkNamedBy(name, meta, bytes);
    const next = readTargets(name, bytes);
    // 5.6.3 arbitrary software
    verifySignatures(delegator, roleName, name, next);
    // 5.6.4 the snapshot's version; rollback has been looked for there (5.5.5)
    checkNamedVersion(name, meta, next);
    // 5.6.5 freeze, then 5.6.6
    this.#checkExpiry(name, next);
    if (role === 'targets') this.#targets = next;
    else this.#site = next;
  }

  /** The site's role and its delegation, both trusted. */
  get site(): { metadata: Metadata<Targets>; delegates: (path: string) => boolean } {
    const delegation = this.#targets!.metadata.signed.delegations!.roles![this.#siteRole];
    return { metadata: this.#site!.metadata, delegates: (path) => delegation.isDelegatedPath(path) };
  }

  #targetsRole(role: 'targets' | 'site') {
    const roleName = role === 'targets' ? role : this.#siteRole;
    return { roleName, name: `${roleName}.json`, delegator: role === 'targets' ? this.#root.metadata : this.#targets!.metadata };
  }

  #signed<T extends Timestamp | Snapshot>(role: 'timestamp' | 'snapshot', file: MetadataFile<T>): MetadataFile<T> {
    verifySignatures(this.#root.metadata, role, `${role}.json`, file);
    return file;
  }

  #checkExpiry(name: string, { metadata }: MetadataFile): void {
    const referenceMs = Math.max(this.#nowMs, this.#referenceTimeMs, this.#buildTimeMs);
    if (referenceMs < expiryOf(metadata, name)) return;
    const now = new Date(referenceMs).toISOString();
    throw new TrustRefusal(
      'update/freeze',
      `${name}: freeze attack, or a server that no longer signs: version ${metadata.signed.version} expired ${metadata.signed.expires}, it is ${now}`,
    );
  }
}

const rollback = (name: string, what: string) => new TrustRefusal('update/rollback', `${name}: rollback attack: ${what}`);

/** A file from the disk, or nothing where there is none or it is refused. */
function intact<T>(bytes: Uint8Array | undefined, readFile: (bytes: Uint8Array) => T): T | undefined {
  try {
    return bytes && readFile(bytes);
  } catch (cause) {
    if (cause instanceof TrustRefusal) return undefined;
    throw cause;
  }
}

function isCurrent(meta: MetaFile, { bytes, metadata }: MetadataFile): boolean {
  return metadata.signed.version === meta.version && isNamedBy(meta, bytes);
}

function checkNamedVersion(name: string, meta: MetaFile, { metadata }: MetadataFile): void {
  const { version } = metadata.signed;
  if (version !== meta.version)
    throw new TrustRefusal(
      'update/mix-and-match',
      `${name}: mix-and-match attack: holds version ${version}, the signed one is ${meta.version}`,
    );
}

function sameRole(one: Metadata<Root>, other: Metadata<Root>, role: string): boolean {
  const [first, second] = [one, other].map((root) => roleOf(root, role, 'root.json').role);
  return first.threshold === second.threshold && first.keyIDs.toSorted().join() === second.keyIDs.toSorted().join();
}
