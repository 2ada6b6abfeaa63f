import { activeSlot, type UpdateRecord, type Wanted } from './record.ts';

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
  const byStream = new Map<string, Wanted[]>(Object.keys(record.adapters).map((stream) => [stream, []]));
  for (const one of newestFirst) {
    if (one.target.kind !== 'adapter' || one.target.base !== running.base) continue;
    const { stream } = one.target;
    byStream.set(stream, [...(byStream.get(stream) ?? []), one]);
  }
  for (const [stream, adapters] of byStream) {
    const inUse = record.adapters[stream];
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
