import { createHash } from 'node:crypto';
import { open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Metadata, MetaFile, type Root, Snapshot, type TargetFile, Targets, Timestamp } from '@tufjs/models';
import { isSha256 } from '../../models/checks/sha256.ts';
import { SIGNED_AT, siteRole } from '../../runtime/contracts/update.ts';
import { type Lock, tryLock, withLock } from '../../runtime/io/lock.ts';
import { readIfThere, writeWhole } from '../../runtime/io/whole-file.ts';
import { Refusal } from '../refusal.ts';
import { KeyFolder, type SigningKey } from './keys.ts';
import { expiry, isAgeing, parseMetadata, SPECIFICATION, signMetadata, VALID_DAYS } from './metadata.ts';

/** Versions of a role that stay on disk: a gateway may be in the midst of an older one. Roots all stay, for gateways follow them one by one. */
const KEPT_VERSIONS = 4;

/** A whole object, or one that is being written. */
const OBJECT = /^([0-9a-f]{64})(?:$|\.)/;

/** What gateways may ask by name; all else in the folder is nobody's business. */
const SERVED = /^(\d{1,10}\.(root|targets|snapshot|site-[A-Za-z0-9._-]{1,64})|timestamp)\.json$/;

/** A piece of an object, and the length of all of it. */
export interface ObjectPart {
  readonly objectBytes: number;
  readonly bytes: Uint8Array;
}

/** All current metadata but the sites'. */
interface Top {
  readonly root: Metadata<Root>;
  readonly targets: Metadata<Targets>;
  readonly snapshot: Metadata<Snapshot>;
  readonly timestamp: Metadata<Timestamp>;
}

/**
 * The folder that all of a fleet's updates lie in:
 *
 *     N.root.json N.targets.json N.site-SITE.json N.snapshot.json timestamp.json   signed metadata (TUF 1.0.33, consistent snapshots)
 *     objects/SHA256                                                              what targets name, and what manifests name
 *     rollouts/DEPLOYMENT.json                                                    what was pushed, and how far it is: the sites' metadata follow from these
 *     keys/NAME.pem                                                               private keys; root's belong elsewhere
 *
 * A change writes the timestamp last, so that whoever is killed in between has changed nothing.
 */
export class Repository {
  readonly folder: string;
  readonly keys: KeyFolder;

  private constructor(folder: string) {
    this.folder = folder;
    this.keys = new KeyFolder(join(folder, 'keys'));
  }

  /** A repository without a check that there is one; `open` is for all but its making. */
  static at(folder: string): Repository {
    return new Repository(folder);
  }

  /** @throws Refusal fleet/repository where there is none */
  static async open(folder: string): Promise<Repository> {
    const repository = new Repository(folder);
    if (!(await repository.exists()))
      throw new Refusal('fleet/repository', `${folder} is no repository; make one with tremolo keys init --out ${folder} --site SITE`);
    return repository;
  }

  async exists(): Promise<boolean> {
    return (await readIfThere(this.#path('timestamp.json'))) !== undefined;
  }

  /** Does `work` while no other process writes. */
  transaction<T>(work: () => Promise<T>): Promise<T> {
    return withLock(this.#path('repository.lock'), work);
  }

  /** The right to answer gateways and to lead rollouts: one process at a time has it. */
  tryServe(): Promise<Lock | undefined> {
    return tryLock(this.#path('server.lock'));
  }

  /** Bytes of timestamp.json. */
  timestamp(): Promise<Uint8Array> {
    return readFile(this.#path('timestamp.json'));
  }

  async root(): Promise<Metadata<Root>> {
    const versions = (await readdir(this.folder)).map((name) => Number(/^(\d+)\.root\.json$/.exec(name)?.[1] ?? 0));
    return this.#read('root', Math.max(...versions), 'root');
  }

  async top(): Promise<Top> {
    const timestamp = parseMetadata('timestamp', await this.timestamp(), this.#path('timestamp.json'));
    const snapshot = await this.#read('snapshot', timestamp.signed.snapshotMeta.version, 'snapshot');
    const targets = await this.#read('targets', this.#versionIn(snapshot, 'targets'), 'targets');
    return { root: await this.root(), targets, snapshot, timestamp };
  }

  async sites(): Promise<string[]> {
    const { targets } = await this.top();
    return sitesOf(targets.signed);
  }

  /** What a site's gateways are told. @throws Refusal fleet/site */
  async site(site: string): Promise<Metadata<Targets>> {
    const { snapshot, targets } = await this.top();
    if (!sitesOf(targets.signed).includes(site))
      throw new Refusal('fleet/site', `site ${site} has no key; run: tremolo keys site ${site} --repository ${this.folder}`);
    return this.#read('targets', this.#versionIn(snapshot, siteRole(site)), siteRole(site));
  }

  /**
   * Looks whether a push to a site can be signed here, before anything of it is written.
   *
   * @throws Refusal fleet/site, fleet/key
   */
  async checkCanSign(site: string): Promise<void> {
    await this.site(site);
    const { root, targets } = await this.top();
    const role = siteRole(site);
    await this.signer(role, targets.signed.delegations?.roles?.[role]?.keyIDs ?? []);
    for (const name of ['snapshot', 'timestamp'] as const) await this.signer(name, root.signed.roles[name].keyIDs);
  }

  /**
   * A piece of a served metadata file or an object, at most `length` bytes from `from` on; undefined where there is no such object. The name comes from
   * outside: nothing else in the folder can be reached by it.
   */
  async readPart(name: string, from: number, length: number): Promise<ObjectPart | undefined> {
    const isObject = isSha256(name);
    if (!isObject && !SERVED.test(name)) return undefined;
    const file = await open(isObject ? join(this.folder, 'objects', name) : this.#path(name), 'r').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (!file) return undefined;
    try {
      const { size } = await file.stat();
      const { buffer, bytesRead } = await file.read(new Uint8Array(Math.max(0, Math.min(length, size - from))), { position: from });
      return { objectBytes: size, bytes: buffer.subarray(0, bytesRead) };
    } finally {
      await file.close();
    }
  }

  /** Removes objects that nothing needs. Within a transaction. */
  async collect(needed: ReadonlySet<string>): Promise<void> {
    const folder = join(this.folder, 'objects');
    for (const name of await readdir(folder)) {
      const digest = OBJECT.exec(name)?.[1];
      if (digest && !needed.has(digest)) await rm(join(folder, name), { force: true });
    }
  }

  /** Keeps bytes under their digest. @returns SHA-256 */
  async keep(bytes: Uint8Array): Promise<string> {
    const digest = createHash('sha256').update(bytes).digest('hex');
    const path = join(this.folder, 'objects', digest);
    const there = await readIfThere(path);
    // What lies there may have been damaged since: the same name has the same bytes.
    if (!there || createHash('sha256').update(there).digest('hex') !== digest) await writeWhole(path, bytes);
    return digest;
  }

  /**
   * Signs what a site's gateways shall run, where that is not what they are told already. What is only left out now goes with the next change: nobody
   * is woken for that. Within a transaction.
   *
   * @returns whether there is anything new
   * @throws Refusal fleet/key where a key is kept elsewhere
   */
  async publish(site: string, targets: readonly TargetFile[], now: Date): Promise<boolean> {
    const current = (await this.site(site)).signed;
    const wanted = Object.fromEntries(targets.map((target) => [target.path, target]));
    const fresh = new Targets({
      version: current.version + 1,
      specVersion: SPECIFICATION,
      expires: expiry(now, VALID_DAYS.site),
      targets: wanted,
    });
    const isKnown = (target: TargetFile) => JSON.stringify(current.targets[target.path]?.toJSON()) === JSON.stringify(target.toJSON());
    if (targets.every(isKnown)) return false;
    await this.update(now, { sites: new Map([[site, fresh]]) });
    return true;
  }

  /**
   * Signs anew whatever is past half of its time, and all that follows from it. Within a transaction.
   *
   * @returns the roles that were signed, and what a person must do
   */
  async renew(now: Date): Promise<{ readonly renewed: string[]; readonly warnings: string[] }> {
    const { root, targets, snapshot, timestamp } = await this.top();
    const warnings: string[] = [];
    const sites = new Map<string, Targets>();
    for (const site of sitesOf(targets.signed)) {
      const { signed } = await this.site(site);
      if (!isAgeing(signed, VALID_DAYS.site, now)) continue;
      if (await this.keys.read(siteRole(site))) sites.set(site, renewed(signed, now, VALID_DAYS.site));
      else warnings.push(`site ${site} expires ${signed.expires} and its key is not here`);
    }
    // A rotation that was cut short: root knows the new key, and what the old one signed counts no more.
    const isForeign = (role: string, metadata: Metadata<Targets | Snapshot | Timestamp>) => {
      try {
        root.verifyDelegate(role, metadata);
        return false;
      } catch {
        return true;
      }
    };
    let top: Targets | undefined;
    if (isAgeing(targets.signed, VALID_DAYS.targets, now) || isForeign('targets', targets)) {
      if (await this.keys.read('targets')) top = renewed(targets.signed, now, VALID_DAYS.targets);
      else warnings.push(`targets expires ${targets.signed.expires} and its key is not here`);
    }
    if (isAgeing(root.signed, VALID_DAYS.root, now))
      warnings.push(`root expires ${root.signed.expires}: bring its keys and run tremolo keys rotate root`);
    const names = [...[...sites.keys()].map(siteRole), ...(top ? ['targets'] : [])];
    if (names.length > 0 || isAgeing(snapshot.signed, VALID_DAYS.snapshot, now) || isForeign('snapshot', snapshot)) {
      await this.update(now, { sites, targets: top });
      return { renewed: [...names, 'snapshot', 'timestamp'], warnings };
    }
    if (!isAgeing(timestamp.signed, VALID_DAYS.timestamp, now) && !isForeign('timestamp', timestamp)) return { renewed: [], warnings };
    await this.#writeTimestamp(timestamp.signed.version + 1, timestamp.signed.snapshotMeta, now, root.signed);
    return { renewed: ['timestamp'], warnings };
  }

  /** Writes new versions of the roles given, then the snapshot that names them, then the timestamp: the moment at which they hold. */
  async update(
    now: Date,
    { sites = new Map(), targets, root }: { sites?: ReadonlyMap<string, Targets>; targets?: Targets; root?: Root },
    first = false,
  ): Promise<void> {
    const before = first ? undefined : await this.top();
    const trusted = root ?? before!.root.signed;
    const delegating = targets ?? before!.targets.signed;
    const meta: Record<string, MetaFile> = { ...before?.snapshot.signed.meta };
    const write = async (role: string, signed: Targets, keyIDs: readonly string[]) => {
      const { bytes } = signMetadata(signed, [await this.signer(role, keyIDs)]);
      await writeWhole(this.#path(`${signed.version}.${role}.json`), bytes);
      meta[`${role}.json`] = new MetaFile({ version: signed.version, length: bytes.length });
    };
    if (targets) await write('targets', targets, trusted.roles.targets.keyIDs);
    for (const [site, signed] of sites) await write(siteRole(site), signed, delegating.delegations?.roles?.[siteRole(site)]?.keyIDs ?? []);
    const snapshot = new Snapshot({
      version: (before?.snapshot.signed.version ?? 0) + 1,
      specVersion: SPECIFICATION,
      expires: expiry(now, VALID_DAYS.snapshot),
      meta,
    });
    const { bytes } = signMetadata(snapshot, [await this.signer('snapshot', trusted.roles.snapshot.keyIDs)]);
    await writeWhole(this.#path(`${snapshot.version}.snapshot.json`), bytes);
    const named = new MetaFile({ version: snapshot.version, length: bytes.length });
    await this.#writeTimestamp((before?.timestamp.signed.version ?? 0) + 1, named, now, trusted);
    await this.#prune();
  }

  /**
   * The key that signs for a role: the one of its name that the delegation knows.
   *
   * @throws Refusal fleet/key, keys/mode, keys/damaged
   */
  async signer(role: string, keyIDs: readonly string[]): Promise<SigningKey> {
    const key = await this.keys.current(role, keyIDs);
    if (key) return key;
    throw new Refusal(
      'fleet/key',
      `${join(this.keys.folder, `${role}.pem`)} is not there or not the key that ${role} is signed with; bring it`,
    );
  }

  async writeRoot(root: Root, keys: readonly SigningKey[]): Promise<void> {
    await writeWhole(this.#path(`${root.version}.root.json`), signMetadata(root, keys).bytes);
  }

  async #writeTimestamp(version: number, snapshotMeta: MetaFile, now: Date, root: Root): Promise<void> {
    const timestamp = new Timestamp({
      version,
      specVersion: SPECIFICATION,
      expires: expiry(now, VALID_DAYS.timestamp),
      snapshotMeta,
      unrecognizedFields: { [SIGNED_AT]: expiry(now, 0) },
    });
    const { bytes } = signMetadata(timestamp, [await this.signer('timestamp', root.roles.timestamp.keyIDs)]);
    await writeWhole(this.#path('timestamp.json'), bytes);
  }

  async #prune(): Promise<void> {
    const versions = new Map<string, number[]>();
    for (const name of await readdir(this.folder)) {
      const [, version, role] = /^(\d+)\.(.+)\.json$/.exec(name) ?? [];
      if (role && role !== 'root') versions.set(role, [...(versions.get(role) ?? []), Number(version)]);
    }
    for (const [role, all] of versions)
      for (const version of all.sort((a, b) => b - a).slice(KEPT_VERSIONS))
        await rm(this.#path(`${version}.${role}.json`), { force: true });
  }

  #versionIn({ signed }: Metadata<Snapshot>, role: string): number {
    const version = signed.meta[`${role}.json`]?.version;
    if (version === undefined) throw new Refusal('fleet/damaged', `${this.folder}: the snapshot does not name ${role}.json`);
    return version;
  }

  async #read<K extends 'root' | 'targets' | 'snapshot'>(kind: K, version: number, role: string) {
    const path = this.#path(`${version}.${role}.json`);
    const bytes = await readIfThere(path);
    if (!bytes) throw new Refusal('fleet/damaged', `${path} is gone; bring back a copy of the repository`);
    return parseMetadata(kind, bytes, path);
  }

  #path(name: string): string {
    return join(this.folder, name);
  }
}

function sitesOf({ delegations }: Targets): string[] {
  return Object.keys(delegations?.roles ?? {})
    .map((role) => role.slice(siteRole('').length))
    .sort();
}

function renewed(signed: Targets, now: Date, days: number): Targets {
  const { targets, delegations } = signed;
  return new Targets({ version: signed.version + 1, specVersion: SPECIFICATION, expires: expiry(now, days), targets, delegations });
}
