import { describe, expect, it } from 'vitest';
import { objectName } from '../../../../runtime/contracts/update.ts';
import { UpdateTrust } from '../../../../runtime/update/trust/refresh.ts';
import { bundleTarget, refreshFrom, signingKey, TufRepository } from '../../../support/tuf-repository.ts';

const NOW = Date.parse('2026-05-01T00:00:00Z');
const YEAR = 365 * 86_400_000;
const trustIn = ({ site, installed }: TufRepository, record = installed, buildTimeMs = 0) => new UpdateTrust(site, record, buildTimeMs);

describe('a gateway that knows nothing but the root it was installed with', () => {
  it('learns what its site shall run, by names of consistent snapshots', () => {
    const repository = new TufRepository();
    const asked: string[] = [];
    const { targets, refusals } = refreshFrom(trustIn(repository), repository, NOW, asked);
    expect(targets).toMatchObject([{ path: 'plant/1-bundle', length: 1000, target: bundleTarget() }]);
    expect(refusals).toEqual([]);
    expect(asked).toEqual(['2.root.json', '1.snapshot.json', '1.targets.json', '1.site-plant.json']);
    for (const name of asked) expect(objectName.safeParse(name).success, name).toBe(true);
  });

  it('needs neither lengths nor hashes in snapshot and timestamp, for versions name the files too', () => {
    const repository = new TufRepository();
    repository.hashes = false;
    repository.publishAll();
    expect(refreshFrom(trustIn(repository), repository, NOW).targets).toHaveLength(1);
  });

  it('tells what must not be longer than what', () => {
    const repository = new TufRepository();
    const refresh = trustIn(repository).refresh(repository.timestamp, NOW);
    expect(refresh.next().value).toEqual({ object: '2.root.json', maxBytes: 65536 });
    expect(refresh.next(undefined).value).toEqual({ object: '1.snapshot.json', maxBytes: repository.latest('snapshot')[1].length });
  });
});

describe('a gateway that has looked before', () => {
  it('asks for nothing but a newer root where nothing is new, and for what changed where something is', () => {
    const repository = new TufRepository();
    const trust = trustIn(repository);
    const first = refreshFrom(trust, repository, NOW);
    const asked: string[] = [];
    expect(refreshFrom(trust, repository, NOW, asked)).toEqual(first);
    repository.publishTimestamp();
    expect(refreshFrom(trust, repository, NOW, asked)).toEqual(first);
    expect(asked).toEqual(['2.root.json', '2.root.json']);

    repository.targets['plant/2-bundle'] = bundleTarget({ number: 2 });
    repository.publishSite();
    repository.publishSnapshot();
    repository.publishTimestamp();
    expect(refreshFrom(trust, repository, NOW, asked).targets).toHaveLength(2);
    expect(asked.slice(3)).toEqual(['2.snapshot.json', '2.site-plant.json']);
  });

  it.each([0, 1, 2, 3, 4])('goes on after %i objects where a refresh was cut, from what the disk kept', (given) => {
    const repository = new TufRepository();
    repository.publishRoot();
    const whole: string[] = [];
    const expected = refreshFrom(trustIn(repository), repository, NOW, whole);
    expect(whole).toHaveLength(5);

    const cut = trustIn(repository);
    const refresh = cut.refresh(repository.timestamp, NOW);
    let step = refresh.next();
    for (let count = 0; count < given; count++) step = refresh.next(repository.objects.get((step.value as { object: string }).object));
    const resumed: string[] = [];
    expect(refreshFrom(trustIn(repository, cut.record), repository, NOW, resumed)).toEqual(expected);
    // What was trusted is not asked for again, but for the question whether there is a newer root.
    const remaining = whole.slice(given);
    expect(resumed).toEqual(remaining[0]?.endsWith('root.json') ? remaining : ['3.root.json', ...remaining]);
  });

  it('forgets a file that its disk spoilt, and fetches it again', () => {
    const repository = new TufRepository();
    const trust = trustIn(repository);
    const first = refreshFrom(trust, repository, NOW);
    for (const file of ['timestamp.json', 'snapshot.json', 'targets.json', 'site-plant.json'] as const) {
      const spoilt = trustIn(repository, { ...trust.record, [file]: trust.record[file]!.slice(0, -100) });
      expect(refreshFrom(spoilt, repository, NOW)).toEqual(first);
    }
    const tampered = Buffer.from(Buffer.from(repository.installed['root.json']).toString().replace('"expires":"2030', '"expires":"2039'));
    expect(() => trustIn(repository, { ...repository.installed, 'root.json': tampered })).toThrow(/root\.json: arbitrary software attack/);
  });
});

describe('new keys', () => {
  it('are followed over several roots, each signed by the one before, also over one that has expired', () => {
    const repository = new TufRepository();
    const trust = trustIn(repository);
    refreshFrom(trust, repository, NOW);
    for (const expires of ['2020-01-01T00:00:00Z', '2030-01-01T00:00:00Z', '2031-01-01T00:00:00Z']) {
      repository.keys.root = [signingKey(), signingKey(), signingKey()];
      repository.expires.root = expires;
      repository.publishRoot();
    }
    const asked: string[] = [];
    refreshFrom(trust, repository, NOW, asked);
    expect(asked).toEqual(['2.root.json', '3.root.json', '4.root.json', '5.root.json']);
    expect(trust.record['root.json']).toEqual(repository.objects.get('4.root.json'));
  });

  it.each(['timestamp', 'snapshot', 'targets', 'site'] as const)('of role %s are taken, and the old ones no longer', (role) => {
    const repository = new TufRepository();
    const trust = trustIn(repository);
    const first = refreshFrom(trust, repository, NOW);
    const old = repository.keys[role];
    repository.keys[role] = [signingKey()];
    if (role !== 'site') repository.publishRoot();
    repository.publishAll();
    expect(refreshFrom(trust, repository, NOW)).toEqual(first);

    repository.keys[role] = old;
    if (role === 'site') repository.publishSite();
    else repository.publishAll();
    repository.publishSnapshot();
    repository.publishTimestamp();
    expect(() => refreshFrom(trust, repository, NOW)).toThrow(expect.objectContaining({ code: 'update/arbitrary-software' }));
  });

  it('let a repository that was fast-forwarded start again: versions and times of the stolen keys are forgotten', () => {
    const repository = new TufRepository('2090-01-01T00:00:00Z');
    const trust = trustIn(repository);
    refreshFrom(trust, repository, NOW);
    Object.assign(repository.versions, { timestamp: 2e9, snapshot: 2e9, site: 2e9 });
    repository.signedAt = '2089-12-31T00:00:00Z';
    repository.publishSite();
    repository.publishSnapshot();
    repository.publishTimestamp();
    refreshFrom(trust, repository, NOW);

    repository.expires.timestamp = '2027-01-01T00:00:00Z';
    repository.signedAt = '2026-05-01T00:00:00Z';
    Object.assign(repository.versions, { timestamp: 5, snapshot: 5, site: 5 });
    repository.publishSite();
    repository.publishSnapshot();
    repository.publishTimestamp();
    expect(() => refreshFrom(trust, repository, NOW)).toThrow(expect.objectContaining({ code: 'update/rollback' }));
    for (const role of ['timestamp', 'snapshot', 'site'] as const) repository.keys[role] = [signingKey()];
    repository.publishRoot();
    repository.publishAll();
    // Interrupted right after the new root: what the old keys said is forgotten all the same.
    trust.refresh(repository.timestamp, NOW).next();
    expect(refreshFrom(trustIn(repository, trust.record), repository, NOW).targets).toHaveLength(1);
  });
});

describe('the reference time', () => {
  const expiring = () => {
    const repository = new TufRepository('2200-01-01T00:00:00Z');
    repository.expires.timestamp = '2026-05-08T00:00:00Z';
    repository.publishTimestamp();
    return repository;
  };
  const frozen = expect.objectContaining({ code: 'update/freeze' });

  it('is at least the system clock, the build time and the last time that the server signed for', () => {
    const repository = expiring();
    expect(refreshFrom(trustIn(repository), repository, NOW).targets).toHaveLength(1);
    expect(() => refreshFrom(trustIn(repository), repository, NOW + YEAR)).toThrow(frozen);
    expect(refreshFrom(trustIn(repository), repository, 0).targets).toHaveLength(1);
    expect(() => refreshFrom(trustIn(repository, repository.installed, NOW + YEAR), repository, 0)).toThrow(frozen);

    repository.expires.site = '2026-05-03T00:00:00Z';
    repository.signedAt = '2026-05-04T00:00:00Z';
    repository.publishAll();
    expect(() => refreshFrom(trustIn(repository), repository, 0)).toThrow(frozen);
  });

  it('does not go back with a clock that starts at 1970 again: what has expired once stays so', () => {
    const repository = expiring();
    const trust = trustIn(repository);
    refreshFrom(trust, repository, NOW);
    expect(() => refreshFrom(trust, repository, NOW + 8 * 86_400_000)).toThrow(frozen);
    expect(() => refreshFrom(trustIn(repository, trust.record), repository, 0)).toThrow(frozen);
    repository.expires.timestamp = '2026-05-20T00:00:00Z';
    repository.publishTimestamp();
    expect(refreshFrom(trustIn(repository, trust.record), repository, 0).targets).toHaveLength(1);
  });

  it('survives a clock that was once wrong by decades: the next timestamp is taken', () => {
    const repository = expiring();
    const trust = trustIn(repository);
    refreshFrom(trust, repository, NOW);
    expect(() => refreshFrom(trust, repository, NOW + 70 * YEAR)).toThrow(frozen);
    repository.expires.timestamp = '2026-05-09T00:00:00Z';
    repository.publishTimestamp();
    expect(refreshFrom(trust, repository, NOW).targets).toHaveLength(1);
  });

  it('keeps a signed time over a restart', () => {
    const repository = new TufRepository();
    repository.signedAt = '2026-05-04T00:00:00Z';
    repository.publishTimestamp();
    const trust = trustIn(repository);
    refreshFrom(trust, repository, 0);
    expect(trust.record.referenceTimeMs).toBe(Date.parse('2026-05-04T00:00:00Z'));
    repository.signedAt = undefined;
    repository.expires.site = '2026-05-03T00:00:00Z';
    repository.publishAll();
    expect(() => refreshFrom(trustIn(repository, trust.record), repository, 0)).toThrow(frozen);
  });
});
