import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TargetFile } from '@tufjs/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { objectName, siteRole, type Target, targetSchema } from '../../../runtime/contracts/update.ts';
import { UpdateTrust } from '../../../runtime/update/trust/refresh.ts';
import { addSite, createRepository, rotate, rotateSite } from '../../../trainer/fleet/authority.ts';
import { beginRollout, readAdapterCargo, readBundleCargo, usualBudget } from '../../../trainer/fleet/deployment.ts';
import { VALID_DAYS } from '../../../trainer/fleet/metadata.ts';
import type { Repository } from '../../../trainer/fleet/repository.ts';
import { advance } from '../../../trainer/fleet/rollout.ts';
import { changeRollout } from '../../../trainer/fleet/rollout-store.ts';

const NOW = new Date('2026-11-23T12:00:00Z');
const later = (days: number) => new Date(NOW.getTime() + days * 86_400_000);

let folder: string;
let made = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-repository-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const policy = (keys: string) => ({ folder: keys, keys: 2, threshold: 2 });

async function repositoryOf(sites: readonly string[] = ['plant'], rootKeys?: string): Promise<Repository> {
  const path = join(folder, `fleet-${made++}`);
  return createRepository(path, policy(rootKeys ?? join(path, 'keys')), sites, NOW);
}

function targetFile(site: string, deployment: string, custom: Partial<Target> = {}): TargetFile {
  const target = {
    kind: 'bundle',
    deployment,
    number: 1,
    gateways: ['hall'],
    withdrawn: false,
    thresholds: { shadowWindows: 10, shadowSeconds: 0.5, agreement: 0.9, latencyMs: 20.25, alarmShareChange: 0.2, memoryBytes: 1 << 20 },
    budgetBytes: 1000,
    platforms: [],
    parts: ['core'],
    ...custom,
  } as Target;
  const hashes = { sha256: 'a'.repeat(64) };
  const unrecognizedFields = { custom: z.encode(targetSchema, target) };
  return new TargetFile({ path: `${site}/bundles/${deployment}.json`, length: 10, hashes, unrecognizedFields });
}

const publish = (repository: Repository, site: string, targets: TargetFile[], now = NOW) =>
  repository.transaction(() => repository.publish(site, targets, now));

/** All of a served object. */
const bytesOf = async (repository: Repository, name: string) => (await repository.readPart(name, 0, 1 << 20))?.bytes;

/** What a gateway of the site makes of the repository. */
async function look(repository: Repository, site: string, now = NOW, trust?: UpdateTrust) {
  const own = trust ?? new UpdateTrust(site, { 'root.json': (await bytesOf(repository, '1.root.json'))!, referenceTimeMs: 0 }, 0);
  const refresh = own.refresh(await repository.timestamp(), now.getTime());
  let step = refresh.next();
  while (!step.done) {
    objectName.parse(step.value.object);
    step = refresh.next(await bytesOf(repository, step.value.object));
  }
  return step.value.targets.map(({ target }) => target);
}

describe('a repository', () => {
  it('is trusted by a gateway that has its first root, and tells it what was signed, fractions and all', async () => {
    const repository = await repositoryOf();
    expect(await look(repository, 'plant')).toEqual([]);
    expect(await publish(repository, 'plant', [targetFile('plant', 'one')])).toBe(true);
    const [target] = await look(repository, 'plant');
    expect(target).toMatchObject({ deployment: 'one', thresholds: { agreement: 0.9, shadowSeconds: 0.5, latencyMs: 20.25 } });
  });

  it('is trusted with real pushes after each rotation of keys, by a gateway that followed and by one that has only the first root', async () => {
    const repository = await repositoryOf();
    const root = repository.keys.folder;
    const following = new UpdateTrust(
      'plant',
      { 'root.json': (await repository.readPart('1.root.json', 0, 1 << 20))!.bytes, referenceTimeMs: 0 },
      0,
    );
    const shipped = await readBundleCargo(new URL('../../../models/shipped/plant', import.meta.url).pathname, ['core', 'adapt']);
    const adapterPath = new URL('../../../models/shipped/plant/adapter.safetensors', import.meta.url).pathname;
    const cargoes = [shipped, await readAdapterCargo(adapterPath, 'press-7')];
    const rotations = [
      () => rotate(repository, 'root', root, NOW),
      () => rotate(repository, 'targets', root, NOW),
      () => rotate(repository, 'snapshot', root, NOW),
      () => rotate(repository, 'timestamp', root, NOW),
      () => rotateSite(repository, 'plant', NOW),
    ];
    const expected: { deployment: string; kind: string }[] = [];
    for (const [index, turn] of rotations.entries()) {
      const cargo = cargoes[index % 2];
      const plan = {
        groups: [['plant/hall']],
        rules: { success: 1, error: 0, silentAfterMs: 600_000, settleMs: 0 },
        thresholds: {
          shadowWindows: 40,
          shadowSeconds: 0.5,
          agreement: 0.93,
          latencyMs: 20.25,
          alarmShareChange: 0.2,
          memoryBytes: 1 << 27,
        },
        budgetBytes: usualBudget(cargo),
        platforms: [],
      };
      const { deployment } = await beginRollout(repository, cargo, plan, NOW);
      await changeRollout(repository, deployment, (rollout) => advance(rollout, NOW.getTime()), NOW);
      expected.unshift({ deployment, kind: cargo.target.kind });
      await turn();
      for (const trust of [following, undefined]) {
        const seen = await look(repository, 'plant', NOW, trust);
        expect(seen.map(({ deployment, kind }) => ({ deployment, kind }))).toEqual(expected);
        expect(seen[0]).toMatchObject({ gateways: ['hall'], thresholds: plan.thresholds, withdrawn: false });
      }
      // The next push is for the same place.
      await changeRollout(repository, deployment, (rollout) => ({ ...rollout, status: 'finished' }), NOW);
    }
  });

  it('signs nothing where nothing is new, and wakes nobody for what is only left out', async () => {
    const repository = await repositoryOf();
    const [one, two] = [targetFile('plant', 'one'), targetFile('plant', 'two', { number: 2 })];
    await publish(repository, 'plant', [one, two]);
    const before = await repository.timestamp();
    expect(await publish(repository, 'plant', [two, one])).toBe(false);
    expect(await publish(repository, 'plant', [two])).toBe(false);
    expect(Buffer.from(await repository.timestamp()).equals(Buffer.from(before))).toBe(true);
    expect(await publish(repository, 'plant', [targetFile('plant', 'two', { number: 2, withdrawn: true })])).toBe(true);
    expect(await look(repository, 'plant')).toHaveLength(1);
  });

  it('keeps what a site says from other sites, whose names may have capitals and all that topics allow', async () => {
    const sites = ['Plant_1.A', 'b'.repeat(64)];
    const repository = await repositoryOf(sites);
    await publish(repository, sites[0], [targetFile(sites[0], 'one')]);
    expect(await look(repository, sites[0])).toHaveLength(1);
    expect(await look(repository, sites[1])).toHaveLength(0);
    // A site's key signs for no other site's paths.
    await publish(repository, sites[1], [targetFile(sites[0], 'stray')]);
    expect(await look(repository, sites[1])).toHaveLength(0);
  });

  it('takes a site later, and refuses one that it does not know', async () => {
    const repository = await repositoryOf();
    await expect(publish(repository, 'north', [])).rejects.toMatchObject({ code: 'fleet/site' });
    await addSite(repository, 'north', NOW);
    await publish(repository, 'north', [targetFile('north', 'one')]);
    expect(await look(repository, 'north')).toHaveLength(1);
    expect(await look(repository, 'plant')).toHaveLength(0);
    await expect(addSite(repository, 'north', NOW)).rejects.toMatchObject({ code: 'keys/there' });
    await expect(addSite(repository, '../etc', NOW)).rejects.toMatchObject({ code: 'usage/name' });
  });

  it('stays small: only some versions stay on disk, and every root', async () => {
    const repository = await repositoryOf();
    for (let index = 1; index <= 8; index++) await publish(repository, 'plant', [targetFile('plant', `n${index}`, { number: index })]);
    const names = await readdir(repository.folder);
    expect(names.filter((name) => /^\d+\.snapshot\.json$/.test(name))).toHaveLength(4);
    expect(names).toContain('1.root.json');
    expect(await look(repository, 'plant')).toHaveLength(1);
  });

  it('serves metadata and objects by name, and nothing else in its folder', async () => {
    const repository = await repositoryOf();
    const digest = await repository.keep(new Uint8Array([1, 2, 3]));
    expect([...(await bytesOf(repository, digest))!]).toEqual([1, 2, 3]);
    expect(await bytesOf(repository, 'timestamp.json')).toBeDefined();
    for (const name of [
      'keys/targets.pem',
      '../x.json',
      `objects/${digest}`,
      'rollouts/1.json',
      'server.lock',
      '1.root.json/../x',
      digest.toUpperCase(),
    ])
      expect(await bytesOf(repository, name), name).toBeUndefined();
  });

  it('serves pieces of an object, with the length of all of it', async () => {
    const repository = await repositoryOf();
    const digest = await repository.keep(new Uint8Array([1, 2, 3, 4, 5]));
    const piece = async (from: number, length: number) => {
      const { objectBytes, bytes } = (await repository.readPart(digest, from, length))!;
      return [objectBytes, ...bytes];
    };
    expect(await piece(1, 3)).toEqual([5, 2, 3, 4]);
    expect(await piece(4, 3)).toEqual([5, 5]);
    expect(await piece(5, 3)).toEqual([5]);
    expect(await piece(99, 3)).toEqual([5]);
    expect(await piece(0, 0)).toEqual([5]);
  });

  it('keeps an object whole: one that lies there damaged is written again', async () => {
    const repository = await repositoryOf();
    const digest = await repository.keep(new Uint8Array([1, 2, 3]));
    await writeFile(join(repository.folder, 'objects', digest), 'damaged');
    await repository.keep(new Uint8Array([1, 2, 3]));
    expect([...(await bytesOf(repository, digest))!]).toEqual([1, 2, 3]);
  });
});

describe('signatures', () => {
  it('are renewed in time, by whoever holds the keys; of the others a person is told', async () => {
    const repository = await repositoryOf();
    const renew = (now: Date) => repository.transaction(() => repository.renew(now));
    expect(await renew(later(0.4))).toEqual({ renewed: [], warnings: [] });
    expect((await renew(later(0.6))).renewed).toEqual(['timestamp']);
    expect((await renew(later(VALID_DAYS.site * 0.6))).renewed).toEqual([siteRole('plant'), 'snapshot', 'timestamp']);
    await look(repository, 'plant', later(VALID_DAYS.site * 0.6));
    await rename(join(repository.keys.folder, 'targets.pem'), join(folder, 'targets-away.pem'));
    const { renewed, warnings } = await renew(later(200));
    expect(renewed).not.toContain('targets');
    expect(warnings.join()).toMatch(/targets expires .* not here.*root expires/);
    await look(repository, 'plant', later(200));
    await expect(look(repository, 'plant', later(202))).rejects.toThrow(/freeze/);
  });

  it('hold after every role has got new keys, for gateways that knew the old ones and for those that have only the first root', async () => {
    const away = join(folder, 'stick');
    const repository = await repositoryOf(['plant'], away);
    await publish(repository, 'plant', [targetFile('plant', 'one')]);
    const trust = new UpdateTrust('plant', { 'root.json': (await bytesOf(repository, '1.root.json'))!, referenceTimeMs: 0 }, 0);
    await look(repository, 'plant', NOW, trust);
    for (const role of ['timestamp', 'snapshot', 'targets', 'root', 'timestamp', 'root'] as const) {
      const before = await repository.root();
      await rotate(repository, role, away, NOW);
      const { signed } = await repository.root();
      expect(signed.version).toBe(before.signed.version + 1);
      expect(signed.roles[role].keyIDs).not.toEqual(before.signed.roles[role].keyIDs);
      expect(await look(repository, 'plant', NOW, trust), role).toHaveLength(1);
    }
    await rotateSite(repository, 'plant', NOW);
    expect(await look(repository, 'plant', NOW, trust)).toHaveLength(1);
    expect(await look(repository, 'plant')).toHaveLength(1);
    await publish(repository, 'plant', [targetFile('plant', 'two', { number: 2 })]);
    expect(await look(repository, 'plant', NOW, trust)).toHaveLength(1);
    expect((await readdir(away)).filter((name) => name.includes('next'))).toEqual([]);
  });

  it('are not changed without a threshold of root keys', async () => {
    const away = join(folder, 'safe');
    const repository = await repositoryOf(['plant'], away);
    await expect(rotate(repository, 'timestamp', repository.keys.folder, NOW)).rejects.toMatchObject({ code: 'keys/threshold' });
    await rm(join(away, 'root-2.pem'));
    await expect(rotate(repository, 'timestamp', away, NOW)).rejects.toThrow(/has 1 of root's keys, 2 are needed/);
  });

  it('are mended where a rotation was cut short after the new root was written', async () => {
    const repository = await repositoryOf();
    const timestamp = await repository.timestamp();
    await rotate(repository, 'timestamp', repository.keys.folder, NOW);
    // As if the process had been killed before the timestamp was signed with the new key.
    await writeFile(join(repository.folder, 'timestamp.json'), timestamp);
    expect((await repository.transaction(() => repository.renew(NOW))).renewed).toEqual(['timestamp']);
    await look(repository, 'plant');
  });

  it('hold whatever moment a signing process is killed at: the timestamp comes last', async () => {
    const repository = await repositoryOf();
    await publish(repository, 'plant', [targetFile('plant', 'one')]);
    // All that a publication writes before the timestamp is there, half of it wrong.
    for (const name of ['3.site-plant.json', '3.snapshot.json']) await writeFile(join(repository.folder, name), '{"half":');
    expect(await look(repository, 'plant')).toHaveLength(1);
    await publish(repository, 'plant', [targetFile('plant', 'two', { number: 2 })]);
    expect((await look(repository, 'plant')).map(({ deployment }) => deployment)).toEqual(['two']);
  });
});

describe('private keys', () => {
  it('are files of mode 600 in a folder of mode 700, whatever the umask', async () => {
    const before = process.umask(0);
    const repository = await repositoryOf().finally(() => process.umask(before));
    expect((await stat(repository.keys.folder)).mode & 0o777).toBe(0o700);
    const names = await readdir(repository.keys.folder);
    expect(names.sort()).toEqual(['root-1.pem', 'root-2.pem', 'site-plant.pem', 'snapshot.pem', 'targets.pem', 'timestamp.pem']);
    for (const name of names) {
      expect((await stat(join(repository.keys.folder, name))).mode & 0o777, name).toBe(0o600);
      expect(await readFile(join(repository.keys.folder, name), 'utf8')).toContain('BEGIN PRIVATE KEY');
    }
  });

  it.each(['640', '604', '660'])('are refused with mode %s', async (mode) => {
    const repository = await repositoryOf();
    const path = join(repository.keys.folder, 'timestamp.pem');
    await chmod(path, Number.parseInt(mode, 8));
    const refused = publish(repository, 'plant', [targetFile('plant', 'one')]);
    await expect(refused).rejects.toMatchObject({ code: 'keys/mode', message: expect.stringContaining(`chmod 600 ${path}`) });
  });

  it('are refused in a folder that others can read, and where they are no keys', async () => {
    const repository = await repositoryOf();
    await chmod(repository.keys.folder, 0o755);
    await expect(publish(repository, 'plant', [targetFile('plant', 'one')])).rejects.toThrow(/chmod 700/);
    await chmod(repository.keys.folder, 0o700);
    await writeFile(join(repository.keys.folder, 'site-plant.pem'), 'secret words');
    const refused: Error = await publish(repository, 'plant', [targetFile('plant', 'one')]).then(
      () => new Error('signed'),
      (error) => error,
    );
    expect(refused.message).toMatch(/no Ed25519 private key/);
    expect(refused.message).not.toContain('secret words');
  });

  it('are not made over others', async () => {
    const repository = await repositoryOf();
    await expect(createRepository(repository.folder, policy(repository.keys.folder), [], NOW)).rejects.toMatchObject({
      code: 'keys/there',
    });
    const path = join(folder, 'half');
    await mkdir(join(path, 'keys'), { recursive: true, mode: 0o700 });
    await writeFile(join(path, 'keys', 'root-1.pem'), 'precious', { mode: 0o600 });
    await expect(createRepository(path, policy(join(path, 'keys')), [], NOW)).rejects.toMatchObject({ code: 'keys/there' });
    expect(await readFile(join(path, 'keys', 'root-1.pem'), 'utf8')).toBe('precious');
  });

  it('are refused as a policy that cannot be reached', async () => {
    const unreachable = createRepository(join(folder, 'never'), { folder: join(folder, 'never'), keys: 2, threshold: 3 }, [], NOW);
    await expect(unreachable).rejects.toMatchObject({ code: 'keys/threshold' });
  });
});

describe('a repository', () => {
  it('lets transactions pass one after the other', async () => {
    const repository = await repositoryOf();
    let inside = 0;
    await Promise.all(
      Array.from({ length: 8 }, () =>
        repository.transaction(async () => {
          expect(++inside).toBe(1);
          await new Promise((resolve) => setImmediate(resolve));
          inside--;
        }),
      ),
    );
  });
});
