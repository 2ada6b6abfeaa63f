import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { FILES, readBundle, sha256 } from '../../models/bundle/bundle.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import { decodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { isSha256 } from '../../models/checks/sha256.ts';
import { isTopicName } from '../../runtime/contracts/topics.ts';
import type { Thresholds } from '../../runtime/contracts/update.ts';
import { Refusal } from '../refusal.ts';
import { KEPT_BYTES } from './archive.ts';
import type { Repository } from './repository.ts';
import { isOpen, type Rollout, sitesOfRollout } from './rollout.ts';
import { archiveRollouts, readRollouts, saveRollout } from './rollout-store.ts';

/** What is pushed, read once: these bytes are what is signed. */
export interface Cargo {
  readonly target: Rollout['target'];
  /** Short name for people. */
  readonly name: string;
  /** Contents by SHA-256, the target's own among them. */
  readonly objects: ReadonlyMap<string, Uint8Array>;
}

/**
 * A bundle folder: manifest and the files of its parts.
 *
 * @throws BundleRefusal
 */
export async function readBundleCargo(folder: string, parts: readonly ('core' | 'adapt')[]): Promise<Cargo> {
  const { manifest, digest, files } = await readBundle(folder, parts);
  const manifestBytes = new Uint8Array(await readFile(join(folder, FILES.manifest)));
  if (sha256(manifestBytes) !== digest) throw new Refusal('push/changed', `${folder} changes while it is read; push it when it is whole`);
  const objects = new Map([...files.values()].map((bytes) => [sha256(bytes), bytes]));
  objects.set(digest, manifestBytes);
  return { target: { kind: 'bundle', sha256: digest, bytes: manifestBytes.length, parts: [...parts] }, name: manifest.name, objects };
}

/** An adapter file. @throws Refusal push/cargo */
export async function readAdapterCargo(path: string, stream: string): Promise<Cargo> {
  return adapterCargo(await readAdapterFile(path), stream);
}

interface AdapterFile {
  readonly bytes: Uint8Array;
  readonly base: string;
}

function adapterCargo({ bytes, base }: AdapterFile, stream: string): Cargo {
  const digest = sha256(bytes);
  return {
    target: { kind: 'adapter', sha256: digest, bytes: bytes.length, base, stream },
    name: stream,
    objects: new Map([[digest, bytes]]),
  };
}

async function readAdapterFile(path: string): Promise<AdapterFile> {
  const refusal = (cause: string, error?: Error) =>
    new Refusal(
      'push/cargo',
      `${path} is no adapter: ${cause}; give the safetensors file that tremolo tune wrote, with --stream STREAM, or the folder of a bundle`,
      { cause: error },
    );
  try {
    const bytes = new Uint8Array(await readFile(path));
    const { base } = decodeSafetensors(bytes, basename(path)).metadata;
    if (base && isSha256(base)) return { bytes, base };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw refusal(error instanceof BundleRefusal ? message : `it cannot be read (${code})`, error as Error);
  }
  throw refusal('it does not say what base it was made for');
}

/** @throws Refusal push/cargo where the path is neither a bundle's folder nor a file; usage/name */
export async function readCargo(path: string, { stream, adapt }: { stream?: string; adapt: boolean }): Promise<Cargo> {
  const stats = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('push/cargo', `${path} cannot be read (${cause.code}); name a bundle folder or an adapter.safetensors`, { cause });
  });
  if (stats.isDirectory()) {
    if (stream) throw new Refusal('usage/arguments', `${path} is a bundle, and --stream is for adapters; leave it out`);
    return readBundleCargo(path, adapt ? ['core', 'adapt'] : ['core']);
  }
  // What it is comes before what is said of it.
  const file = await readAdapterFile(path);
  if (!stream) throw new Refusal('usage/arguments', `${path} is an adapter; say with --stream which stream it is for`);
  if (!isTopicName(stream))
    throw new Refusal(
      'usage/name',
      `--stream "${stream}" is no name of a stream: letters, digits, ".", "_" or "-", at most 64, beginning with a letter or digit`,
    );
  if (adapt) throw new Refusal('usage/arguments', `${path} is an adapter, and --adapt is for bundles; leave it out`);
  return adapterCargo(file, stream);
}

/** Metadata and requests beside the payload: root, timestamp, snapshot, targets, site, and what is lost of them. */
const METADATA_BUDGET_BYTES = 128 * 1024;

/** Bytes that an update may cost a gateway where nobody says otherwise: its payload twice. */
export function usualBudget({ objects }: Cargo): number {
  return METADATA_BUDGET_BYTES + 2 * [...objects.values()].reduce((sum, { length }) => sum + length, 0);
}

export interface Plan {
  readonly groups: readonly (readonly string[])[];
  readonly rules: Rollout['rules'];
  readonly thresholds: Thresholds;
  readonly budgetBytes: number;
  readonly platforms: readonly string[];
}

/** A rollout as it begins; nothing is written. */
export function draftRollout(cargo: Cargo, plan: Plan, number: number, now: Date): Rollout {
  const name = cargo.name.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 32);
  return {
    formatVersion: 1,
    deployment: `${number}-${name}-${cargo.target.sha256.slice(0, 8)}`,
    number,
    createdAt: now.toISOString(),
    target: cargo.target,
    thresholds: plan.thresholds,
    budgetBytes: plan.budgetBytes,
    platforms: [...plan.platforms],
    objects: Object.fromEntries([...cargo.objects].map(([digest, { length }]) => [digest, length])),
    rules: plan.rules,
    groups: plan.groups.map((gateways) => ({ gateways: [...gateways] })),
    devices: {},
    status: 'running',
  };
}

/**
 * Puts cargo and plan into the repository, and what is too old out of it. From here on, whoever serves the repository leads the rollout.
 *
 * @throws Refusal fleet/site, fleet/key; push/busy where another rollout for the same place of a gateway is under way
 */
export function beginRollout(repository: Repository, cargo: Cargo, plan: Plan, now: Date, keptBytes = KEPT_BYTES): Promise<Rollout> {
  return repository.transaction(async () => {
    const rollouts = await readRollouts(repository);
    const rollout = draftRollout(cargo, plan, (rollouts.at(-1)?.number ?? 0) + 1, now);
    for (const other of rollouts.filter(isOpen)) {
      const common = conflict(rollout, other);
      if (common)
        throw new Refusal(
          'push/busy',
          `${other.deployment} is under way at ${common}; wait, or end it: tremolo fleet abort ${other.deployment}`,
        );
    }
    for (const site of sitesOfRollout(rollout)) await repository.checkCanSign(site);
    for (const bytes of cargo.objects.values()) await repository.keep(bytes);
    await saveRollout(repository, rollout, now);
    await archiveRollouts(repository, keptBytes);
    return rollout;
  });
}

/** A gateway at which two rollouts would be for the same place. */
function conflict(one: Rollout, other: Rollout): string | undefined {
  const stream = ({ target }: Rollout) => (target.kind === 'adapter' ? target.stream : undefined);
  if (one.target.kind !== other.target.kind || stream(one) !== stream(other)) return undefined;
  const others = new Set(other.groups.flatMap(({ gateways }) => gateways));
  return one.groups.flatMap(({ gateways }) => gateways).find((gateway) => others.has(gateway));
}
