import { mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Stage, StageRunner } from '../../../trainer/train/stages.ts';

describe('a stage', () => {
  let folder: string;
  let worked: number;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tremolo-stages-'));
    worked = 0;
  });

  const stage = (
    inputs: unknown,
    compute: Stage<Float32Array>['compute'] = async () => Float32Array.of(++worked, 2),
  ): Stage<Float32Array> => ({
    name: 'work',
    inputs,
    compute,
    encode: (vector) => ({ value: { length: vector.length }, vectors: { vector } }),
    decode: ({ vectors }) => vectors.vector,
    summary: () => 'worked',
  });

  it('is worked on once for the same inputs, also by another run', async () => {
    const first = await (await StageRunner.open(undefined, folder)).run(stage({ rate: 1 }));
    const second = await (await StageRunner.open(undefined, folder)).run(stage({ rate: 1 }));
    expect([first.cached, second.cached, worked]).toEqual([false, true, 1]);
    expect([...second.result]).toEqual([1, 2]);
    expect(second.key).toBe(first.key);
    expect(second.seconds).toBe(first.seconds);
  });

  it('is worked on anew for other inputs', async () => {
    const runner = await StageRunner.open(undefined, folder);
    await runner.run(stage({ rate: 1 }));
    expect((await runner.run(stage({ rate: 2 }))).cached).toBe(false);
    expect(worked).toBe(2);
  });

  it('goes on from its checkpoint after an interrupt, and leaves none behind', async () => {
    const runner = await StageRunner.open(undefined, folder);
    const counting: Stage<Float32Array>['compute'] = async ({ checkpoint }) => {
      const done = ((await checkpoint.read())?.value as number | undefined) ?? 0;
      if (done === 0) {
        await checkpoint.write({ value: 41, vectors: { half: Float32Array.of(0.5) } });
        throw new Error('interrupted');
      }
      return Float32Array.of(done + 1);
    };
    await expect(runner.run(stage({}, counting))).rejects.toThrow('interrupted');
    expect([...(await runner.run(stage({}, counting))).result]).toEqual([42]);
    expect((await readdir(folder)).filter((name) => name.includes('unfinished'))).toEqual([]);
  });

  it('is worked on again where the cache holds something else than a result', async () => {
    const runner = await StageRunner.open(undefined, folder);
    await runner.run(stage({}));
    const [file] = await readdir(folder);
    await writeFile(join(folder, file), 'damaged');
    expect((await runner.run(stage({}))).cached).toBe(false);
  });

  it('does not begin once the run was stopped', async () => {
    const runner = await StageRunner.open(AbortSignal.abort(new Error('stopped')), folder);
    await expect(runner.run(stage({}))).rejects.toThrow('stopped');
    expect(worked).toBe(0);
  });
});
