import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DisturbanceWatch, disturbedLine } from '../../benchmarks/harness/disturbance.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tremolo-kernel-'));
});
afterEach(() => rm(root, { recursive: true }));

/** Files as a kernel would show them. */
async function kernel(files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
}

const QUIET = {
  'proc/stat': 'cpu 1000 0 100 5000 0 0 0 0 0 0\n',
  'proc/loadavg': '0.1 0.1 0.1 1/90 4711\n',
  'proc/self/task/1/schedstat': '1000000 500000 3\n',
  'sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count': '7\n',
  'sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq': '2000000\n',
  'sys/class/thermal/thermal_zone0/temp': '48500\n',
};

describe('what disturbs a run', () => {
  it('is nothing where the counters stand still', async () => {
    await kernel(QUIET);
    const seen = new DisturbanceWatch(() => 0, root).finish();
    expect(seen).toMatchObject({ reasons: [], stealShare: 0, throttled: 0, mostRunnable: 0, frequencyMhz: [2000, 2000], celsius: 48.5 });
    expect(disturbedLine(seen)).toBe('');
  });

  it.each([
    ['steal', { 'proc/stat': 'cpu 1000 0 100 5050 0 0 0 50 0 0\n' }, /hypervisor took 50 %/],
    ['other programs', { 'proc/stat': 'cpu 900000 0 100 5000 0 0 0 0 0 0\n' }, /other programs kept/],
    ['waiting for a core', { 'proc/self/task/1/schedstat': '1000000 900000500000 3\n' }, /waited for a core/],
    ['throttling', { 'sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count': '9\n' }, /throttled 2 times/],
    ['a frequency that falls', { 'sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq': '1200000\n' }, /between 1200 and 2000 MHz/],
  ])('is named: %s', async (_name, change, reason) => {
    await kernel(QUIET);
    const watch = new DisturbanceWatch(() => 0, root);
    await kernel(change as unknown as Record<string, string>);
    const seen = watch.finish();
    expect(seen.reasons).toHaveLength(1);
    expect(seen.reasons[0]).toMatch(reason);
    expect(disturbedLine(seen)).toMatch(/^DISTURBED, figures not to be kept: /);
  });

  it('does not count the measurement itself', async () => {
    await kernel(QUIET);
    let ownMs = 0;
    const watch = new DisturbanceWatch(() => ownMs, root);
    await kernel({ 'proc/stat': 'cpu 1900 0 100 5000 0 0 0 0 0 0\n' });
    ownMs = 9000;
    expect(watch.finish()).toMatchObject({ reasons: [], othersCores: 0 });
  });

  it('is not known where the kernel does not tell', () => {
    expect(new DisturbanceWatch(() => 0, root).finish()).toEqual({
      reasons: [],
      stealShare: null,
      othersCores: null,
      waitedShare: null,
      mostRunnable: null,
      throttled: null,
      frequencyMhz: null,
      celsius: null,
    });
  });
});
