import { describe, expect, it } from 'vitest';
import type { Status } from '../../../runtime/contracts/messages.ts';
import { NameGuard } from '../../../runtime/io/name-guard.ts';

const EARLY = '2026-01-01T00:00:00.000Z';
const LATE = '2026-01-02T00:00:00.000Z';
const online = (instance: string, startedAt: string): Status => ({
  state: 'online',
  gateway: 'g',
  version: '0',
  instance,
  startedAt,
  bundle: { name: 'b', digest: 'd' },
});
const farewell = (instance: string, startedAt: string): Status => ({ ...online(instance, startedAt), state: 'offline' });
const will = (instance: string, startedAt: string): Status => ({ ...farewell(instance, startedAt), bundle: undefined });

function guardOf(instance: string, startedAt: string): NameGuard {
  const guard = new NameGuard(instance, startedAt);
  guard.published();
  return guard;
}

describe('a gateway that hears another of its name', () => {
  it('keeps the name where it was started first, and yields where later: both judge alike', () => {
    expect(guardOf('a', EARLY).observe(online('b', LATE), false, 0)).toBe('keep');
    expect(guardOf('b', LATE).observe(online('a', EARLY), false, 0)).toBe('yield');
    expect(guardOf('b', EARLY).observe(online('a', EARLY), false, 0)).toBe('yield');
    expect(guardOf('a', EARLY).observe(online('b', EARLY), false, 0)).toBe('keep');
  });

  it('takes neither its own status, nor what the broker kept of an earlier life, nor a farewell for another', () => {
    const guard = new NameGuard('b', LATE);
    expect(guard.observe(online('a', EARLY), true, 0)).toBe('keep');
    guard.published();
    expect(guard.observe(online('b', LATE), true, 0)).toBe('keep');
    expect(guard.observe(farewell('a', EARLY), false, 0)).toBe('keep');
    expect(guard.rivals).toBe(0);
  });

  it('takes a last will for a sign of life only after it was thrown off itself', () => {
    const guard = guardOf('b', LATE);
    expect(guard.observe(will('a', EARLY), false, 0)).toBe('keep');
    guard.interrupted(0);
    expect(guard.observe(will('a', EARLY), true, 0)).toBe('yield');
  });

  it('takes the name back when the other says goodbye, or nothing for 10 s, but not for its last will', () => {
    const guard = guardOf('b', LATE);
    guard.observe(online('a', EARLY), false, 0);
    expect(guard.observe(will('a', EARLY), false, 1)).toBe('keep');
    expect(guard.observe(online('a', EARLY), false, 5_000)).toBe('keep');
    expect(guard.check(14_000)).toBe('keep');
    expect(guard.check(15_001)).toBe('return');
    expect(guard.waiting).toBe(false);
    guard.published();
    guard.observe(online('a', EARLY), false, 20_000);
    expect(guard.observe(farewell('a', EARLY), false, 20_001)).toBe('return');
  });
});
