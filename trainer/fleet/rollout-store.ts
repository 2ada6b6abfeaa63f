import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../refusal.ts';
import { readIfThere, writeAtomically } from './atomic-file.ts';
import type { Repository } from './repository.ts';
import { type Rollout, releasedTo, rolloutSchema } from './rollout.ts';
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
    return rolloutSchema.parse(JSON.parse(bytes.toString()));
  } catch (cause) {
    throw new Refusal('fleet/damaged', `${path} is no rollout of this version; bring back a copy of the repository`, { cause });
  }
}

/** All rollouts, oldest first. */
export async function readRollouts(repository: Repository): Promise<Rollout[]> {
  const names = await readdir(join(repository.folder, 'rollouts')).catch((): string[] => []);
  const rollouts = await Promise.all(
    names.filter((name) => name.endsWith('.json')).map((name) => readRollout(repository, name.slice(0, -'.json'.length))),
  );
  return rollouts.sort((a, b) => a.number - b.number);
}

async function writeRollout(repository: Repository, rollout: Rollout): Promise<void> {
  await writeAtomically(pathOf(repository, rollout.deployment), JSON.stringify(z.encode(rolloutSchema, rollout)));
}

/** Sites that a rollout has reached or will reach. */
export function sitesOfRollout({ groups }: Pick<Rollout, 'groups'>): string[] {
  return [...new Set(groups.flatMap(({ gateways }) => gateways.map((name) => name.slice(0, name.indexOf('/')))))];
}

/**
 * Writes a rollout, then signs what follows from it for its sites. Within a transaction. Killed in between, the rollout holds, and the next call or
 * `signSites` signs it.
 *
 * @returns whether anything was signed
 */
export async function saveRollout(repository: Repository, rollout: Rollout, now: Date): Promise<boolean> {
  await writeRollout(repository, rollout);
  return releasedTo(rollout).length > 0 && (await signSites(repository, sitesOfRollout(rollout), now));
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
