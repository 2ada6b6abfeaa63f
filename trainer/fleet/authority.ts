import { readdir } from 'node:fs/promises';
import { type Key, Root, Targets } from '@tufjs/models';
import { isTopicName } from '../../runtime/contracts/topics.ts';
import { siteRole } from '../../runtime/contracts/update.ts';
import { Refusal } from '../refusal.ts';
import { KeyFolder, type SigningKey } from './keys.ts';
import { expiry, SPECIFICATION, VALID_DAYS } from './metadata.ts';
import { Repository } from './repository.ts';

const ONLINE = ['targets', 'snapshot', 'timestamp'] as const;

/** What `rotate` can renew, besides sites. */
export const ROTATED = ['root', ...ONLINE] as const;
export type Rotated = (typeof ROTATED)[number];

/** How many keys root has at most: a person must bring them. */
const LARGEST_ROOT_KEYS = 9;

export interface RootPolicy {
  /** Keys of root, and how many of them must sign a new root. */
  readonly keys: number;
  readonly threshold: number;
  /** Where the root keys lie: a folder that can be carried away. */
  readonly folder: string;
}

/**
 * Makes a repository with its keys.
 *
 * @throws Refusal keys/there, keys/occupied, keys/threshold, usage/name
 */
export async function createRepository(folder: string, policy: RootPolicy, sites: readonly string[], now: Date): Promise<Repository> {
  const repository = Repository.at(folder);
  if (await repository.exists()) throw new Refusal('keys/there', `${folder} is a repository already; tremolo keys rotate changes its keys`);
  await refuseOccupied(folder);
  const { keys, threshold } = policy;
  if (threshold > keys || keys > LARGEST_ROOT_KEYS)
    throw new Refusal(
      'keys/threshold',
      `${threshold} of ${keys} root keys cannot be; give at most ${LARGEST_ROOT_KEYS}, and a threshold they can reach`,
    );
  for (const site of sites) checkSite(site);
  const rootFolder = new KeyFolder(policy.folder);
  const rootKeys: SigningKey[] = [];
  for (let index = 1; index <= keys; index++) rootKeys.push(await rootFolder.create(`root-${index}`));
  const online: Record<string, SigningKey> = {};
  for (const name of ONLINE) online[name] = await repository.keys.create(name);
  const siteKeys = new Map<string, Key>();
  for (const site of sites) siteKeys.set(site, (await repository.keys.create(siteRole(site))).public);
  return repository.transaction(async () => {
    const roles = Object.fromEntries(ONLINE.map((name) => [name, [online[name].public]]));
    const root = makeRoot(1, { ...roles, root: rootKeys.map((key) => key.public) }, threshold, now);
    await repository.writeRoot(root, rootKeys);
    const targets = delegate(1, siteKeys, now);
    await repository.update(now, { root, targets, sites: new Map(sites.map((site) => [site, emptySite(now)])) }, true);
    return repository;
  });
}

/** What an init that was cut short may have left: it is told of by `keys/there`. */
const OWN_FILE = /^(keys|repository\.lock|root-.*|\d+\..+\.json)$/;

/** @throws Refusal keys/occupied where the folder holds something else */
async function refuseOccupied(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw new Refusal('keys/occupied', `--out ${folder} is not a folder (${cause.code}); name another`, { cause });
  });
  const foreign = entries.find((name) => !OWN_FILE.test(name));
  if (foreign !== undefined) throw new Refusal('keys/occupied', `--out ${folder} holds ${foreign}; name an empty folder or a new one`);
}

/** @throws Refusal usage/name, keys/there; fleet/key where the key of all targets is kept elsewhere */
export async function addSite(repository: Repository, site: string, now: Date): Promise<void> {
  checkSite(site);
  return repository.transaction(async () => {
    const { targets } = await repository.top();
    const known = siteKeys(targets.signed);
    if (known.has(site)) throw new Refusal('keys/there', `site ${site} has a key already; tremolo keys rotate site-${site} changes it`);
    // Left by somebody who was stopped before the site was signed: nobody knows that key, and it will do.
    const key = (await repository.keys.read(siteRole(site))) ?? (await repository.keys.create(siteRole(site)));
    known.set(site, key.public);
    await repository.update(now, { targets: delegate(targets.signed.version + 1, known, now), sites: new Map([[site, emptySite(now)]]) });
  });
}

/**
 * Gives a site a new key; what the old one signs counts no more.
 *
 * @throws Refusal fleet/site, fleet/key
 */
export function rotateSite(repository: Repository, site: string, now: Date): Promise<void> {
  return repository.transaction(async () => {
    const { signed } = await repository.site(site);
    const { targets } = await repository.top();
    const known = siteKeys(targets.signed);
    known.set(site, (await repository.keys.stage(siteRole(site))).public);
    const again = new Targets({
      version: signed.version + 1,
      specVersion: SPECIFICATION,
      expires: expiry(now, VALID_DAYS.site),
      targets: signed.targets,
    });
    await repository.update(now, { targets: delegate(targets.signed.version + 1, known, now), sites: new Map([[site, again]]) });
  });
}

/**
 * Gives a role new keys: a new root, signed by a threshold of the old root's keys and of the new one's (TUF 1.0.33, 5.3.4), and whatever the role
 * signs, signed anew. `root` renews root's own keys; with all keys kept it only prolongs root.
 *
 * @param rootFolder where the root keys lie
 * @throws Refusal keys/threshold where fewer root keys than the threshold are there
 */
export function rotate(repository: Repository, role: Rotated, rootFolder: string, now: Date): Promise<void> {
  return repository.transaction(async () => {
    const { root, targets } = await repository.top();
    const { keys, roles } = root.signed;
    const folder = new KeyFolder(rootFolder);
    const { keyIDs, threshold } = roles.root;
    const signers: SigningKey[] = [];
    for (let index = 1; index <= keyIDs.length; index++) {
      const key = await folder.current(`root-${index}`, keyIDs);
      if (key) signers.push(key);
    }
    if (signers.length < threshold)
      throw new Refusal('keys/threshold', `${rootFolder} has ${signers.length} of root's keys, ${threshold} are needed; bring them there`);
    const publics = Object.fromEntries(ROTATED.map((name) => [name, roles[name].keyIDs.map((id) => keys[id])]));
    const fresh: SigningKey[] = [];
    if (role === 'root') for (let index = 1; index <= keyIDs.length; index++) fresh.push(await folder.stage(`root-${index}`));
    else fresh.push(await repository.keys.stage(role));
    publics[role] = fresh.map((key) => key.public);
    const next = makeRoot(root.signed.version + 1, publics, threshold, now);
    await repository.writeRoot(next, role === 'root' ? [...signers, ...fresh] : signers);
    if (role === 'root') for (let index = 1; index <= keyIDs.length; index++) await folder.current(`root-${index}`, next.roles.root.keyIDs);
    const again = role === 'targets' ? delegate(targets.signed.version + 1, siteKeys(targets.signed), now) : undefined;
    await repository.update(now, { root: next, targets: again });
  });
}

function checkSite(site: string): void {
  if (!isTopicName(site))
    throw new Refusal(
      'usage/name',
      `"${site}" is no name of a site: letters, digits, ".", "_" or "-", at most 64, beginning with a letter or digit`,
    );
}

function makeRoot(version: number, keys: Readonly<Record<string, readonly Key[]>>, threshold: number, now: Date): Root {
  return Root.fromJSON({
    _type: 'root',
    spec_version: SPECIFICATION,
    version,
    expires: expiry(now, VALID_DAYS.root),
    consistent_snapshot: true,
    keys: Object.fromEntries(Object.values(keys).flatMap((all) => all.map((key) => [key.keyID, key.toJSON()]))),
    roles: Object.fromEntries(
      ROTATED.map((role) => [role, { keyids: keys[role].map((key) => key.keyID), threshold: role === 'root' ? threshold : 1 }]),
    ),
  });
}

function siteKeys({ delegations }: Targets): Map<string, Key> {
  return new Map(
    Object.values(delegations?.roles ?? {}).map(({ name, keyIDs }) => [name.slice(siteRole('').length), delegations!.keys[keyIDs[0]]]),
  );
}

/**
 * Targets' own metadata name no target, but who speaks for which site. A pattern's `*` does not reach over a slash (TUF 1.0.33, 4.5), hence one for
 * each folder; terminating, so that no other role is asked for a site's targets.
 */
function delegate(version: number, sites: ReadonlyMap<string, Key>, now: Date): Targets {
  return Targets.fromJSON({
    _type: 'targets',
    spec_version: SPECIFICATION,
    version,
    expires: expiry(now, VALID_DAYS.targets),
    targets: {},
    delegations: {
      keys: Object.fromEntries([...sites.values()].map((key) => [key.keyID, key.toJSON()])),
      roles: [...sites].map(([site, { keyID }]) => ({
        name: siteRole(site),
        keyids: [keyID],
        threshold: 1,
        terminating: true,
        paths: [`${site}/bundles/*`, `${site}/adapters/*`],
      })),
    },
  });
}

function emptySite(now: Date): Targets {
  return new Targets({ version: 1, specVersion: SPECIFICATION, expires: expiry(now, VALID_DAYS.site), targets: {} });
}
