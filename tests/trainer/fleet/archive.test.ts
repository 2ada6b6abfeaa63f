import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeSafetensors } from '../../../models/bundle/schema/safetensors.ts';
import { archivable, objectsOf } from '../../../trainer/fleet/archive.ts';
import { createRepository } from '../../../trainer/fleet/authority.ts';
import { beginRollout, type Plan, readCargo } from '../../../trainer/fleet/deployment.ts';
import { type Device, isOpen, isWithdrawn, type Rollout, withdraw } from '../../../trainer/fleet/rollout.ts';
import { changeRollout, readRollouts } from '../../../trainer/fleet/rollout-store.ts';
import { listedAt } from '../../../trainer/fleet/site-targets.ts';

const digest = (number: number) => number.toString(16).padStart(64, '0');

interface Push {
  readonly gateways: readonly number[];
  readonly confirms: boolean;
  readonly status: Rollout['status'];
  readonly objects: readonly number[];
}

function rolloutOf({ gateways, confirms, status, objects }: Push, index: number): Rollout {
  const names = gateways.map((gateway) => `plant/g${gateway}`);
  const device: Device = { outcome: confirms ? 'confirmed' : 'failed', said: '', heardMs: 0, runs: confirms, succeeded: confirms };
  return {
    formatVersion: 1,
    deployment: `${index + 1}-pump`,
    number: index + 1,
    createdAt: '2026-11-23T00:00:00Z',
    target: { kind: 'bundle', sha256: digest(1000 + index), bytes: 10, parts: ['core'] },
    thresholds: { shadowWindows: 40, shadowSeconds: 120, agreement: 0.9, latencyMs: 50, alarmShareChange: 0.2, memoryBytes: 1 << 27 },
    budgetBytes: 500_000,
    platforms: [],
    objects: Object.fromEntries([[digest(1000 + index), 10], ...objects.map((object) => [digest(object), 100])]),
    rules: { success: 0.9, error: 0.1, silentAfterMs: 600_000, settleMs: 0 },
    groups: [{ gateways: names, beganMs: 1 }],
    devices: Object.fromEntries(names.map((name) => [name, device])),
    status,
  };
}

const pushes = fc.array(
  fc.record({
    gateways: fc.uniqueArray(fc.integer({ min: 0, max: 4 }), { minLength: 1 }),
    confirms: fc.boolean(),
    status: fc.constantFrom('running', 'finished', 'finished', 'finished', 'failed', 'rolledBack'),
    objects: fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { maxLength: 4 }),
  } as const),
  { maxLength: 40 },
);

describe('old pushes', () => {
  it('give up their objects oldest first, and never one that a gateway may ask for', () => {
    fc.assert(
      fc.property(pushes, fc.integer({ min: 0, max: 3000 }), (list, keptBytes) => {
        const before = list.map(rolloutOf);
        const old = new Set(archivable(before, keptBytes));
        const after = before.map((rollout): Rollout => (old.has(rollout) ? { ...rollout, archived: true } : rollout));
        const inUse = new Set(listedAt('plant', before).filter((rollout) => !isWithdrawn(rollout)));
        for (const rollout of before) if (isOpen(rollout)) inUse.add(rollout);
        for (const rollout of old) expect(inUse).not.toContain(rollout);
        // What is told to the site is the same, and all that it may fetch is there.
        const listed = listedAt('plant', after);
        expect(listed.map(({ number }) => number)).toEqual(listedAt('plant', before).map(({ number }) => number));
        const kept = objectsOf(after);
        for (const rollout of listed.filter((one) => !isWithdrawn(one)))
          for (const object of Object.keys(rollout.objects)) expect([...kept.keys()]).toContain(object);
        const bytes = (objects: ReadonlyMap<string, number>) => [...objects.values()].reduce((sum, length) => sum + length, 0);
        expect(bytes(kept)).toBeLessThanOrEqual(Math.max(keptBytes, bytes(objectsOf([...inUse]))));
        const oldest =
          after.filter((rollout) => !rollout.archived && !inUse.has(before[rollout.number - 1]))[0]?.number ?? Number.POSITIVE_INFINITY;
        for (const { number } of old) expect(number).toBeLessThan(oldest);
        expect(archivable(after, keptBytes)).toEqual([]);
        // A step back further than that ends at the configuration's bundle, and not at one that nobody has.
        const back = after.map((rollout) =>
          rollout.status === 'finished' && inUse.has(before[rollout.number - 1]) ? withdraw(rollout, 'rolledBack', '', 9) : rollout,
        );
        for (const rollout of listedAt('plant', back)) if (!isWithdrawn(rollout)) expect(rollout.archived).toBeUndefined();
      }),
    );
  });
});

describe('a repository', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tremolo-archive-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('keeps as many bytes after years of pushes as after the first', async () => {
    const fleet = join(folder, 'fleet');
    const repository = await createRepository(fleet, { folder: join(fleet, 'keys'), keys: 1, threshold: 1 }, ['plant'], new Date());
    const plan: Plan = {
      groups: [['plant/hall']],
      rules: { success: 0.9, error: 0.1, silentAfterMs: 600_000, settleMs: 0 },
      thresholds: { shadowWindows: 0, shadowSeconds: 1, agreement: 0.9, latencyMs: 100, alarmShareChange: 1, memoryBytes: 1 << 20 },
      budgetBytes: 200_000,
      platforms: [],
    };
    const lying = () => readdir(join(fleet, 'objects'));
    let bytes = 0;
    for (let value = 1; value <= 8; value++) {
      const path = join(folder, `${value}.safetensors`);
      const weights = { type: 'float32' as const, shape: [100], values: new Float32Array(100).fill(value) };
      await writeFile(path, encodeSafetensors({ tensors: { weights }, metadata: { base: digest(7) } }));
      const cargo = await readCargo(path, { stream: 'press', adapt: false });
      bytes ||= cargo.target.bytes;
      // What somebody who was killed has left, and what is none of ours.
      if (value === 4) await writeFile(join(fleet, 'objects', `${digest(99)}.x.new`), 'half');
      if (value === 4) await writeFile(join(fleet, 'objects', 'notes.txt'), 'mine');
      const { deployment } = await beginRollout(repository, cargo, plan, new Date(), 3 * bytes);
      const done: Device = { outcome: 'confirmed', said: '', heardMs: 0, runs: true, succeeded: true };
      const groups = [{ gateways: ['plant/hall'], beganMs: 1 }];
      await changeRollout(
        repository,
        deployment,
        (rollout) => ({ ...rollout, groups, devices: { 'plant/hall': done }, status: 'finished' }),
        new Date(),
      );
    }
    const rollouts = await readRollouts(repository);
    expect(rollouts.map(({ archived }) => archived ?? false)).toEqual([true, true, true, true, true, false, false, false]);
    expect((await lying()).sort()).toEqual([...rollouts.slice(5).map(({ target }) => target.sha256), 'notes.txt'].sort());
  });
});
