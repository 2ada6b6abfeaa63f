import { describe, expect, it } from 'vitest';
import { targetSchema } from '../../../runtime/contracts/update.ts';
import type { Device, Rollout } from '../../../trainer/fleet/rollout.ts';
import { parseSelector, select } from '../../../trainer/fleet/selector.ts';
import { siteTargets } from '../../../trainer/fleet/site-targets.ts';

const digest = (number: number) => number.toString(16).padStart(64, '0');
const CONFIRMED: Device = { outcome: 'confirmed', said: '', heardMs: 0, runs: true, succeeded: true };

function pushOf(number: number, gateways: readonly string[], more: Partial<Rollout> = {}): Rollout {
  return {
    formatVersion: 1,
    deployment: `${number}-pump-01234567`,
    number,
    createdAt: '2026-11-23T00:00:00Z',
    target: { kind: 'bundle', sha256: digest(number), bytes: 3000, parts: ['core'] },
    thresholds: { shadowWindows: 40, shadowSeconds: 120, agreement: 0.9, latencyMs: 50, alarmShareChange: 0.2, memoryBytes: 1 << 27 },
    budgetBytes: 500_000,
    platforms: [],
    objects: {},
    rules: { success: 0.9, error: 0.1, silentAfterMs: 600_000, settleMs: 0 },
    groups: [{ gateways: [...gateways], beganMs: 1 }],
    devices: Object.fromEntries(gateways.map((name) => [name, CONFIRMED])),
    status: 'finished',
    ...more,
  };
}

const adapter = (number: number, base: number): Rollout['target'] => ({
  kind: 'adapter',
  sha256: digest(number),
  bytes: 12_000,
  base: digest(base),
  stream: 'press',
});

const numbersOf = (site: string, rollouts: readonly Rollout[]) =>
  siteTargets(site, rollouts).map(({ custom }) => targetSchema.parse(custom).number);

describe('what a site is told', () => {
  it('is what its own gateways may run by now', () => {
    const rollouts = [pushOf(1, ['plant/a', 'north/b']), pushOf(2, ['north/b'])];
    const waiting = pushOf(3, [], {
      groups: [{ gateways: ['plant/a'], beganMs: 1 }, { gateways: ['plant/c'] }],
      devices: {},
      status: 'running',
    });
    const [newest, older] = siteTargets('plant', [...rollouts, waiting]).map(({ path, custom }) => ({
      path,
      ...targetSchema.parse(custom),
    }));
    expect(newest).toMatchObject({ path: 'plant/bundles/3-pump-01234567.json', number: 3, gateways: ['a'], withdrawn: false });
    expect(older).toMatchObject({ number: 1, gateways: ['a'] });
    expect(numbersOf('north', rollouts)).toEqual([2, 1]);
    expect(siteTargets('south', rollouts)).toEqual([]);
  });

  it('leaves out what has been followed twice, as long as the followers are confirmed', () => {
    const all = ['plant/a', 'plant/b'];
    const rollouts = [1, 2, 3, 4].map((number) => pushOf(number, all));
    expect(numbersOf('plant', rollouts)).toEqual([4, 3]);
    const trying = pushOf(5, ['plant/a'], { devices: {}, status: 'running' });
    expect(numbersOf('plant', [...rollouts, trying])).toEqual([5, 4, 3]);
    const gone = { ...rollouts[3], status: 'failed' as const };
    expect(numbersOf('plant', [...rollouts.slice(0, 3), gone])).toEqual([4, 3, 2]);
  });

  it('keeps an old push for the one gateway that still depends on it', () => {
    expect(numbersOf('plant', [pushOf(1, ['plant/a', 'plant/b']), pushOf(2, ['plant/a']), pushOf(3, ['plant/a'])])).toEqual([3, 2, 1]);
  });

  it('tells adapters of different bases apart, and replaces one of the same', () => {
    const rollouts = [1, 2, 3].map((number) => pushOf(number, ['plant/a'], { target: adapter(number, number === 3 ? 20 : 10) }));
    expect(numbersOf('plant', rollouts)).toEqual([3, 2]);
  });

  it('lists adapters of the three newest bases of a stream, however many there were', () => {
    const rollouts = [1, 2, 3, 4, 5, 6].map((number) => pushOf(number, ['plant/a'], { target: adapter(number, 10 + number) }));
    expect(numbersOf('plant', rollouts)).toEqual([6, 5, 4]);
    expect(numbersOf('plant', [...rollouts, pushOf(7, ['plant/b'], { target: adapter(7, 11) })])).toEqual([7, 6, 5, 4]);
  });

  it('says what was withdrawn, the last four', () => {
    const rollouts = [1, 2, 3, 4, 5, 6].map((number) => pushOf(number, ['plant/a'], { status: 'failed' }));
    const targets = siteTargets('plant', rollouts).map(({ custom }) => targetSchema.parse(custom));
    expect(targets.map(({ number, withdrawn }) => [number, withdrawn])).toEqual([3, 4, 5, 6].reverse().map((number) => [number, true]));
  });

  it('is small: the bytes that site-targets.ts states', () => {
    const gateways = Array.from({ length: 100 }, (_, index) => `plant/hall-${100 + index}`);
    const bytes = (count: number) => JSON.stringify(siteTargets('plant', [pushOf(1, gateways.slice(0, count))])[0].toJSON()).length;
    expect(bytes(1)).toBeLessThan(600);
    expect((bytes(100) - bytes(1)) / 99).toBeCloseTo('"hall-100",'.length, 5);
  });
});

describe('a selector', () => {
  const known = [
    { name: 'plant/a', version: '0.1.0', state: 'online' as const, bundle: { name: 'pump', digest: 'abcdef0123' } },
    { name: 'plant/b', version: '0.2.0', state: 'offline' as const },
    { name: 'north/a', version: '0.1.0', state: 'online' as const },
  ];
  it.each([
    ['plant/b,plant/a', ['plant/b', 'plant/a']],
    ['plant/*', ['plant/a', 'plant/b']],
    ['plant/b,*/*', ['plant/b', 'north/a', 'plant/a']],
    ['*/a,version=0.1.0', ['north/a', 'plant/a']],
    ['*/*,state=online,bundle=pump', ['plant/a']],
    ['*/*,bundle=abcdef', ['plant/a']],
    ['south/new', ['south/new']],
  ])('%s', (text, gateways) => {
    expect(select(parseSelector(text), known)).toEqual(gateways);
  });

  it.each([
    '',
    'plant',
    'plant/a/b',
    'plant/a b',
    'version=0.1.0',
    'plant/*,colour=red',
    'plant/*,version=',
    '../x',
    'plant/#',
    '+/a',
    'constructor=1,plant/a',
  ])('refuses "%s"', (text) => {
    expect(() => parseSelector(text)).toThrow(expect.objectContaining({ code: 'usage/selector' }));
  });

  it('means somebody, or says who is there', () => {
    expect(() => select(parseSelector('east/*'), known)).toThrow(/the broker knows north\/a, plant\/a, plant\/b/);
  });
});
