import { TargetFile } from '@tufjs/models';
import * as z from 'zod';
import { type Target, targetSchema } from '../../runtime/contracts/update.ts';
import { isWithdrawn, type Rollout, releasedTo } from './rollout.ts';

/** Withdrawn targets that a site is still told of: enough for whoever comes back from a weekend, few enough to cost nothing. */
const LISTED_WITHDRAWN = 4;

/** Of two pushes with the same place, a gateway runs one. */
function placeOf({ target }: Rollout): string {
  return target.kind === 'bundle' ? 'bundle' : `adapter ${target.stream} ${target.base}`;
}

function ofSite(site: string, gateways: readonly string[]): string[] {
  return gateways.filter((name) => name.startsWith(`${site}/`)).map((name) => name.slice(site.length + 1));
}

/**
 * Pushes of one place that are listed for a gateway until it has confirmed so many of them: what a gateway runs must stay listed while it tries the next,
 * and a bundle that fails late leaves the one before it to go back to. Without its adapter a stream is decided by the bundle's own.
 */
const CONFIRMED = { bundle: 2, adapter: 1 } as const;

/** Bases whose adapters are listed for a stream of a gateway: of the bundle that it runs, of the one before it, and of the one that it was installed with. */
const LISTED_BASES = 3;

/**
 * What a site is told, from nothing but the rollouts: for each gateway and place the newest push that it may run and what it may go back to, and the
 * last that were withdrawn. What is older is left out; if a newer one is withdrawn, it is listed again. So the metadata stay as small as what the site
 * runs: under 600 bytes for each push, and a name for each gateway in it.
 */
export function listedAt(site: string, rollouts: readonly Rollout[]): Rollout[] {
  const newestFirst = rollouts.filter((rollout) => ofSite(site, releasedTo(rollout)).length > 0).sort((a, b) => b.number - a.number);
  const confirmed = new Map<string, number>();
  const bases = new Map<string, Set<string>>();
  let withdrawn = 0;
  return newestFirst.filter((rollout) => {
    const { target } = rollout;
    if (isWithdrawn(rollout)) return withdrawn++ < LISTED_WITHDRAWN;
    if (rollout.archived) return false;
    let isNeeded = false;
    for (const gateway of ofSite(site, releasedTo(rollout))) {
      if (target.kind === 'adapter') {
        const stream = `${gateway} ${target.stream}`;
        const known = bases.get(stream) ?? new Set();
        if (!known.has(target.base) && known.size === LISTED_BASES) continue;
        bases.set(stream, known.add(target.base));
      }
      const place = `${gateway} ${placeOf(rollout)}`;
      const before = confirmed.get(place) ?? 0;
      if (before < CONFIRMED[target.kind]) isNeeded = true;
      if (rollout.devices[`${site}/${gateway}`]?.outcome === 'confirmed') confirmed.set(place, before + 1);
    }
    return isNeeded;
  });
}

/** What a site's role says. */
export function siteTargets(site: string, rollouts: readonly Rollout[]): TargetFile[] {
  return listedAt(site, rollouts).map((rollout) => targetFile(site, rollout));
}

function targetFile(site: string, rollout: Rollout): TargetFile {
  const { deployment, number, thresholds, budgetBytes, platforms, target } = rollout;
  const common = {
    deployment,
    number,
    gateways: ofSite(site, releasedTo(rollout)),
    withdrawn: isWithdrawn(rollout),
    thresholds,
    budgetBytes,
    platforms,
  };
  const custom: Target =
    target.kind === 'bundle'
      ? { kind: 'bundle', ...common, parts: target.parts }
      : { kind: 'adapter', ...common, base: target.base, stream: target.stream };
  return new TargetFile({
    path: target.kind === 'bundle' ? `${site}/bundles/${deployment}.json` : `${site}/adapters/${deployment}.safetensors`,
    length: target.bytes,
    hashes: { sha256: target.sha256 },
    unrecognizedFields: { custom: z.encode(targetSchema, custom) },
  });
}
