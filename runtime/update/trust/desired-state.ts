import type { TrustedTarget } from './refresh.ts';
import { TrustRefusal } from './refusal.ts';

export interface GatewayIdentity {
  gateway: string;
  /** As Node.js names it: `linux-arm64`. */
  platform: string;
  /** Base of the bundle that will run (see Manifest.base); without one, adapters are left for later. */
  base?: string;
}

/** What a gateway shall run, by what is signed. */
export interface DesiredState {
  /** Absent: the bundle it was installed with. */
  bundle?: TrustedTarget;
  /** Adapter of each stream that shall have one of these. */
  adapters: ReadonlyMap<string, TrustedTarget>;
  /** Targets that would have come first, were they not for another hardware or another base. */
  refusals: TrustRefusal[];
}

/**
 * Of the targets that list this gateway and are not withdrawn, the one with the highest number: one bundle, and one adapter a stream. Pure, and the same
 * at every call: a refusal changes nothing but what comes next in line.
 */
export function desiredState(targets: readonly TrustedTarget[], { gateway, platform, base }: GatewayIdentity): DesiredState {
  const refusals: TrustRefusal[] = [];
  // Newest first; of equal numbers, which no server of ours gives out, always the same one.
  const meant = targets
    .filter(({ target }) => target.gateways.includes(gateway) && !target.withdrawn)
    .toSorted((one, other) => other.target.number - one.target.number || (one.path < other.path ? -1 : 1));

  /** The first that fits. Variants of one push share its number, so only what is newer than the choice has missed its hardware. */
  const newestThatFits = (candidates: TrustedTarget[], misfit: (candidate: TrustedTarget) => string | undefined) => {
    const chosen = candidates.find((candidate) => misfit(candidate) === undefined);
    for (const candidate of candidates) {
      const cause = misfit(candidate);
      if (cause === undefined || candidate.target.number <= (chosen?.target.number ?? 0)) continue;
      refusals.push(
        new TrustRefusal('update/wrong-target', `target "${candidate.path}" of push "${candidate.target.deployment}": ${cause}`),
      );
    }
    return chosen;
  };
  const otherPlatform = ({ target: { platforms } }: TrustedTarget) =>
    platforms.length === 0 || platforms.includes(platform) ? undefined : `is for ${platforms.join(', ')}, this gateway is ${platform}`;

  const bundle = newestThatFits(
    meant.filter(({ target }) => target.kind === 'bundle'),
    otherPlatform,
  );

  const adapters = new Map<string, TrustedTarget>();
  if (base === undefined) return { bundle, adapters, refusals };
  // An adapter of an earlier base has had its day; one that was pushed after the bundle was pushed to the wrong gateway.
  const fitsNothing = (candidate: TrustedTarget) =>
    otherPlatform(candidate) ?? (baseOf(candidate) === base ? undefined : `fits base ${baseOf(candidate)}, this gateway will run ${base}`);
  const current = meant.filter((candidate) => baseOf(candidate) === base || candidate.target.number > (bundle?.target.number ?? 0));
  for (const stream of new Set(current.map(streamOf))) {
    if (stream === undefined) continue;
    const adapter = newestThatFits(
      current.filter((candidate) => streamOf(candidate) === stream),
      fitsNothing,
    );
    if (adapter) adapters.set(stream, adapter);
  }
  return { bundle, adapters, refusals };
}

const baseOf = ({ target }: TrustedTarget) => (target.kind === 'adapter' ? target.base : undefined);
const streamOf = ({ target }: TrustedTarget) => (target.kind === 'adapter' ? target.stream : undefined);
