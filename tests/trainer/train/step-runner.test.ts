import { afterEach, describe, expect, it } from 'vitest';
import { floatTensor } from '../../../models/engine/engine.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceUpdate } from '../../../models/training/trace-training.ts';
import { planPartition } from '../../../trainer/train/accumulate-memory.ts';
import { cutBatch } from '../../../trainer/train/accumulate-parts.ts';
import { type EngineName, openEngine, PROGRAMS } from '../../../trainer/train/engines.ts';
import { ParallelRunner } from '../../../trainer/train/parallel.ts';
import { openStepRunner, type StepRunner } from '../../../trainer/train/step-runner.ts';
import { largestError } from '../../support/numbers.ts';
import { CLASSES, feedsOf, network, RATES, trainingOf, weights } from './feeds.ts';

const open: StepRunner[] = [];
afterEach(async () => {
  for (const runner of open.splice(0)) await runner.release();
});

async function runnerOf(
  batch: number,
  partBatch: number,
  workers: number,
  { distillation = false, engineName = 'onnx', signal }: { distillation?: boolean; engineName?: EngineName; signal?: AbortSignal } = {},
): Promise<StepRunner> {
  const runner = await openStepRunner({
    engine: await openEngine('onnx'),
    engineName,
    network,
    training: trainingOf(batch, distillation),
    weights,
    initial: weights.parameters,
    partition: { partBatch, parts: Math.ceil(batch / partBatch), workers },
    signal,
  });
  open.push(runner);
  return runner;
}

/** Losses, norms and the trained vector after some steps of different batches. */
async function train(runner: StepRunner, batch: number, distillation = false) {
  const outcomes: number[] = [];
  for (let seed = 1; seed <= 3; seed++) {
    const { loss, gradientNorm } = await runner.step(feedsOf(batch, distillation, seed), RATES);
    outcomes.push(loss, gradientNorm);
  }
  return { outcomes, trainable: runner.optimizer.trainable.slice() };
}

describe('a step in micro-batches', () => {
  it.each([
    { title: 'halves', batch: 8, partBatch: 4, distillation: false },
    { title: 'single samples', batch: 5, partBatch: 1, distillation: false },
    { title: 'parts that overlap, because the batch is no multiple', batch: 10, partBatch: 4, distillation: false },
    { title: 'with a teacher', batch: 8, partBatch: 4, distillation: true },
    { title: 'with a teacher, parts that overlap', batch: 7, partBatch: 3, distillation: true },
  ])('is that of the whole batch, samples and classes weighted: $title', async ({ batch, partBatch, distillation }) => {
    const whole = await train(await runnerOf(batch, batch, 1, { distillation }), batch, distillation);
    const cut = await train(await runnerOf(batch, partBatch, 1, { distillation }), batch, distillation);
    expect(largestError(cut.outcomes, whole.outcomes)).toBeLessThan(1e-5);
    expect(largestError(cut.trainable, whole.trainable)).toBeLessThan(1e-5);
    expect(largestError(whole.trainable, weights.parameters)).toBeGreaterThan(1e-3);
  });

  it('leaves out parts that weigh nothing', () => {
    const feeds = { ...feedsOf(6), sampleWeight: floatTensor(Float32Array.of(1, 1, 0, 0, 0, 1), [6]) };
    const parts = cutBatch(feeds, { batch: 6, partBatch: 2 });
    expect(parts.map(({ firstRow }) => firstRow)).toEqual([0, 4]);
    expect(parts.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 12);
    expect(cutBatch({ ...feeds, classWeight: floatTensor(new Float32Array(CLASSES), [CLASSES]) }, { batch: 6, partBatch: 2 })).toEqual([]);
  });

  it('says which input is missing or no whole batch', async () => {
    const runner = await runnerOf(8, 4, 1);
    const { window, ...rest } = feedsOf(8);
    await expect(runner.step(rest, RATES)).rejects.toThrow('graph input window is missing');
    const odd = floatTensor(window.values.slice(0, 6 * 512) as Float32Array, [6, 512, 1]);
    await expect(runner.step({ ...rest, window: odd }, RATES)).rejects.toThrow(/window is \[6,512,1\]/);
  });
});

describe('training on worker threads', () => {
  it('gives the very bits of one thread that accumulates the same parts, with 2 and with 3 workers, run after run', async () => {
    const [one, two, three, again] = await Promise.all(
      [1, 2, 3, 3].map(async (workers) => train(await runnerOf(10, 3, workers, { distillation: true }), 10, true)),
    );
    expect(two).toEqual(one);
    expect(three).toEqual(one);
    expect(again).toEqual(one);
  });

  it('takes the same step where the threads open another engine', async () => {
    const expected = await train(await runnerOf(8, 4, 2), 8);
    const wasm = await train(await runnerOf(8, 4, 2, { engineName: 'wasm' }), 8);
    expect(largestError(wasm.outcomes, expected.outcomes)).toBeLessThan(2e-5);
    expect(largestError(wasm.trainable, expected.trainable)).toBeLessThan(2e-5);
  });

  it('reports the memory that the process took', async () => {
    const runner = await runnerOf(8, 4, 2);
    await runner.step(feedsOf(8), RATES);
    expect(runner.peakRssBytes).toBeGreaterThan(50e6);
    expect(runner.peakRssBytes).toBeLessThan(8e9);
  });

  it('stops in the middle of a step when it is aborted', async () => {
    const controller = new AbortController();
    const runner = await runnerOf(8, 1, 2, { signal: controller.signal });
    const step = runner.step(feedsOf(8), RATES);
    controller.abort(new Error('enough'));
    await expect(step).rejects.toThrow('enough');
    await expect(runner.step(feedsOf(8), RATES)).rejects.toThrow('enough');
    const aborted = AbortSignal.abort(new Error('before it began'));
    await expect(runnerOf(8, 4, 2, { signal: aborted })).rejects.toThrow('before it began');
  });

  it('fails with the cause when a worker dies, in a step and in every later one', async () => {
    const runner = await runnerOf(8, 4, 2);
    const { window, ...rest } = feedsOf(8);
    await expect(runner.step(rest, RATES)).rejects.toThrow(/worker thread training \d died: graph input window is missing/);
    await expect(runner.step({ ...rest, window }, RATES)).rejects.toMatchObject({ cause: { message: 'graph input window is missing' } });
  });

  it('fails when a worker cannot load the graph, and leaves no thread behind', async () => {
    const engine = await openEngine('onnx');
    const update = () => engine.load({ graph: encodeOnnx(traceUpdate(network, {})) });
    const request = {
      engineName: 'onnx' as const,
      gradient: new Uint8Array([1, 2, 3]),
      update: await update(),
      initial: weights.parameters,
      shape: { batch: 8, partBatch: 4 },
      workers: 2,
      programs: PROGRAMS,
    };
    await expect(ParallelRunner.start(request)).rejects.toThrow(/worker thread training \d died: /);
    await expect(ParallelRunner.start({ ...request, update: await update(), programs: new URL('file:///nowhere/') })).rejects.toThrow(
      /died/,
    );
  });
});

describe('a partition', () => {
  const request = { network, training: trainingOf(96), weights, workers: 1, baseBytes: 100 * 2 ** 20 };
  const MIB = 2 ** 20;

  it('gives every worker one part where memory is no matter', () => {
    expect(planPartition(request)).toMatchObject({ partBatch: 96, parts: 1, workers: 1 });
    expect(planPartition({ ...request, workers: 2 })).toMatchObject({ partBatch: 48, parts: 2, workers: 2 });
    expect(planPartition({ ...request, workers: 5 })).toMatchObject({ partBatch: 20, parts: 5, workers: 5 });
    expect(planPartition({ ...request, training: trainingOf(2), workers: 8 })).toMatchObject({ partBatch: 1, parts: 2, workers: 2 });
  });

  it('makes the parts smaller as the budget shrinks, never the batch', () => {
    const sizes = [300, 160, 150, 146].map((budget) => {
      const plan = planPartition({ ...request, memoryBytes: budget * MIB });
      expect(plan.estimatedBytes).toBeLessThanOrEqual(budget * MIB);
      return plan;
    });
    for (const { partBatch, parts } of sizes) {
      expect(partBatch * parts).toBeGreaterThanOrEqual(96);
      expect(partBatch * (parts - 1)).toBeLessThan(96);
    }
    expect(sizes[0].partBatch).toBe(96);
    expect(sizes.at(-1)!.partBatch).toBeLessThan(48);
    for (let index = 1; index < sizes.length; index++) expect(sizes[index].partBatch).toBeLessThanOrEqual(sizes[index - 1].partBatch);
  });

  it('refuses a budget that nothing fits in, and says what would', () => {
    expect(() => planPartition({ ...request, memoryBytes: 50 * MIB })).toThrow(/one worker needs about \d+ MiB, the budget is 50 MiB/);
  });

  it('keeps what it promises', async () => {
    const plan = planPartition({ ...request, baseBytes: undefined, memoryBytes: process.memoryUsage.rss() + 128 * MIB });
    const runner = await runnerOf(96, plan.partBatch, plan.workers);
    await runner.step(feedsOf(96), RATES);
    // The feeds of the test and the garbage of tracing are not the plan's.
    expect(runner.peakRssBytes).toBeLessThan(plan.estimatedBytes! + 64 * MIB);
  });
});
