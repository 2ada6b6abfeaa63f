import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const TREMOLO = new URL('../../dist/tremolo.js', import.meta.url).pathname;
/** Tells the largest resident set of the process, in kB, as its last line on stderr. */
const PEAK = `data:text/javascript,import{readFileSync}from'node:fs';import{isMainThread}from'node:worker_threads';if(isMainThread)process.on('exit',()=>console.error(readFileSync('/proc/self/status','utf8').match(/VmHWM.*/)[0]))`;
const CEILING_MB = 450;
const STRETCH = 1 << 20;
const KINDS = ['normal', 'dull', 'beat'];
const isFull = process.platform === 'linux' && process.env.TREMOLO_SOAK !== undefined;

/** Three kinds of noise on four machines, int16 in one channel: no stretch of it occurs twice. */
async function writeNoise(folder: string, megabytes: number): Promise<string> {
  const length = Math.floor((megabytes * 2 ** 20) / 2 / KINDS.length / 4);
  const recordings = [];
  for (const [kind, label] of KINDS.entries()) {
    for (let machine = 0; machine < 4; machine++) {
      const file = `${label}${machine}.i16`;
      let last = 0;
      for (let done = 0; done < length; done += STRETCH) {
        const part = randomFillSync(new Int16Array(Math.min(STRETCH, length - done)));
        for (let t = 0; t < part.length; t++) {
          part[t] >>= 3;
          if (kind === 1) part[t] = last += (part[t] - last) >> 1;
          if (kind === 2 && (done + t) % (100 + machine) < 8) part[t] *= 4;
        }
        await appendFile(join(folder, file), new Uint8Array(part.buffer));
      }
      const format = { n_samples: length, n_channels: 1, dtype: 'int16', scale: [0.001], sample_rate_hz: 1000 };
      recordings.push({ file, label, machine, ...format });
    }
  }
  await writeFile(join(folder, 'dataset.json'), JSON.stringify({ name: `noise of ${megabytes} MB`, recordings }));
  return folder;
}

/** A command in a process of its own: its result, and the most memory that it took. */
function measured(cache: string, ...args: string[]): { result: { test: { windows: number; balancedAccuracy: number } }; peakMb: number } {
  const env = { ...process.env, XDG_CACHE_HOME: cache, NODE_OPTIONS: `--import "${PEAK}"` };
  const { status, stdout, stderr } = spawnSync(process.execPath, [TREMOLO, ...args, '--json'], { encoding: 'utf8', env });
  expect(status, stderr).toBe(0);
  return { result: JSON.parse(stdout.trim().split('\n').at(-1)!), peakMb: Number(/VmHWM:\s+(\d+) kB\s*$/.exec(stderr)![1]) / 1024 };
}

describe.skipIf(!isFull)(`a set of 600 MB${isFull ? '' : ' (skipped: takes minutes, TREMOLO_SOAK is not set; or no Linux)'}`, () => {
  const folders: string[] = [];
  const fresh = async () => {
    folders.push(await mkdtemp(join(tmpdir(), 'tremolo-large-')));
    return folders.at(-1)!;
  };
  afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

  it(`is trained and evaluated on in less than ${CEILING_MB} MB, as a small one is`, { timeout: 1_800_000 }, async () => {
    const out = join(await fresh(), 'bundle');
    const cache = await fresh();
    const large = await writeNoise(await fresh(), 600);
    const options = ['--test', 'machine=3', '--steps', '60', '--no-teacher', '--no-prune', '--no-baselines', '--no-novelty'];
    const trained = measured(cache, 'train', large, '--out', out, ...options);
    const evaluated = measured(cache, 'evaluate', out, large, '--quick');
    const small = measured(cache, 'evaluate', out, await writeNoise(await fresh(), 6), '--quick');
    process.stderr.write(
      `peak: train ${trained.peakMb.toFixed(0)} MB, evaluate ${evaluated.peakMb.toFixed(0)} MB, evaluate 6 MB ${small.peakMb.toFixed(0)} MB\n`,
    );
    expect(trained.result.test.balancedAccuracy).toBeGreaterThan(0.95);
    expect(evaluated.result.test.windows).toBeGreaterThan(200_000);
    expect(small.result.test.windows).toBeLessThan(20_000);
    for (const { peakMb } of [trained, evaluated, small]) expect(peakMb).toBeLessThan(CEILING_MB);
  });
});
