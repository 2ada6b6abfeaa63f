import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LARGEST_VERSION } from '../../../../runtime/update/trust/metadata.ts';
import { UpdateTrust } from '../../../../runtime/update/trust/refresh.ts';
import { TRUST_REFUSALS, TrustRefusal, type TrustRefusalCode } from '../../../../runtime/update/trust/refusal.ts';
import { LARGEST_METADATA_BYTES } from '../../../../runtime/update/trust/trusted-metadata.ts';
import { bundleTarget, type Publication, refreshFrom, signingKey, TufRepository } from '../../../support/tuf-repository.ts';

const NOW = Date.parse('2026-05-01T00:00:00Z');
const NON_ROOT = ['timestamp', 'snapshot', 'targets', 'site'] as const;
type NonRoot = (typeof NON_ROOT)[number];

const trustIn = ({ site, installed }: TufRepository) => new UpdateTrust(site, installed, 0);

/** A new version of one role by its own means, and of what names it by the repository's. */
function publish(repository: TufRepository, role: NonRoot, publication: Publication = {}): void {
  if (role === 'targets') repository.publishTargets(publication);
  if (role === 'site') repository.publishSite(publication);
  if (role !== 'timestamp') repository.publishSnapshot(role === 'snapshot' ? publication : {});
  repository.publishTimestamp(role === 'timestamp' ? publication : {});
}

/**
 * A gateway has seen the repository; then somebody attacks. Gives the refusal, after proof that a refused attack bars no way back (section 5: "errors ...
 * should not leave clients in an unrecoverable state"): the next honest publication is taken, also by a gateway that was restarted meanwhile.
 */
function attacked(attack: (repository: TufRepository) => void, prepare: (repository: TufRepository) => void = () => {}): TrustRefusal {
  const repository = new TufRepository();
  prepare(repository);
  const trust = trustIn(repository);
  const before = refreshFrom(trust, repository, NOW);
  const honest = {
    keys: { ...repository.keys },
    thresholds: { ...repository.thresholds },
    expires: { ...repository.expires },
    objects: new Map(repository.objects),
  };
  attack(repository);
  const refusal = refusalOf(() => refreshFrom(trust, repository, NOW));

  Object.assign(repository.keys, honest.keys);
  Object.assign(repository.thresholds, honest.thresholds);
  Object.assign(repository.expires, honest.expires);
  repository.publishAll();
  const roots = [...repository.objects.keys()].filter((name) => name.endsWith('.root.json') && !honest.objects.has(name));
  for (const name of roots) repository.objects.delete(name);
  for (const [name, bytes] of honest.objects) repository.objects.set(name, bytes);
  expect(refreshFrom(new UpdateTrust(repository.site, trust.record, 0), repository, NOW)).toEqual(before);
  return refusal;
}

function refusalOf(action: () => unknown): TrustRefusal {
  try {
    action();
  } catch (refusal) {
    if (refusal instanceof TrustRefusal) return refusal;
    throw refusal;
  }
  throw new Error('the attack was not refused');
}

function expectRefusal(refusal: TrustRefusal, code: TrustRefusalCode, name: RegExp): void {
  expect(refusal.code).toBe(code);
  expect(refusal.message).toMatch(name);
  expect(refusal.message).not.toContain('\n');
}

describe('arbitrary software', () => {
  it.each(NON_ROOT)('signed for role %s by a key that nobody trusts is refused', (role) => {
    const refusal = attacked((repository) => publish(repository, role, { signers: [signingKey()] }));
    expectRefusal(refusal, 'update/arbitrary-software', /arbitrary software attack/);
  });

  it('of a root is refused, be it signed by the new keys only or by the old ones only', () => {
    const strangers = [signingKey(), signingKey()];
    for (const by of ['new', 'old'] as const) {
      const refusal = attacked((repository) => {
        const old = repository.keys.root;
        repository.keys.root = strangers;
        repository.publishRoot({ signers: by === 'new' ? strangers : old });
      });
      expectRefusal(refusal, 'update/arbitrary-software', /2\.root\.json: arbitrary software attack/);
    }
  });

  it('by a key of another role is refused: each role has its own', () => {
    const refusal = attacked((repository) => publish(repository, 'site', { signers: repository.keys.timestamp }));
    expectRefusal(refusal, 'update/arbitrary-software', /site-plant\.json/);
  });
});

describe('key compromise below the threshold', () => {
  it.each(NON_ROOT)('of role %s is refused', (role) => {
    const refusal = attacked(
      (repository) => publish(repository, role, { signers: repository.keys[role].slice(1) }),
      (repository) => {
        repository.keys[role] = [signingKey(), signingKey()];
        repository.thresholds[role] = 2;
        if (role !== 'site') repository.publishRoot();
        repository.publishAll();
      },
    );
    expectRefusal(refusal, 'update/threshold', /key compromise: 1 valid signatures/);
  });

  it('of the root is refused', () => {
    const refusal = attacked((repository) => {
      const [stolen] = repository.keys.root;
      repository.keys.root = [signingKey(), signingKey()];
      repository.publishRoot({ signers: [stolen, ...repository.keys.root] });
    });
    expectRefusal(refusal, 'update/threshold', /2\.root\.json: key compromise/);
  });

  it('is not helped by the same key under a second name', () => {
    const refusal = attacked((repository) => {
      const [key] = repository.keys.site;
      repository.keys.site = [key, { ...key, keyId: 'ab'.repeat(32) }];
      repository.thresholds.site = 2;
      publish(repository, 'targets');
    });
    expectRefusal(refusal, 'update/metadata', /SHA-256 of its canonical form/);
  });
});

describe('a key that was taken back', () => {
  it('takes what it signed with it: targets that lie on the gateway are verified anew under each root', () => {
    const repository = new TufRepository();
    const trust = trustIn(repository);
    const before = refreshFrom(trust, repository, NOW);
    repository.keys.targets = [signingKey()];
    repository.publishRoot();
    // What the old key signed is left in place, as a thief who holds the server would.
    repository.publishTimestamp();
    const refusal = refusalOf(() => refreshFrom(trust, repository, NOW));
    expectRefusal(refusal, 'update/arbitrary-software', /targets\.json: arbitrary software attack/);
    repository.publishAll();
    expect(refreshFrom(trust, repository, NOW)).toEqual(before);
  });

  it('has no second name in a root either', () => {
    const refusal = attacked((repository) => {
      const [key] = repository.keys.timestamp;
      repository.keys.timestamp = [key, { ...key, keyId: 'cd'.repeat(32) }];
      repository.publishRoot();
    });
    expectRefusal(refusal, 'update/metadata', /2\.root\.json: key cdcd.* SHA-256 of its canonical form/);
  });
});

describe('endless data', () => {
  it.each([
    ['2.root.json', LARGEST_METADATA_BYTES.root],
    ['2.snapshot.json', undefined],
    ['2.targets.json', undefined],
    ['2.site-plant.json', undefined],
  ])('in %s is cut off', (name, longest) => {
    const refusal = attacked((repository) => {
      repository.publishAll();
      const signed = repository.objects.get(name)?.length;
      repository.objects.set(name, Buffer.alloc((signed ?? longest!) + 1, 0x20));
    });
    expectRefusal(refusal, 'update/endless-data', /endless data attack/);
  });

  it('in the timestamp, or without a signed length, is cut off at what a role may have', () => {
    const timestamp = attacked((repository) =>
      Object.assign(repository, { timestamp: Buffer.alloc(LARGEST_METADATA_BYTES.timestamp + 1, 0x20) }),
    );
    expectRefusal(timestamp, 'update/endless-data', /timestamp\.json: endless data attack/);
    const snapshot = attacked((repository) => {
      repository.hashes = false;
      publish(repository, 'snapshot');
      repository.objects.set('2.snapshot.json', Buffer.alloc(LARGEST_METADATA_BYTES.snapshot + 1, 0x20));
    });
    expectRefusal(snapshot, 'update/endless-data', /snapshot\.json: endless data attack/);
  });

  it('is not even asked for where an absurd length is signed', () => {
    const refusal = attacked((repository) =>
      publish(repository, 'timestamp', {
        edit: (signed) => Object.assign(signed, { meta: { 'snapshot.json': { version: 2, length: 2 ** 40 } } }),
      }),
    );
    expectRefusal(refusal, 'update/endless-data', /2\.snapshot\.json: endless data attack/);
  });
});

describe('a partial file', () => {
  it.each(['2.snapshot.json', '2.targets.json', '2.site-plant.json'])('%s is refused', (name) => {
    const refusal = attacked((repository) => {
      repository.publishAll();
      repository.objects.set(name, repository.objects.get(name)!.slice(0, -1));
    });
    expectRefusal(refusal, 'update/partial', /signed bytes came/);
  });

  it('that cannot be parsed is refused where no length is signed', () => {
    const refusal = attacked((repository) => {
      repository.hashes = false;
      repository.publishAll();
      repository.objects.set('2.snapshot.json', repository.objects.get('2.snapshot.json')!.slice(0, -1));
    });
    expectRefusal(refusal, 'update/metadata', /cannot be read/);
  });

  it.each(['2.snapshot.json', '2.targets.json', '2.site-plant.json'])('set without %s is refused', (name) => {
    const refusal = attacked((repository) => {
      repository.publishAll();
      repository.objects.delete(name);
    });
    expectRefusal(refusal, 'update/missing', /the server has none/);
  });
});

describe('rollback', () => {
  const fromSecond = (older: (repository: TufRepository) => void) => attacked(older, (repository) => repository.publishAll());

  it('to an earlier timestamp is refused', () => {
    const repository = new TufRepository();
    const earlier = repository.timestamp;
    repository.publishTimestamp();
    const trust = trustIn(repository);
    refreshFrom(trust, repository, NOW);
    expect(() => refreshFrom(trust, { ...repository, objects: repository.objects, timestamp: earlier }, NOW)).toThrow(
      expect.objectContaining({
        code: 'update/rollback',
        message: expect.stringMatching(/timestamp\.json: rollback attack: version 1 after 2/),
      }),
    );
  });

  it('to an earlier snapshot by a stolen timestamp key is refused', () => {
    const refusal = fromSecond((repository) =>
      publish(repository, 'timestamp', { edit: (signed) => Object.assign(signed, { meta: { 'snapshot.json': { version: 1 } } }) }),
    );
    expectRefusal(refusal, 'update/rollback', /names snapshot 1 after 2/);
  });

  it.each(['targets.json', 'site-plant.json'])('to an earlier %s by stolen timestamp and snapshot keys is refused', (path) => {
    const refusal = fromSecond((repository) =>
      publish(repository, 'snapshot', { edit: ({ meta }) => Object.assign(meta as object, { [path]: { version: 1 } }) }),
    );
    expectRefusal(refusal, 'update/rollback', new RegExp(`names version 1 of ${path} after 2`));
  });

  it('by a snapshot that no longer names the site is refused', () => {
    const refusal = fromSecond((repository) =>
      publish(repository, 'snapshot', { edit: ({ meta }) => delete (meta as Record<string, unknown>)['site-plant.json'] }),
    );
    expectRefusal(refusal, 'update/rollback', /no longer names site-plant\.json/);
  });

  it('to an earlier root under a later name is refused', () => {
    const refusal = attacked(
      (repository) => repository.objects.set('4.root.json', repository.objects.get('2.root.json')!),
      (repository) => {
        repository.publishRoot();
        repository.publishRoot();
      },
    );
    expectRefusal(refusal, 'update/rollback', /4\.root\.json: rollback attack: version 2 after 3/);
  });

  it('but the same root again only ends the chain', () => {
    const repository = new TufRepository();
    repository.objects.set('2.root.json', repository.objects.get('1.root.json')!);
    const asked: string[] = [];
    expect(refreshFrom(trustIn(repository), repository, NOW, asked).targets).toHaveLength(1);
    expect(asked.slice(0, 2)).toEqual(['2.root.json', '1.snapshot.json']);
  });
});

describe('freeze', () => {
  it.each(NON_ROOT)('on an expired %s is refused, at first sight and on what was trusted', (role) => {
    const expired = attacked((repository) => {
      repository.expires[role] = '2026-04-30T23:59:59Z';
      publish(repository, role);
    });
    expectRefusal(expired, 'update/freeze', /freeze attack/);

    const repository = new TufRepository();
    repository.expires[role] = '2026-05-02T00:00:00Z';
    repository.publishAll();
    const trust = trustIn(repository);
    refreshFrom(trust, repository, NOW);
    // At the very second of the expiry it has expired.
    expect(() => refreshFrom(trust, repository, Date.parse('2026-05-02T00:00:00Z'))).toThrow(
      expect.objectContaining({ code: 'update/freeze' }),
    );
  });

  it('on an expired root is refused, however well it is signed, until there is a newer one', () => {
    const repository = new TufRepository();
    repository.expires.root = '2026-04-30T00:00:00Z';
    repository.publishRoot();
    const trust = trustIn(repository);
    expectRefusal(
      refusalOf(() => refreshFrom(trust, repository, NOW)),
      'update/freeze',
      /root\.json: freeze attack/,
    );
    repository.expires.root = '2027-04-30T00:00:00Z';
    repository.publishRoot();
    expect(refreshFrom(trust, repository, NOW).targets).toHaveLength(1);
  });

  it.each(['soon', '2026', '2030-02-30T99:00:00Z', '2030-01-01T00:00:00+02:00', ''])(
    'by an expiry that is no date-time, "%s", is refused',
    (expires) => {
      const refusal = attacked((repository) => publish(repository, 'timestamp', { edit: (signed) => Object.assign(signed, { expires }) }));
      expectRefusal(refusal, 'update/metadata', /"expires" is not a UTC date-time/);
    },
  );
});

describe('a time', () => {
  it('of signing after the expiry is refused', () => {
    const refusal = attacked((repository) =>
      publish(repository, 'timestamp', { edit: (signed) => Object.assign(signed, { signed_at: '2031-01-01T00:00:00Z' }) }),
    );
    expectRefusal(refusal, 'update/metadata', /signed after it expires/);
  });
});

describe('fast-forward', () => {
  it.each([LARGEST_VERSION + 1, 2 ** 52])('to version %i, after which no other could come, is refused', (version) => {
    const timestamp = attacked((repository) => publish(repository, 'timestamp', { edit: (signed) => Object.assign(signed, { version }) }));
    expectRefusal(timestamp, 'update/fast-forward', /fast-forward attack/);
    const snapshot = attacked((repository) =>
      publish(repository, 'snapshot', { edit: ({ meta }) => Object.assign(meta as object, { 'site-plant.json': { version } }) }),
    );
    expectRefusal(snapshot, 'update/fast-forward', /site-plant\.json: fast-forward attack/);
  });

  it('of the root, leaving versions out, is refused', () => {
    const refusal = attacked((repository) => {
      repository.publishRoot();
      repository.publishRoot();
      repository.objects.set('2.root.json', repository.objects.get('3.root.json')!);
    });
    expectRefusal(refusal, 'update/fast-forward', /2\.root\.json: fast-forward attack/);
  });

  it.each([0, -1, 1.5])('and version %d, which no file may have, is refused', (version) => {
    // What cannot be signed at all (canonical JSON has no fractions) is put there after the signature.
    const refusal = attacked((repository) => {
      repository.publishTimestamp();
      repository.timestamp = Buffer.from(
        repository.timestamp.toString().replace(/"version":2,"expires"/, `"version":${version},"expires"`),
      );
    });
    expectRefusal(refusal, 'update/metadata', /not a whole number from 1/);
  });
});

describe('mix-and-match', () => {
  it.each(['snapshot', 'targets', 'site'] as const)(
    'of a genuine %s of another moment is refused, by its hash and by its version alone',
    (role) => {
      for (const hashes of [true, false]) {
        const refusal = attacked((repository) => {
          repository.hashes = hashes;
          const [, earlier] = repository.latest(role);
          repository.publishAll();
          repository.objects.set(repository.latest(role)[0], earlier);
        });
        expectRefusal(refusal, 'update/mix-and-match', /mix-and-match attack/);
      }
    },
  );

  it('of a file of another role is refused', () => {
    const refusal = attacked((repository) => {
      repository.hashes = false;
      repository.publishAll();
      repository.objects.set('2.targets.json', repository.objects.get('2.snapshot.json')!);
    });
    expectRefusal(refusal, 'update/metadata', /targets\.json: cannot be read/);
  });
});

describe('the wrong target', () => {
  it('of another site, in a role that is not trusted with it, is left out and named', () => {
    const repository = new TufRepository();
    repository.targets = { 'plant/1-bundle': bundleTarget(), 'harbour/9-bundle': bundleTarget({ number: 9 }) };
    publish(repository, 'site');
    const { targets, refusals } = refreshFrom(trustIn(repository), repository, NOW);
    expect(targets.map(({ path }) => path)).toEqual(['plant/1-bundle']);
    expect(refusals).toHaveLength(1);
    expectRefusal(refusals[0], 'update/wrong-target', /harbour\/9-bundle/);
  });

  it('of a form of another time is left out and named', () => {
    const repository = new TufRepository();
    publish(repository, 'site', {
      edit: ({ targets }) =>
        Object.assign(targets as object, { 'plant/2': { length: 1, hashes: { sha256: 'aa' }, custom: { kind: 'firmware' } } }),
    });
    const { targets, refusals } = refreshFrom(trustIn(repository), repository, NOW);
    expect(targets).toHaveLength(1);
    expectRefusal(refusals[0], 'update/metadata', /plant\/2/);
  });

  it('of a site that the repository does not know is refused before anything of it is asked for', () => {
    const repository = new TufRepository();
    const asked: string[] = [];
    expect(() => refreshFrom(new UpdateTrust('harbour', repository.installed, 0), repository, NOW, asked)).toThrow(
      expect.objectContaining({ code: 'update/missing', message: expect.stringContaining('site-harbour') }),
    );
    expect(asked.at(-1)).toBe('1.targets.json');
  });

  it('of a repository without consistent snapshots is refused', () => {
    const refusal = attacked((repository) =>
      repository.publishRoot({ edit: (signed) => Object.assign(signed, { consistent_snapshot: false }) }),
    );
    expectRefusal(refusal, 'update/metadata', /consistent snapshots/);
  });
});

describe('any byte of any metadata', () => {
  it.each([true, false])('that changes is refused or makes no difference (hashes in the metadata: %s)', (hashes) => {
    const repository = new TufRepository();
    repository.hashes = hashes;
    repository.publishRoot();
    repository.publishAll();
    const genuine = refreshFrom(trustIn(repository), repository, NOW);
    const files = [
      ...(['root', ...NON_ROOT] as const).map((role) => repository.latest(role)),
      ['1.root.json', repository.objects.get('1.root.json')!] as const,
    ];
    let refused = 0;
    fc.assert(
      fc.property(fc.nat(files.length - 1), fc.nat(), fc.integer({ min: 1, max: 255 }), (which, at, flip) => {
        const [name, bytes] = files[which];
        const changed = Uint8Array.from(bytes);
        changed[at % bytes.length] ^= flip;
        const objects = new Map(repository.objects).set(name, changed);
        const timestamp = name.endsWith('timestamp.json') ? changed : repository.timestamp;
        try {
          const trust = new UpdateTrust(repository.site, { 'root.json': objects.get('1.root.json')!, referenceTimeMs: 0 }, 0);
          expect(refreshFrom(trust, { timestamp, objects }, NOW)).toEqual(genuine);
        } catch (cause) {
          if (!(cause instanceof TrustRefusal)) throw cause;
          refused++;
        }
      }),
      { numRuns: 400 },
    );
    expect(refused).toBeGreaterThan(200);
  });
});

it('each code says in a line what it stands for', () => {
  for (const [code, meaning] of Object.entries(TRUST_REFUSALS)) {
    expect(code).toMatch(/^update\/[a-z-]+$/);
    expect(meaning).toMatch(/^[^\n]{20,160}$/);
  }
});
