import { describe, expect, it } from 'vitest';
import { measureAdaptation } from '../../benchmarks/adapt/measure.ts';
import { measureFleetPush } from '../../benchmarks/push/fleet.ts';
import { findMosquitto } from '../../benchmarks/streams/mosquitto.ts';
import { measureSwap } from '../../benchmarks/swap/measure.ts';
import { PROGRAMS } from '../support/live-gateway.ts';

const SHIPPED = new URL('../../models/shipped/plant', import.meta.url).pathname;
const silent = { bundle: SHIPPED, programs: PROGRAMS, progress: () => {} };

describe('what tremolo bench measures', () => {
  it('push: every gateway proves and confirms, and each chunk goes out once for all', async () => {
    const result = await measureFleetPush({ ...silent, gateways: 4 });
    expect(result).toMatchObject({ gateways: 4, confirmed: 4, status: 'finished', processes: 1 });
    expect(result.chunksPublished).toBe(result.chunksDistinct);
    expect(result.bytesOnWire).toBeGreaterThan(12_000);
  });

  it.skipIf(!findMosquitto())('swap: two bundles share the windows, none is lost or doubled', async () => {
    const result = await measureSwap({ ...silent, streams: 10, seconds: 20 });
    if ('skipped' in result) return;
    expect(result).toMatchObject({ windowsLost: 0, windowsDoubled: 0 });
    expect(Object.keys(result.bundles)).toHaveLength(2);
    expect(Object.values(result.bundles).reduce((sum, count) => sum + count, 0)).toBe(result.windowsExpected);
    const parts = [result.before, result.during, result.after];
    for (const { max } of parts) expect(max).toBeGreaterThan(0);
    expect(result.whole.max).toBe(Math.max(...parts.map(({ max }) => max)));
  });

  it('adapt: a whole adaptation through the bundle that is shipped', async () => {
    const report = await measureAdaptation(SHIPPED, PROGRAMS);
    expect(report.steps).toBe(60);
    expect(report.peakMb).toBeGreaterThan(report.beforeMb);
  });
});
