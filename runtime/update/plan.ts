import type { Target } from '../contracts/update.ts';
import { activeSlot, OWN, type UpdateRecord, type Wanted } from './record.ts';
import { TrustRefusal } from './trust/refusal.ts';

/** The bundle that decides, as the inference process proved it. */
export interface Running {
  /** SHA-256 of its manifest. */
  readonly bundle: string;
  /** What adapters belong to (Manifest.base). */
  readonly base: string;
}

export type Plan =
  | { readonly kind: 'none' }
  /** What is wanted runs already: from the factory, or under another deployment. */
  | { readonly kind: 'already'; readonly wanted: Wanted }
  | { readonly kind: 'install'; readonly wanted: Wanted }
  /** What runs was withdrawn. @param to undefined for the bundle of the configuration, or for no adapter */
  | { readonly kind: 'back'; readonly from: string; readonly stream?: string; readonly to?: Wanted };

/**
 * What to do next so that the gateway comes to run what the signed metadata want: the highest number that is meant for it. Bundles come first, for
 * adapters belong to a base. What failed here is not tried again, and as long as what runs is not withdrawn, nothing older takes its place.
 *
 * @param wanted targets that are meant for this gateway and not withdrawn
 */
export function nextPlan(record: UpdateRecord, running: Running, wanted: readonly Wanted[]): Plan {
  const newestFirst = [...wanted].sort((one, other) => other.target.number - one.target.number);
  const bundles = newestFirst.filter(({ target }) => target.kind === 'bundle');
  const bundle = planOne(record, bundles, activeSlot(record), running.bundle);
  if (bundle) return bundle;
  // Adapters of another base decide nothing, and may again when that base returns.
  const inUseNow = Object.entries(record.adapters).filter(([, { base }]) => base === running.base);
  const byStream = new Map<string, Wanted[]>(inUseNow.map(([stream]) => [stream, []]));
  for (const one of newestFirst) {
    if (one.target.kind !== 'adapter' || one.target.base !== running.base) continue;
    const { stream } = one.target;
    byStream.set(stream, [...(byStream.get(stream) ?? []), one]);
  }
  for (const [stream, adapters] of byStream) {
    const kept = record.adapters[stream];
    const inUse = kept?.base === running.base && kept.deployment !== OWN ? kept : undefined;
    const plan = planOne(record, adapters, inUse, inUse?.digest);
    if (plan) return plan.kind === 'back' ? { ...plan, stream } : plan;
  }
  return { kind: 'none' };
}

/**
 * @param newestFirst candidates for one place
 * @param present what was pushed to that place; undefined where nothing was
 * @param digest what is there
 */
function planOne(
  record: UpdateRecord,
  newestFirst: readonly Wanted[],
  present: { readonly deployment: string; readonly number: number } | undefined,
  digest: string | undefined,
): Plan | undefined {
  const failed = (one: Wanted) => record.failed.some((known) => known.deployment === one.target.deployment);
  if (present && !newestFirst.some(({ target }) => target.deployment === present.deployment)) {
    const to = newestFirst.find((one) => !failed(one));
    if (to?.sha256 === digest) return { kind: 'already', wanted: to! };
    // Something newer than what was withdrawn has to prove itself like any other.
    return to && to.target.number > present.number ? { kind: 'install', wanted: to } : { kind: 'back', from: present.deployment, to };
  }
  const [newest] = newestFirst;
  if (!newest || failed(newest) || newest.target.deployment === present?.deployment) return undefined;
  if (newest.sha256 !== digest) return { kind: 'install', wanted: newest };
  return record.confirmed.includes(newest.target.deployment) ? undefined : { kind: 'already', wanted: newest };
}

/** What a gateway may run of what is signed: meant for it, not withdrawn, and for its platform. @param platform as Node.js names it: `linux-arm64` */
export function wantedBy(targets: readonly Wanted[], gateway: string, platform: string): Wanted[] {
  return targets.filter(
    ({ target: { gateways, withdrawn, platforms } }) =>
      !withdrawn && gateways.includes(gateway) && (platforms.length === 0 || platforms.includes(platform)),
  );
}

/**
 * Targets that list this gateway and would come first, were they not for another platform or another base: pushed to the wrong gateway. Adapters are
 * looked at when the newest bundle decides, for only then their base is known; those that are older than it have had their day.
 *
 * @param targets all that is signed for the site
 */
export function misfits(targets: readonly Wanted[], gateway: string, platform: string, running: Running): TrustRefusal[] {
  const meant = targets.filter(({ target }) => !target.withdrawn && target.gateways.includes(gateway));
  const fitting = wantedBy(targets, gateway, platform);
  const newestOf = (kind: Target['kind'], stream?: string) =>
    fitting
      .filter(
        ({ target }) => target.kind === kind && (target.kind === 'bundle' || (target.stream === stream && target.base === running.base)),
      )
      .reduce<Wanted | undefined>((one, other) => (one && one.target.number > other.target.number ? one : other), undefined);
  const bundle = newestOf('bundle');
  const baseKnown = bundle === undefined || bundle.sha256 === running.bundle;
  return meant.flatMap(({ target }) => {
    const { platforms, number, deployment } = target;
    // Variants of one push share its number.
    if (number <= (newestOf(target.kind, target.kind === 'adapter' ? target.stream : undefined)?.target.number ?? 0)) return [];
    const refusal = (cause: string) => [new TrustRefusal('update/wrong-target', `push "${deployment}": ${cause}`)];
    if (platforms.length > 0 && !platforms.includes(platform))
      return refusal(`is for ${platforms.join(', ')}, this gateway is ${platform}`);
    if (target.kind === 'bundle' || target.base === running.base) return [];
    if (!baseKnown || number <= (bundle?.target.number ?? 0)) return [];
    return refusal(`fits base ${target.base}, this gateway runs ${running.base}`);
  });
}
