import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { readIfThere, writeWhole } from '../../runtime/io/whole-file.ts';
import { Refusal } from '../refusal.ts';
import { archivable, objectsOf } from './archive.ts';
import type { Repository } from './repository.ts';
import { type Rollout, reachedBy, rolloutSchema, sitesOfRollout } from './rollout.ts';
import { siteTargets } from './site-targets.ts';

function pathOf({ folder }: Repository, deployment: string): string {
  return join(folder, 'rollouts', `${deployment}.json`);
}

/** @throws Refusal fleet/rollout where there is none of that name, fleet/damaged */
export async function readRollout(repository: Repository, deployment: string): Promise<Rollout> {
  const path = pathOf(repository, deployment);
  const bytes = rolloutSchema.shape.deployment.safeParse(deployment).success ? await readIfThere(path) : undefined;
  if (!bytes) {
    const there = (await readRollouts(repository)).map((one) => one.deployment);
    throw new Refusal('fleet/rollout', `there is no rollout "${deployment}"; there are ${there.slice(-5).join(', ') || 'none'}`);
  }
  try {
    return rolloutSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new Refusal('fleet/damaged', `${path} is no rollout of this version; bring back a copy of the repository`, { cause });
  }
}

/** A rollout as it was read, and which file that was: a changed rollout is another file of the same name. */
interface ReadRollout {
  readonly stamp: string;
  readonly rollout: Rollout;
}

/** What was read before, by file. A server looks twice a second, at all that was ever pushed: what has not changed is not parsed again. */
const READ = new WeakMap<Repository, Map<string, ReadRollout>>();

/** All rollouts, oldest first. The same object as before where its file has not changed. */
export async function readRollouts(repository: Repository): Promise<Rollout[]> {
  const folder = join(repository.folder, 'rollouts');
  const names = (await readdir(folder).catch((): string[] => [])).filter((name) => name.endsWith('.json'));
  const before = READ.get(repository);
  const now = new Map<string, ReadRollout>();
  const read = async (name: string) => {
    const { ino, size, mtimeNs } = await stat(join(folder, name), { bigint: true });
    const stamp = `${ino} ${size} ${mtimeNs}`;
    const known = before?.get(name);
    now.set(name, known?.stamp === stamp ? known : { stamp, rollout: await readRollout(repository, name.slice(0, -'.json'.length)) });
  };
  await Promise.all(names.map(read));
  READ.set(repository, now);
  return [...now.values()].map(({ rollout }) => rollout).sort((a, b) => a.number - b.number);
}

async function writeRollout(repository: Repository, rollout: Rollout): Promise<void> {
  await writeWhole(pathOf(repository, rollout.deployment), JSON.stringify(z.encode(rolloutSchema, rollout)));
}

/**
 * Writes a rollout, then signs what follows from it for its sites. Within a transaction. Killed in between, the rollout holds, and the next call or
 * `signSites` signs it.
 *
 * @returns whether anything was signed
 */
export async function saveRollout(repository: Repository, rollout: Rollout, now: Date): Promise<boolean> {
  await writeRollout(repository, rollout);
  return reachedBy(rollout).length > 0 && (await signSites(repository, sitesOfRollout(rollout), now));
}

/**
 * Gives up the objects of old pushes where they take more room than is left to them (see archivable), and what a push that was cut short has left. Within
 * a transaction. The rollouts say so first: killed in between, the next call removes what is left over.
 */
export async function archiveRollouts(repository: Repository, keptBytes: number): Promise<void> {
  for (const rollout of archivable(await readRollouts(repository), keptBytes))
    await writeRollout(repository, { ...rollout, archived: true });
  await repository.collect(new Set(objectsOf(await readRollouts(repository)).keys()));
}

/** Signs what the sites' gateways shall run by the rollouts on disk, where it is not signed already. Within a transaction. */
export async function signSites(repository: Repository, sites: readonly string[], now: Date): Promise<boolean> {
  const rollouts = await readRollouts(repository);
  let signed = false;
  for (const site of sites) signed = (await repository.publish(site, siteTargets(site, rollouts), now)) || signed;
  return signed;
}

/**
 * Reads a rollout, changes it and saves it, as one step.
 *
 * @param change returns the same object where there is nothing to change
 */
export function changeRollout(
  repository: Repository,
  deployment: string,
  change: (rollout: Rollout) => Rollout,
  now: Date,
): Promise<{ readonly rollout: Rollout; readonly signed: boolean }> {
  return repository.transaction(async () => {
    const before = await readRollout(repository, deployment);
    const rollout = change(before);
    return { rollout, signed: rollout !== before && (await saveRollout(repository, rollout, now)) };
  });
}
