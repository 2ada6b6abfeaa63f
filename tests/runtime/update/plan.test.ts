import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Target } from '../../../runtime/contracts/update.ts';
import { misfits, wantedBy } from '../../../runtime/update/plan.ts';
import type { Wanted } from '../../../runtime/update/record.ts';
import { bundleTarget } from '../../support/tuf-repository.ts';

const BASE = 'b1'.repeat(32);
const OTHER_BASE = 'b2'.repeat(32);
const RUNNING = { bundle: '00'.repeat(32), base: BASE };

const wanted = (target: Target, sha256 = RUNNING.bundle): Wanted => ({ length: 1, sha256, target });
const bundle = (number: number, custom: Partial<Target> = {}, sha256?: string) => wanted(bundleTarget({ number, ...custom }), sha256);
const adapter = (number: number, custom: Partial<Extract<Target, { kind: 'adapter' }>> = {}) => {
  const { parts: _, ...common } = bundleTarget({ number }) as Extract<Target, { kind: 'bundle' }>;
  return wanted({ ...common, kind: 'adapter', base: BASE, stream: 'spindle', ...custom });
};
const strays = (targets: readonly Wanted[]) => misfits(targets, 'press-7', 'linux-arm64', RUNNING);

describe('what a gateway may run', () => {
  it('lists it, is not withdrawn, and is for its platform or for all', () => {
    const targets = [bundle(1), bundle(2, { withdrawn: true }), bundle(3, { gateways: [] }), bundle(4, { platforms: ['linux-x64'] })];
    expect(wantedBy(targets, 'press-7', 'linux-arm64')).toEqual([targets[0]]);
  });
});

describe('a misfit', () => {
  it('is what is newest but for another platform, by name; never a variant of a push that has one for this', () => {
    const mistaken = bundle(2, { platforms: ['linux-x64'], deployment: 'mistaken' });
    expect(strays([bundle(1), mistaken])).toMatchObject([
      { code: 'update/wrong-target', message: expect.stringMatching(/mistaken.*linux-x64.*linux-arm64/) },
    ]);
    expect(strays([bundle(3), mistaken])).toEqual([]);
    expect(strays(['linux-x64', 'linux-arm64', 'linux-arm'].map((platform) => bundle(1, { platforms: [platform] })))).toEqual([]);
    expect(strays([bundle(2, { platforms: ['x'], withdrawn: true }), bundle(2, { platforms: ['x'], gateways: ['press-8'] })])).toEqual([]);
  });

  it('is an adapter of another base, unless it is older than the bundle that changed the base', () => {
    const stray = adapter(5, { base: OTHER_BASE });
    expect(strays([bundle(4), adapter(2), stray])).toMatchObject([
      { code: 'update/wrong-target', message: expect.stringContaining(OTHER_BASE) },
    ]);
    expect(strays([bundle(6), adapter(2), stray])).toEqual([]);
  });

  it('is no adapter for the base of a bundle that does not decide yet', () => {
    expect(strays([bundle(4, {}, 'ff'.repeat(32)), adapter(5, { base: OTHER_BASE })])).toEqual([]);
  });

  it('does not depend on the order of the list', () => {
    const targets = [
      bundle(1),
      bundle(3),
      bundle(5, { platforms: ['x'] }),
      adapter(4, { base: OTHER_BASE }),
      adapter(6, { stream: 'pump' }),
    ];
    const messages = (list: readonly Wanted[]) =>
      strays(list)
        .map(({ message }) => message)
        .sort();
    expect(messages(targets)).toHaveLength(2);
    fc.assert(
      fc.property(fc.shuffledSubarray(targets, { minLength: targets.length }), (shuffled) => {
        expect(messages(shuffled)).toEqual(messages(targets));
      }),
      { numRuns: 50 },
    );
  });
});
