import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Refusal } from '../../../trainer/refusal.ts';
import { type SearchProgress, search } from '../../../trainer/search/search.ts';
import { categorical, logUniform, uniform } from '../../../trainer/search/space.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tremolo-search-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const line = { x: uniform(0, 1) };
const later = () => new Promise((resolve) => setImmediate(resolve));

describe('search', () => {
  it('calls the objective with settings and steps, and tells of every job', async () => {
    const told: SearchProgress<typeof space>[] = [];
    const space = { rate: logUniform(1e-4, 1e-1), head: categorical('linear', 'cosine') };
    const calls: [number, number][] = [];
    const { best, trials } = await search(
      space,
      async ({ rate, head }, steps, signal, trial) => {
        expect(signal.aborted).toBe(false);
        calls.push([trial, steps]);
        return (head === 'cosine' ? 0.1 : 0) - Math.abs(Math.log10(rate / 3e-3)) - 1 / steps;
      },
      { trials: 48, seed: 4, resource: { minResource: 20, maxResource: 320 }, onTrial: (progress) => told.push(progress) },
    );
    expect(best.settings.head).toBe('cosine');
    expect(Math.abs(Math.log10(best.settings.rate / 3e-3))).toBeLessThan(0.2);
    expect(best.resource).toBe(320);
    expect(trials).toHaveLength(48);
    expect(told.map(({ job }) => [job.trial, job.resource])).toEqual(calls);
    expect(told.at(-1)!.best).toEqual(best);
    // Successive halving: less than half of what 48 full trainings take.
    expect(calls.reduce((sum, [, steps]) => sum + steps, 0)).toBeLessThan(0.5 * 48 * 320);
  });

  it('gives what the example of its documentation says', async () => {
    const { best } = await search(
      { rate: logUniform(1e-4, 1e-1), batch: categorical(32, 64, 96) },
      ({ rate, batch }, steps) => batch / 96 - Math.abs(Math.log10(rate / 2e-3)) - 1 / steps,
      { trials: 30, seed: 1, file: join(folder, 'example.jsonl'), resource: { maxResource: 320 } },
    );
    expect([best.trial, best.settings.batch, best.resource, best.score!.toFixed(3)]).toEqual([18, 96, 320, '0.977']);
  });

  it('runs as many jobs at a time as it is told, and no more', async () => {
    let [now, most] = [0, 0];
    await search(
      line,
      async ({ x }) => {
        most = Math.max(most, ++now);
        await later();
        now--;
        return x;
      },
      { trials: 20, seed: 1, parallel: 3 },
    );
    expect(most).toBe(3);
  });

  it('goes on after a failure, and keeps its reason', async () => {
    const reasons: (string | undefined)[] = [];
    const { trials, best } = await search(
      line,
      async ({ x }) => {
        if (x > 0.5) throw new Error('the loss is NaN');
        return x;
      },
      { trials: 25, seed: 1, onTrial: ({ reason }) => reasons.push(reason) },
    );
    const failed = trials.filter(({ state }) => state === 'failed');
    expect(failed.length).toBeGreaterThan(0);
    expect(reasons.filter((reason) => reason === 'the loss is NaN')).toHaveLength(failed.length);
    expect(best.score).toBeLessThanOrEqual(0.5);
  });

  it('gives up where nothing but failures comes, with their cause', async () => {
    let calls = 0;
    const broken = search(
      line,
      () => {
        calls++;
        throw new TypeError('rows is not a function');
      },
      { trials: 30, seed: 1 },
    );
    await expect(broken).rejects.toThrow(/rows is not a function/);
    await expect(broken).rejects.toMatchObject({ code: 'search/failed', cause: expect.any(TypeError) });
    expect(calls).toBe(3);
    await expect(search(line, () => Number.NaN, { trials: 2, seed: 1 })).rejects.toThrow(/none of 2 trials gave a score/);
  });

  it('stops on its signal, and the same call goes on to what an uninterrupted one finds', async () => {
    const file = join(folder, 'aborted.jsonl');
    const options = { trials: 20, seed: 3, resource: { minResource: 1, maxResource: 16 } };
    const objective = async ({ x }: { x: number }, steps: number, signal: AbortSignal) => {
      await later();
      signal.throwIfAborted();
      return x - 1 / steps;
    };
    const whole = await search(line, objective, options);
    const controller = new AbortController();
    let jobs = 0;
    const aborted = search(line, objective, {
      ...options,
      file,
      signal: controller.signal,
      onTrial: () => {
        if (++jobs === 9) setImmediate(() => controller.abort(new Error('Ctrl-C')));
      },
    });
    await expect(aborted).rejects.toThrow('Ctrl-C');
    const kept = readFileSync(file, 'utf8');
    expect(kept).not.toContain('failed');
    expect(await search(line, objective, { ...options, file })).toEqual(whole);
    expect(readFileSync(file, 'utf8').startsWith(kept)).toBe(true);
  });

  it('ends the running jobs before it rejects', async () => {
    let ended = 0;
    const crash = search(
      line,
      async (_, __, signal) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        await later();
        ended++;
        throw signal.reason;
      },
      { trials: 5, seed: 1, parallel: 3, signal: AbortSignal.timeout(20) },
    );
    await expect(crash).rejects.toThrow();
    expect(ended).toBe(3);
  });

  it('passes on what onTrial throws', async () => {
    const thrown = search(line, ({ x }) => x, {
      trials: 5,
      seed: 1,
      onTrial: () => {
        throw new Error('no room on the screen');
      },
    });
    await expect(thrown).rejects.toThrow('no room on the screen');
  });

  it('refuses to run nothing at a time', async () => {
    await expect(search(line, ({ x }) => x, { trials: 5, seed: 1, parallel: 0 })).rejects.toThrow(Refusal);
  });
});

describe('a search that is killed', () => {
  let program: string;
  beforeAll(async () => {
    program = join(folder, 'killed-search.mjs');
    const entry = new URL('killed-search.ts', import.meta.url).pathname;
    await build({ entryPoints: [entry], bundle: true, platform: 'node', format: 'esm', outfile: program, logLevel: 'warning' });
  });
  const start = (file: string, milliseconds: number) => spawn(process.execPath, [program, file, `${milliseconds}`]);
  const outputOf = async (child: ChildProcess) => {
    let text = '';
    child.stdout!.on('data', (chunk) => {
      text += chunk;
    });
    await once(child, 'close');
    return text;
  };
  const linesOf = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0);

  it('three times over (SIGKILL, in mid-trial) ends with the journal and the result of one that was not', async () => {
    const [calm, killed] = [join(folder, 'calm.jsonl'), join(folder, 'killed.jsonl')];
    const expected = await outputOf(start(calm, 0));
    expect(JSON.parse(expected).trials).toHaveLength(20);
    for (const lines of [6, 17, 30]) {
      const child = start(killed, 25);
      const closed = once(child, 'close');
      while (linesOf(killed) < lines) await new Promise((resolve) => setTimeout(resolve, 5));
      child.kill('SIGKILL');
      await closed;
    }
    expect(await outputOf(start(killed, 0))).toBe(expected);
    expect(readFileSync(killed, 'utf8')).toBe(readFileSync(calm, 'utf8'));
  });
});
