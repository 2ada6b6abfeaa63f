import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Target } from '../../../../runtime/contracts/update.ts';
import { desiredState } from '../../../../runtime/update/trust/desired-state.ts';
import type { TrustedTarget } from '../../../../runtime/update/trust/refresh.ts';
import { bundleTarget } from '../../../support/tuf-repository.ts';

const BASE = 'b1'.repeat(32);
const OTHER_BASE = 'b2'.repeat(32);
const identity = { gateway: 'press-7', platform: 'linux-arm64', base: BASE };

const trusted = (target: Target, path = `${target.kind}-${target.number}`): TrustedTarget => ({
  path,
  length: 1,
  sha256: '00'.repeat(32),
  target,
});
const bundle = (number: number, custom: Partial<Target> = {}) => trusted(bundleTarget({ number, ...custom }));
const adapter = (number: number, custom: Partial<Extract<Target, { kind: 'adapter' }>> = {}) => {
  const { parts: _, ...common } = bundleTarget({ number }) as Extract<Target, { kind: 'bundle' }>;
  return trusted({ ...common, kind: 'adapter', base: BASE, stream: 'spindle', ...custom });
};

describe('what a gateway shall run', () => {
  it('is the bundle with the highest number that lists it and is not withdrawn', () => {
    const targets = [bundle(1), bundle(3, { withdrawn: true }), bundle(2), bundle(4, { gateways: ['press-8'] })];
    expect(desiredState(targets, identity)).toEqual({ bundle: bundle(2), adapters: new Map(), refusals: [] });
  });

  it('is what it was installed with where nothing else is left', () => {
    expect(desiredState([bundle(1, { withdrawn: true })], identity).bundle).toBeUndefined();
    expect(desiredState([], identity)).toEqual({ bundle: undefined, adapters: new Map(), refusals: [] });
  });

  it('is one adapter a stream, the newest of the base that will run', () => {
    const targets = [adapter(1), adapter(2), adapter(3, { stream: 'pump' }), adapter(4, { withdrawn: true }), adapter(5, { gateways: [] })];
    expect(desiredState(targets, identity).adapters).toEqual(
      new Map([
        ['spindle', adapter(2)],
        ['pump', adapter(3, { stream: 'pump' })],
      ]),
    );
    expect(desiredState(targets, { ...identity, base: undefined }).adapters.size).toBe(0);
  });

  it('is never a wrong target: what is newest but for another hardware is refused by name, and the next one stands', () => {
    const state = desiredState([bundle(1), bundle(2, { platforms: ['linux-x64'], deployment: 'mistaken' })], identity);
    expect(state.bundle).toEqual(bundle(1));
    expect(state.refusals).toMatchObject([
      { code: 'update/wrong-target', message: expect.stringMatching(/mistaken.*linux-x64.*linux-arm64/) },
    ]);
  });

  it('refuses an adapter of another base, unless it is older than the bundle that changed the base', () => {
    const stray = adapter(5, { base: OTHER_BASE });
    const state = desiredState([bundle(4), adapter(2), stray], identity);
    expect(state.adapters.get('spindle')).toEqual(adapter(2));
    expect(state.refusals).toMatchObject([{ code: 'update/wrong-target', message: expect.stringContaining(OTHER_BASE) }]);
    expect(desiredState([bundle(6), adapter(2), stray], identity).refusals).toEqual([]);
  });

  it('takes its own of the variants that one push made for several platforms', () => {
    const variants = ['linux-x64', 'linux-arm64', 'linux-arm'].map((platform) =>
      trusted(bundleTarget({ platforms: [platform] }), platform),
    );
    expect(desiredState(variants, identity)).toMatchObject({ bundle: { path: 'linux-arm64' }, refusals: [] });
  });

  it('does not depend on the order of the list', () => {
    const targets = [
      bundle(1),
      bundle(3),
      bundle(5, { platforms: ['x'] }),
      adapter(2),
      adapter(4, { base: OTHER_BASE }),
      adapter(6, { stream: 'pump' }),
    ];
    const expected = desiredState(targets, identity);
    fc.assert(
      fc.property(fc.shuffledSubarray(targets, { minLength: targets.length }), (shuffled) => {
        expect(desiredState(shuffled, identity)).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });
});
