import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { UpdateState } from '../../../runtime/contracts/update.ts';
import {
  advance,
  hasGoneBack,
  isErroneous,
  isSuccessful,
  listenAgain,
  newestAt,
  observe,
  pause,
  type Rollout,
  recall,
  releasedTo,
  resume,
  waitingForTimestamp,
  withdraw,
} from '../../../trainer/fleet/rollout.ts';
import { groupsOf } from '../../../trainer/fleet/waves.ts';

const TARGET = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);
const MINUTE = 60_000;

function rolloutOf(groups: readonly (readonly string[])[], rules: Partial<Rollout['rules']> = {}): Rollout {
  return {
    formatVersion: 1,
    deployment: '7-pump',
    number: 7,
    createdAt: '2026-11-23T00:00:00Z',
    target: { kind: 'bundle', sha256: TARGET, bytes: 10, parts: ['core'] },
    thresholds: { shadowWindows: 10, shadowSeconds: 60, agreement: 0.9, latencyMs: 20, alarmShareChange: 0.2, memoryBytes: 1 << 20 },
    budgetBytes: 1000,
    platforms: [],
    objects: { [TARGET]: 10 },
    rules: { success: 0.9, error: 0.1, silentAfterMs: 10 * MINUTE, settleMs: 0, ...rules },
    groups: groups.map((gateways) => ({ gateways: gateways.map((name) => `plant/${name}`) })),
    devices: {},
    status: 'running',
  };
}

const names = (count: number, from = 0) => Array.from({ length: count }, (_, index) => `g${from + index}`);

/** What a gateway says: confirmed, refused, or on its way. */
function says(what: 'confirmed' | 'installed' | 'refused' | 'fetch' | 'left', have = 0): UpdateState {
  return {
    gateway: 'anything',
    at: '2026-11-23T00:00:00Z',
    phase: what === 'confirmed' ? 'confirmed' : what === 'refused' ? 'refused' : what === 'installed' ? 'active' : 'fetch',
    deployment: what === 'left' ? undefined : '7-pump',
    progress: { have, total: 100 },
    error: what === 'refused' ? 'update/agreement' : undefined,
    confirmed: what === 'confirmed' ? ['7-pump'] : [],
    failed: what === 'refused' ? [{ deployment: '7-pump', error: 'update/agreement' }] : [],
    running: { bundle: what === 'confirmed' || what === 'installed' ? TARGET : OTHER, adapters: {} },
  };
}

function hear(rollout: Rollout, name: string, state: UpdateState | undefined, nowMs: number, online = true): Rollout {
  return observe(rollout, `plant/${name}`, { state, online }, nowMs);
}

describe("hawkBit's thresholds", () => {
  it.each([
    // finished, total, threshold, fires
    [9, 10, 0.9, true],
    [8, 10, 0.9, false],
    [10, 10, 1, true],
    [0, 10, 0, true],
    [0, 0, 1, true],
    [1, 3, 1 / 3, true],
    [7, 10, 0.7, true],
    [29, 100, 0.29, true],
  ])('success: %i of %i at %d is %s (at the threshold it fires; a group of nobody has succeeded)', (finished, total, threshold, fires) => {
    expect(isSuccessful(finished, total, threshold)).toBe(fires);
  });

  it.each([
    [1, 10, 0.1, false],
    [2, 10, 0.1, true],
    [0, 10, 0, false],
    [1, 10, 0, true],
    [0, 0, 0, false],
    [10, 10, 1, false],
    [3, 10, 0.3, false],
    [29, 100, 0.29, false],
  ])('error: %i of %i at %d is %s (at the threshold it does not; never in a group of nobody)', (errors, total, threshold, fires) => {
    expect(isErroneous(errors, total, threshold)).toBe(fires);
  });

  it('have no rounding: k of n is at the threshold k / n, whatever that is in binary', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 0, max: 2000 }), (total, part) => {
        const k = part % (total + 1);
        expect(isSuccessful(k, total, k / total)).toBe(true);
        expect(isErroneous(k, total, k / total)).toBe(false);
      }),
    );
  });
});

describe('waves', () => {
  it('are cumulative, and shares are rounded up', () => {
    expect(groupsOf('1,10%,100%', names(25)).map(({ length }) => length)).toEqual([1, 2, 22]);
    expect(groupsOf('1,10%,100%', names(5)).map(({ length }) => length)).toEqual([1, 0, 4]);
    expect(groupsOf('100%', names(3))).toEqual([['g0', 'g1', 'g2']]);
    expect(groupsOf('30%,100%', names(10)).map(({ length }) => length)).toEqual([3, 7]);
  });

  it.each(['', '0,100%', '10%', '2,1,100%', '1.5,100%', '110%', 'all', '-1,100%'])('refuse "%s"', (waves) => {
    expect(() => groupsOf(waves, names(20))).toThrow('--waves');
  });

  it('put every gateway in exactly one group', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.array(fc.integer({ min: 1, max: 100 }), { maxLength: 5 }), (count, shares) => {
        const waves = [...shares.sort((a, b) => a - b).map((share) => `${share}%`), '100%'].join(',');
        expect(groupsOf(waves, names(count)).flat()).toEqual(names(count));
      }),
    );
  });
});

describe('a rollout', () => {
  it('begins the next group when the one before is successful, and ends when nobody is waited for', () => {
    let rollout = advance(rolloutOf([['a'], ['b', 'c']]), 0);
    expect(releasedTo(rollout)).toEqual(['plant/a']);
    rollout = advance(hear(rollout, 'a', says('confirmed'), 1), 1);
    expect(releasedTo(rollout)).toEqual(['plant/a', 'plant/b', 'plant/c']);
    rollout = hear(hear(rollout, 'b', says('confirmed'), 2), 'c', says('confirmed'), 2);
    rollout = advance(rollout, 2);
    expect(rollout).toMatchObject({ status: 'finished', endedMs: 2 });
    expect(advance(rollout, 3)).toBe(rollout);
  });

  it('goes through groups of nobody at once', () => {
    let rollout = advance(rolloutOf([['a'], [], [], ['b']]), 0);
    rollout = advance(hear(rollout, 'a', says('confirmed'), 1), 1);
    expect(releasedTo(rollout)).toEqual(['plant/a', 'plant/b']);
  });

  it('does not take installed for running, nor running for confirmed', () => {
    const began = advance(rolloutOf([['a'], ['b']]), 0);
    expect(hear(began, 'a', says('installed'), 1).devices['plant/a'].outcome).toBe('updating');
    const claims = { ...says('confirmed'), running: { bundle: OTHER, adapters: {} } };
    expect(hear(began, 'a', claims, 1).devices['plant/a'].outcome).toBe('updating');
    expect(hear(began, 'a', says('confirmed'), 1).devices['plant/a'].outcome).toBe('confirmed');
  });

  it('looks at the stream that an adapter was pushed to', () => {
    const bundle = advance(rolloutOf([['a']]), 0);
    const rollout: Rollout = { ...bundle, target: { kind: 'adapter', sha256: TARGET, bytes: 1, base: OTHER, stream: 'press' } };
    const state = (stream: string) => ({ ...says('confirmed'), running: { bundle: OTHER, adapters: { [stream]: TARGET } } });
    expect(hear(rollout, 'a', state('lathe'), 1).devices['plant/a'].outcome).toBe('updating');
    expect(hear(rollout, 'a', state('press'), 1).devices['plant/a'].outcome).toBe('confirmed');
  });

  it('sends the whole fleet back when a canary fails, and says why', () => {
    let rollout = advance(rolloutOf([['a'], ['b', 'c']]), 0);
    rollout = advance(hear(rollout, 'a', says('refused'), 1), 1);
    expect(rollout).toMatchObject({ status: 'failed', endedMs: 1 });
    expect(rollout.reason).toContain('1 of 1 gateways of group 1 failed, more than 10 %; plant/a: update/agreement');
    expect(releasedTo(rollout)).toEqual(['plant/a']);
  });

  it('does not loop where two groups fail together: the error fires once (hawkBit PR #2161)', () => {
    let rollout = advance(rolloutOf([['a'], ['b']]), 0);
    rollout = advance(hear(rollout, 'a', says('confirmed'), 1), 1);
    rollout = hear(hear(rollout, 'a', says('refused'), 2), 'b', says('refused'), 2);
    const failed = advance(rollout, 2);
    expect(failed.status).toBe('failed');
    for (const nowMs of [2, 3, 100 * MINUTE]) expect(advance(failed, nowMs)).toBe(failed);
  });

  it('counts who is silent as failed after the time, and takes it back when he speaks (hawkBit #693)', () => {
    const began = hear(advance(rolloutOf([['a', 'b', 'c']], { error: 0.5 }), 0), 'a', says('confirmed'), 1);
    const known = hear(began, 'b', says('fetch', 10), 9 * MINUTE);
    expect(advance(known, 10 * MINUTE).devices['plant/c']).toBeUndefined();
    const late = advance(known, 10 * MINUTE + 1);
    expect(late.devices['plant/c']).toMatchObject({ outcome: 'failed', error: 'silent: said nothing new of it for more than 10 min' });
    expect(late.devices['plant/b'].outcome).toBe('updating');
    expect(hear(late, 'c', says('fetch', 1), 11 * MINUTE).devices['plant/c']).toMatchObject({ outcome: 'updating' });
    expect(hear(late, 'c', says('confirmed'), 11 * MINUTE).devices['plant/c'].outcome).toBe('confirmed');
  });

  it('waits for who had to stop and will try again, and knows that he does', () => {
    const began = advance(rolloutOf([['a'], ['b']]), 0);
    const stopped = { ...says('fetch', 5), phase: 'refused' as const, error: 'update/slow: nothing came for 30 s' };
    const rollout = advance(hear(began, 'a', stopped, 1), 1);
    expect(rollout.status).toBe('running');
    expect(rollout.devices['plant/a']).toMatchObject({ outcome: 'updating', error: 'tries again: update/slow: nothing came for 30 s' });
    expect(waitingForTimestamp(rollout, () => stopped)).toEqual(['plant/a']);
    expect(waitingForTimestamp(rollout, () => says('fetch', 6))).toEqual([]);
    const confirmed = hear(rollout, 'a', says('confirmed'), 2);
    expect(confirmed.devices['plant/a'].error).toBeUndefined();
    expect(waitingForTimestamp(confirmed, () => stopped)).toEqual([]);
    const looking = hear(rollout, 'a', { ...stopped, phase: 'metadata', error: undefined }, 3);
    for (const silent of [rollout, looking])
      expect(advance(silent, 11 * MINUTE)).toMatchObject({
        status: 'failed',
        reason: expect.stringContaining('it said last: update/slow: nothing came for 30 s'),
      });
  });

  it('takes repeating the same for silence', () => {
    let rollout = advance(rolloutOf([['a']]), 0);
    for (let minute = 1; minute <= 10; minute++) rollout = hear(rollout, 'a', { ...says('fetch', 5), wireBytes: minute }, minute * MINUTE);
    expect(advance(rollout, 12 * MINUTE).status).toBe('failed');
  });

  it('takes being stopped at the same place again and again for silence, as by a full disk', () => {
    let rollout = advance(rolloutOf([['a']]), 0);
    const stopped = { ...says('fetch', 5), phase: 'refused' as const, error: 'update/disk: no space left' };
    const turn = [says('fetch', 5), stopped, { ...stopped, phase: 'metadata' as const, error: undefined }];
    for (let minute = 1; minute <= 10; minute++) {
      for (const state of turn) rollout = advance(hear(rollout, 'a', state, minute * MINUTE), minute * MINUTE);
    }
    expect(rollout).toMatchObject({ status: 'running', devices: { 'plant/a': { error: 'tries again: update/disk: no space left' } } });
    expect(advance(hear(rollout, 'a', says('fetch', 6), 11 * MINUTE), 12 * MINUTE).status).toBe('running');
    const given = advance(rollout, 12 * MINUTE);
    expect(given).toMatchObject({ status: 'failed', reason: expect.stringContaining('it said last: update/disk: no space left') });
  });

  it('takes a round that ends each time before it comes further for silence, however many stages it has', () => {
    let rollout = advance(rolloutOf([['a']]), 0);
    const at = (phase: UpdateState['phase'], error?: string) => ({ ...says('fetch', 8), phase, error });
    const round = [says('fetch', 8), at('verify'), at('answers'), at('refused', 'update/disk: no thread'), at('metadata')];
    for (let minute = 1; minute <= 12; minute++) {
      for (const state of round) rollout = advance(hear(rollout, 'a', state, minute * MINUTE), minute * MINUTE);
    }
    expect(rollout).toMatchObject({ status: 'failed', reason: expect.stringContaining('it said last: update/disk: no thread') });
  });

  it('forgives silence while nobody listened', () => {
    const began = hear(advance(rolloutOf([['a']]), 0), 'a', says('fetch', 5), 1);
    expect(advance(began, 20 * MINUTE).status).toBe('failed');
    expect(advance(listenAgain(began, 20 * MINUTE), 20 * MINUTE).status).toBe('running');
  });

  it('sees who falls back after success (hawkBit #446)', () => {
    let rollout = advance(rolloutOf([['a'], ['b']]), 0);
    rollout = advance(hear(rollout, 'a', says('confirmed'), 1), 1);
    rollout = advance(hear(rollout, 'a', says('left'), 2), 2);
    expect(rollout.status).toBe('failed');
    expect(rollout.devices['plant/a'].error).toContain('fell back after it had confirmed');
  });

  it('waits with the next group until the one before is well: connected, running it, and long enough (hawkBit PR #2867)', () => {
    const began = advance(rolloutOf([['a'], ['b']], { settleMs: 1000 }), 0);
    const online = hear(began, 'a', says('confirmed'), 10);
    const early = advance(online, 10);
    expect(releasedTo(early)).toEqual(['plant/a']);
    expect(releasedTo(advance(early, 1009))).toEqual(['plant/a']);
    expect(releasedTo(advance(early, 1010))).toEqual(['plant/a', 'plant/b']);
    const gone = hear(early, 'a', says('confirmed'), 500, false);
    expect(releasedTo(advance(gone, 5000))).toEqual(['plant/a']);
    expect(releasedTo(advance(hear(gone, 'a', says('confirmed'), 6000), 6000))).toEqual(['plant/a', 'plant/b']);
    const never = advance(gone, 500 + 10 * MINUTE + 1);
    expect(never.status).toBe('failed');
    expect(never.reason).toContain('gone after it had confirmed');
  });

  it('pauses where neither rule fires and nobody is left to wait for', () => {
    let rollout = advance(rolloutOf([['a', 'b', 'c', 'd']], { error: 0.5 }), 0);
    for (const name of ['a', 'b', 'c']) rollout = hear(rollout, name, says('confirmed'), 1);
    rollout = advance(hear(rollout, 'd', says('refused'), 1), 1);
    expect(rollout.status).toBe('paused');
    expect(rollout.reason).toContain('3 of 4 confirmed, 4 are needed');
  });

  it('begins nothing while paused, but still goes back on errors; resumes with all of the time', () => {
    const paused = pause(hear(advance(rolloutOf([['a'], ['b']]), 0), 'a', says('fetch', 1), 1), 'by hand');
    const confirmed = advance(hear(paused, 'a', says('confirmed'), 2), 2);
    expect(releasedTo(confirmed)).toEqual(['plant/a']);
    expect(releasedTo(advance(resume(confirmed, 3), 3))).toEqual(['plant/a', 'plant/b']);
    expect(advance(hear(paused, 'a', says('refused'), 2), 2).status).toBe('failed');
    const late = resume(paused, 30 * MINUTE);
    expect(late.reason).toBeUndefined();
    expect(advance(late, 30 * MINUTE).status).toBe('running');
  });

  it('after its end still sees who loses it for good, and nobody who is on the way back from a later push', () => {
    const ended = advance(hear(advance(rolloutOf([['a']]), 0), 'a', says('confirmed'), 1), 1);
    const away = advance(hear(ended, 'a', says('left'), 2), 2);
    expect(away.status).toBe('finished');
    expect(advance(hear(away, 'a', says('confirmed'), 3), 20 * MINUTE).status).toBe('finished');
    expect(advance(away, 20 * MINUTE).status).toBe('failed');
  });

  it('has gone back when nobody runs it and nobody is about to', () => {
    const began = hear(hear(advance(rolloutOf([['a', 'b']]), 0), 'a', says('confirmed'), 1), 'b', says('fetch'), 1);
    let rollout = withdraw(began, 'aborted', 'by hand', 2);
    expect(hasGoneBack(rollout)).toBe(false);
    rollout = hear(rollout, 'a', says('left'), 3);
    expect(hasGoneBack(rollout)).toBe(false);
    rollout = hear(rollout, 'b', says('left'), 3);
    expect(hasGoneBack(rollout)).toBe(true);
    expect(advance(rollout, 60 * MINUTE)).toBe(rollout);
    // Who leaves it because it was withdrawn has not failed.
    expect(rollout.devices['plant/a'].outcome).toBe('confirmed');
  });

  it('that is taken back from one gateway loses nothing by its leaving, and goes on without it', () => {
    const began = hear(hear(advance(rolloutOf([['a', 'b'], ['c']]), 0), 'a', says('confirmed'), 1), 'b', says('fetch'), 1);
    let rollout = recall(began, ['plant/b'], 'too loud', 2);
    expect(releasedTo(rollout)).toEqual(['plant/a']);
    expect(hasGoneBack(rollout, ['plant/b'])).toBe(false);
    rollout = hear(rollout, 'b', { ...says('left'), failed: [{ deployment: '7-pump', error: 'update/withdrawn' }] }, 3);
    expect(hasGoneBack(rollout, ['plant/b'])).toBe(true);
    rollout = advance(rollout, 60 * MINUTE);
    expect(releasedTo(rollout)).toEqual(['plant/a', 'plant/c']);
    rollout = advance(hear(rollout, 'c', says('confirmed'), 61 * MINUTE), 61 * MINUTE);
    expect(rollout.status).toBe('finished');
    const again = recall(rollout, ['plant/a'], 'too loud', 62 * MINUTE);
    expect(again.status).toBe('finished');
    // Who goes back has not lost it, however long that takes.
    expect(advance(hear(again, 'a', says('left'), 63 * MINUTE), 99 * MINUTE)).toMatchObject({ status: 'finished' });
    expect(recall(again, ['plant/c'], 'too loud', 64 * MINUTE)).toMatchObject({ status: 'rolledBack', reason: 'too loud' });
  });

  it('is what a gateway goes back from if it is the newest that it runs or is about to', () => {
    const first = hear(advance(rolloutOf([['a', 'b', 'c']]), 0), 'a', says('confirmed'), 1);
    const second: Rollout = { ...hear(advance(rolloutOf([['a', 'b', 'c']]), 0), 'b', says('refused'), 1), deployment: '8-pump', number: 8 };
    expect(newestAt([first, second], 'plant/a')?.number).toBe(8);
    expect(newestAt([first, second], 'plant/b')?.number).toBe(7);
    expect(newestAt([first, recall(second, ['plant/c'], 'x', 2)], 'plant/c')?.number).toBe(7);
    expect(newestAt([first, withdraw(second, 'aborted', 'x', 2)], 'plant/a')?.number).toBe(7);
    expect(newestAt([first], 'plant/d')).toBeUndefined();
  });

  it('never begins a group before the one before has succeeded, whatever is heard in whatever order', () => {
    const word = fc.record({
      gateway: fc.integer({ min: 0, max: 5 }),
      what: fc.constantFrom('confirmed', 'refused', 'fetch', 'left', 'installed'),
      waitMs: fc.integer({ min: 0, max: 4 * MINUTE }),
      online: fc.boolean(),
    } as const);
    fc.assert(
      fc.property(fc.array(word, { maxLength: 60 }), fc.constantFrom(0, 0.1, 0.5, 1), (words, error) => {
        let rollout = advance(rolloutOf([names(1), names(2, 1), names(3, 3)], { error, success: 0.5 }), 0);
        let nowMs = 0;
        let ended = false;
        const succeeded = [false, false, false];
        for (const { gateway, what, waitMs, online } of words) {
          nowMs += waitMs;
          const before = releasedTo(rollout).length;
          rollout = advance(hear(rollout, `g${gateway}`, says(what), nowMs, online), nowMs);
          for (const [index, { gateways }] of rollout.groups.entries()) {
            const confirmed = gateways.filter((name) => rollout.devices[name]?.outcome === 'confirmed').length;
            succeeded[index] ||= confirmed / gateways.length >= 0.5;
            if (rollout.groups[index + 1]?.beganMs !== undefined) expect(succeeded[index]).toBe(true);
          }
          // What has been withdrawn is given to nobody more, and never comes back.
          if (ended) expect(releasedTo(rollout).length).toBe(before);
          if (ended) expect(rollout.status).toBe('failed');
          ended ||= rollout.status === 'failed';
          expect(advance(rollout, nowMs)).toEqual(rollout);
        }
      }),
    );
  });
});
