import { isOpen, isWithdrawn, type Rollout, sitesOfRollout } from './rollout.ts';
import { listedAt } from './site-targets.ts';

/** Objects of pushes that no gateway may run any more are kept for a further step back, newest first, as long as all together take so many bytes. */
export const KEPT_BYTES = 2 ** 31;

/**
 * Rollouts whose objects are not kept any longer: those under way, and those that gateways run or may go back to, always are; of what is older, as much
 * as there is room for.
 */
export function archivable(rollouts: readonly Rollout[], keptBytes: number): Rollout[] {
  const sites = new Set(rollouts.flatMap(sitesOfRollout));
  const inUse = new Set([...sites].flatMap((site) => listedAt(site, rollouts)).filter((rollout) => !isWithdrawn(rollout)));
  for (const rollout of rollouts) if (isOpen(rollout)) inUse.add(rollout);
  const kept = objectsOf([...inUse]);
  let bytes = [...kept.values()].reduce((sum, length) => sum + length, 0);
  let isFull = false;
  const old = rollouts.filter((rollout) => !rollout.archived && !inUse.has(rollout));
  return old
    .sort((one, other) => other.number - one.number)
    .filter(({ objects }) => {
      const more = Object.entries(objects).filter(([digest]) => !kept.has(digest));
      bytes += more.reduce((sum, [, length]) => sum + length, 0);
      // What is older than one that has no room has none either: a gap would be a way back that ends.
      isFull ||= bytes > keptBytes;
      if (!isFull) for (const [digest, length] of more) kept.set(digest, length);
      return isFull;
    });
}

/** Objects of rollouts that are not archived, and their bytes. */
export function objectsOf(rollouts: readonly Rollout[]): Map<string, number> {
  return new Map(rollouts.filter(({ archived }) => !archived).flatMap(({ objects }) => Object.entries(objects)));
}
