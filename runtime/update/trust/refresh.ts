import type { MetaFile } from '@tufjs/models';
import { isSha256 } from '../../../models/checks/sha256.ts';
import { siteRole, type Target, targetSchema } from '../../contracts/update.ts';
import { TrustRefusal } from './refusal.ts';
import { LARGEST_METADATA_BYTES, TrustedMetadata, type TrustRecord } from './trusted-metadata.ts';

/**
 * An object that a refresh needs. Whoever fetches it may stop after one byte more than `maxBytes` and hand in what came: it is refused as endless data.
 */
export interface WantedObject {
  object: string;
  maxBytes: number;
}

/** A target of the site's role: its object is asked for by `sha256`. */
export interface TrustedTarget {
  path: string;
  length: number;
  sha256: string;
  target: Target;
}

export interface TrustedTargets {
  targets: TrustedTarget[];
  /** Entries of the role that are left out, each with its cause. */
  refusals: TrustRefusal[];
}

/** New roots that one refresh takes; the next one goes on from there. */
const MOST_ROOTS = 64;

/**
 * The update client of a gateway: section 5 of The Update Framework 1.0.33 without network, disk or clock. tuf-js's own updater takes its time from the
 * system clock alone, which many gateways do not have.
 *
 * ```
 * const trust = new UpdateTrust('plant', record, buildTimeMs);
 * const refresh = trust.refresh(timestamp, Date.now());
 * let step = refresh.next();
 * while (!step.done) step = refresh.next(await fetch(step.value));
 * ```
 */
export class UpdateTrust {
  readonly #trusted: TrustedMetadata;
  readonly #site: string;

  /**
   * @param record what `record` gave last, or the root that the gateway was installed with
   * @param buildTimeMs when this program was built
   * @throws TrustRefusal where the record's root does not verify itself
   */
  constructor(site: string, record: TrustRecord, buildTimeMs: number) {
    this.#site = site;
    this.#trusted = new TrustedMetadata(site, record, buildTimeMs);
  }

  /**
   * What to keep. Each file counts from the moment it was verified, so this is to be written after every refresh, also one that was refused, and may be
   * written after every object.
   */
  get record(): TrustRecord {
    return this.#trusted.record;
  }

  /**
   * One look at the repository: yields the objects that it needs, is given their bytes (undefined: the server says that it has none), returns what the
   * site's role says. Objects that are trusted already are not asked for, so that an interrupted refresh goes on where it was; of one class at most one
   * refresh runs at a time.
   *
   * @param timestamp bytes of timestamp.json
   * @param nowMs the system clock, milliseconds since 1970
   * @throws TrustRefusal with the attack's name; the trusted metadata is then what was verified before
   */
  *refresh(timestamp: Uint8Array, nowMs: number): Generator<WantedObject, TrustedTargets, Uint8Array | undefined> {
    const trusted = this.#trusted;
    trusted.begin(nowMs);

    // 5.3: one root after the other, until the server has no newer one.
    for (let taken = 0; taken < MOST_ROOTS; taken++) {
      const bytes = yield { object: `${trusted.rootVersion + 1}.root.json`, maxBytes: LARGEST_METADATA_BYTES.root };
      if (!bytes || !trusted.updateRoot(bytes)) break;
    }
    trusted.checkRootExpiry();

    trusted.updateTimestamp(timestamp);
    if (!trusted.keepsSnapshot()) trusted.updateSnapshot(yield* ask('snapshot', trusted.snapshotMeta, LARGEST_METADATA_BYTES.snapshot));
    for (const [role, name] of [['targets', 'targets'] as const, ['site', siteRole(this.#site)] as const])
      if (!trusted.keepsTargets(role))
        trusted.updateTargets(role, yield* ask(name, trusted.targetsMeta(role), LARGEST_METADATA_BYTES[role]));
    return this.#siteTargets();
  }

  /**
   * 5.6.7 comes down to one delegation: nothing but the site's role says what its gateways run, neither the targets role itself nor a role that the site's
   * would delegate to, so there is no order to search in and no cycle to fear.
   */
  #siteTargets(): TrustedTargets {
    const { metadata, delegates } = this.#trusted.site;
    const name = siteRole(this.#site);
    const targets: TrustedTarget[] = [];
    const refusals: TrustRefusal[] = [];
    for (const [path, { length, hashes, custom }] of Object.entries(metadata.signed.targets)) {
      const target = targetSchema.safeParse(custom);
      const sha256 = hashes.sha256 ?? '';
      if (!delegates(path))
        refusals.push(
          new TrustRefusal('update/wrong-target', `${name}.json: target "${path}" lies outside of what the role is trusted with`),
        );
      else if (!target.success || !isSha256(sha256) || !Number.isSafeInteger(length))
        refusals.push(
          new TrustRefusal(
            'update/metadata',
            `${name}.json: target "${path}" is not of a form that this gateway knows; update its program`,
          ),
        );
      else targets.push({ path, length, sha256, target: target.data });
    }
    return { targets, refusals };
  }
}

function* ask(
  name: string,
  { version, length = 0 }: MetaFile,
  largestBytes: number,
): Generator<WantedObject, Uint8Array, Uint8Array | undefined> {
  const object = `${version}.${name}.json`;
  if (length > largestBytes)
    throw new TrustRefusal(
      'update/endless-data',
      `${object}: endless data attack: ${length} bytes are signed for, at most ${largestBytes} are taken`,
    );
  const bytes = yield { object, maxBytes: length || largestBytes };
  if (!bytes)
    throw new TrustRefusal(
      'update/missing',
      `${object}: signed metadata names it, the server has none; sign and publish the repository again`,
    );
  return bytes;
}
