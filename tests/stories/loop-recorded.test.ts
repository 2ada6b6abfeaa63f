import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readLoopDisk } from '../../trainer/demo/loop/disk.ts';
import { GATEWAY_STEPS, judgeLoop, type LoopTruth, type LoopVerdict } from '../../trainer/demo/loop/judge.ts';
import { readTraffic } from '../../trainer/demo/loop/traffic.ts';
import { tremolo } from '../support/tremolo-command.ts';

const BEARINGS = process.env.TREMOLO_DATA && join(process.env.TREMOLO_DATA, 'cwru12');

it.skipIf(!BEARINGS || !existsSync(BEARINGS))(
  'npm start -- --data closes the loop on real recordings, on the change that was measured to cost most (needs TREMOLO_DATA)',
  async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-recorded-')), 'kept');
    try {
      // Two loads and few steps: the command of the README takes four.
      const chosen = ['--where', 'role=main', '--where', 'load_hp=0,2', '--channels', 'DE', '--steps', '60'];
      const { code, report, stderr, stdout } = await tremolo('demo', '--data', BEARINGS!, ...chosen, '--keep', folder, '--json');
      expect(code, stderr.slice(-3000)).toBe(0);
      const { change, steps, loopClosed } = report as unknown as LoopVerdict & { change: string };
      expect(steps.map(({ name }) => name)).toEqual(GATEWAY_STEPS);
      const accuracy = (name: string) => steps.find((step) => step.name === name)!.accuracy!;
      expect(accuracy('decides') - accuracy('degrades')).toBeGreaterThan(0.3);
      expect(accuracy('recovers')).toBeGreaterThanOrEqual(0.95);
      // All that could have been shown, with its cost, and the reason for what is.
      for (const other of ['load_hp goes from 0 to 2', 'load_hp goes from 2 to 0', change]) expect(stderr).toContain(`%  ${other}`);
      expect(stderr).toMatch(new RegExp(`shown, since it costs most \\([\\d.]+ points\\): ${change.replace(/[()]/g, '\\$&')}`));
      expect(stdout).toContain(change);
      // Another reads the same from what went over the broker and lies on the disk.
      const truth: LoopTruth = JSON.parse(await readFile(join(folder, 'truth.json'), 'utf8'));
      const disk = await readLoopDisk(folder, truth.site);
      expect(judgeLoop(await readTraffic(join(folder, 'traffic.ndjson')), truth, disk, GATEWAY_STEPS)).toEqual({ loopClosed, steps });
    } finally {
      await rm(join(folder, '..'), { recursive: true, force: true });
    }
  },
  600_000,
);
