import { readdirSync } from 'node:fs';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Bundle, bankLayout, bundleModel, FILES } from '../../models/bundle/bundle.ts';
import { emptyTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { InferenceThread } from '../../runtime/io/inference-thread.ts';
import { LARGEST_BATCH, MODEL, RESULT } from '../../runtime/io/protocol.ts';
import type { WindowJob } from '../../runtime/stream/stream-gateway.ts';
import { StreamMemory } from '../../runtime/stream/stream-memory.ts';
import { WASM_FOLDER } from '../support/engines.ts';
import { largestError, numbers } from '../support/numbers.ts';
import { makeReferenceBundle } from '../support/reference-bundle.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';

const [STREAMS, WINDOW, CHANNELS, CLASSES] = [5, 512, 2, 3];
const SCALES = Float32Array.of(1e-4, 2e-4);

/** Sound of one stream, int16 codes [512, 2]. */
const codesOf = (stream: number) => Int16Array.from(numbers(WINDOW * CHANNELS, stream + 1, -20_000, 20_000));

function jobOf(stream: number, more: Partial<WindowJob> = {}): WindowJob {
  const where = { epoch: 0, endSequence: WINDOW, endDeviceUs: 0, arrivedMs: 0 };
  return { stream, end: WINDOW, name: `s${stream}`, adapter: 0, reference: 0, scales: SCALES, ...where, ...more };
}

let tiny: { folder: string; bundle: Bundle };
beforeAll(async () => {
  tiny = await makeTinyBundle();
});

const threads: InferenceThread[] = [];
afterEach(async () => {
  for (const thread of threads.splice(0)) await thread.stop();
});

async function startThread(bundleFolder: string, engine: 'onnxruntime' | 'wasm' = 'onnxruntime', paced?: boolean) {
  const memory = new StreamMemory({ streams: STREAMS, window: WINDOW, channels: CHANNELS });
  for (let stream = 0; stream < STREAMS; stream++) memory.append(stream, codesOf(stream), 0, WINDOW);
  const programs = new URL(`file://${WASM_FOLDER}`);
  const thread = await InferenceThread.start({ bundleFolder, memory, engine, paced, programs }, (error) => {
    throw error;
  });
  threads.push(thread);
  const run = (jobs: readonly WindowJob[]) => new Promise<{ failure?: string }>((resolve) => thread.run(jobs, resolve));
  return { thread, memory, run };
}

/** The deciding graph asked directly, one window at a time. */
async function asked(bundle: Bundle, graph: string, streams: readonly number[], more: Record<string, TensorData> = {}) {
  const session: Session = await (await createOnnxruntimeEngine()).load(bundleModel(bundle, graph));
  const rows: Record<string, TensorData>[] = [];
  for (const stream of streams) {
    rows.push(
      await session.run({
        window: { type: 'int16', shape: [1, WINDOW, CHANNELS], values: codesOf(stream) },
        scale: { type: 'float32', shape: [1, CHANNELS], values: SCALES },
        adapterBank: emptyTensor('float32', [1, bankLayout(bundle.manifest).size]),
        adapterIndex: emptyTensor('int32', [1]),
        ...more,
      }),
    );
  }
  await session.release();
  return rows;
}

it.runIf(process.platform === 'linux')('a bundle that is refused leaves no thread behind, so that a process can end', async () => {
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-refused-')), 'bundle');
  await cp(tiny.folder, folder, { recursive: true });
  await writeFile(join(folder, FILES.infer), 'no graph');
  const threadsNow = () => readdirSync('/proc/self/task').length;
  const refused = () => expect(startThread(folder)).rejects.toMatchObject({ code: 'bundle/size' });
  // The first brings threads of the runtime's own to life.
  await refused();
  const before = threadsNow();
  for (let refusal = 0; refusal < 3; refusal++) await refused();
  expect(threadsNow() - before).toBeLessThan(3);
});

describe.each(['onnxruntime', 'wasm'] as const)('the inference thread on %s', (engine) => {
  it('answers each window as its graph does, whatever else is in the batch, and measures what it ran', async () => {
    const { thread, run } = await startThread(tiny.folder, engine);
    const expected = await asked(tiny.bundle, FILES.infer, [0, 1, 2, 3, 4]);
    for (const streams of [[0, 1, 2, 3, 4], [3], [4, 2], [3, 3, 0]]) {
      expect((await run(streams.map((stream) => jobOf(stream)))).failure).toBeUndefined();
      streams.forEach((stream, row) => {
        expect(thread.results.states[row]).toBe(RESULT.decided);
        expect(thread.results.models[row]).toBe(MODEL.primary);
        // The int8 engine bound of the bundle's own known answers, on probabilities.
        expect(largestError(thread.answer(row).probabilities, expected[stream].probabilities.values as Float32Array)).toBeLessThan(0.05);
      });
    }
    expect(thread.results.dualStatus()).toMatchObject({ mode: 'primary', decidedByBackup: 0, backupFailures: 0, returns: 0 });
  });
});

describe('the inference thread', () => {
  it('refuses a window that newer samples have overwritten, and decides the others of its batch', async () => {
    const { thread, memory, run } = await startThread(tiny.folder);
    for (let round = 0; round < 4; round++) memory.append(1, codesOf(1), 0, WINDOW);
    await run([jobOf(0), jobOf(1), jobOf(2)]);
    expect([...thread.results.states.subarray(0, 3)]).toEqual([RESULT.decided, RESULT.overrun, RESULT.decided]);
  });

  it('ends after the run that it is in: ended inside it, it would take the process along', async () => {
    for (let round = 0; round < 3; round++) {
      const { thread } = await startThread(tiny.folder);
      const last = LARGEST_BATCH - 1;
      thread.results.states[last] = RESULT.overrun;
      thread.run(
        Array.from({ length: LARGEST_BATCH }, (_, row) => jobOf(row % STREAMS)),
        () => {},
      );
      // The last window has been copied: the run begins.
      while (thread.results.states[last] === RESULT.overrun) await new Promise(setImmediate);
      await thread.stop();
      const sum = thread.answer(last).probabilities.reduce((total, probability) => total + probability, 0);
      expect(sum).toBeCloseTo(1, 3);
    }
  });

  it('runs the back-up on its stated share of windows while the primary is well', async () => {
    const { thread, run } = await startThread(tiny.folder);
    for (let round = 0; round < 64; round++) await run([0, 1, 2, 3].map((stream) => jobOf(stream)));
    // One more batch, so that the comparison after the last counted one is over.
    await run([jobOf(0)]);
    const { compared } = thread.results.dualStatus()!;
    // Untrained models agree or not as it happens: a suspicion may add to the share, never take from it.
    expect(compared).toBeGreaterThanOrEqual((4 * 64) / 16);
  });

  it('decides a stream with its own adapter from the next batch on, and the others of the batch without', async () => {
    const { thread, run } = await startThread(tiny.folder);
    const { size } = bankLayout(tiny.bundle.manifest);
    const values = numbers(size, 78, -0.3, 0.3);
    const rows = new Float32Array(2 * size);
    rows.set(values, size);
    const given = { adapterBank: { type: 'float32' as const, shape: [2, size], values: rows } };
    const index = (row: number) => ({ ...given, adapterIndex: { type: 'int32' as const, shape: [1], values: Int32Array.of(row) } });
    const [without] = await asked(tiny.bundle, FILES.infer, [1], index(0));
    const [own] = await asked(tiny.bundle, FILES.infer, [1], index(1));
    const of = (made: Record<string, TensorData>, name: string) => made[name].values as Float32Array;
    expect(largestError(of(own, 'probabilities'), of(without, 'probabilities'))).toBeGreaterThan(1e-3);
    thread.setAdapter(STREAMS, Float32Array.from(values));
    await run([jobOf(1, { adapter: STREAMS }), jobOf(1)]);
    for (const [row, expected] of [own, without].entries()) {
      expect(largestError(thread.answer(row).probabilities, of(expected, 'probabilities'))).toBeLessThan(1e-5);
      expect(largestError(thread.answer(row).embedding!, of(expected, 'embedding'))).toBeLessThan(1e-4);
    }
    expect(() => thread.setAdapter(0, Float32Array.from(values))).toThrow(RangeError);
  });

  it.each([
    [true, MODEL.backup],
    [false, MODEL.primary],
  ])(
    'gives way to the back-up where it is too slow for the pace of the streams; only where they have one (paced: %s)',
    async (paced, model) => {
      const folder = await mkdtemp(join(tmpdir(), 'tremolo-fast-'));
      try {
        await cp(tiny.folder, folder, { recursive: true });
        // A window each 26 nanoseconds: no run keeps up.
        const manifest = { ...tiny.bundle.manifest, recipe: { ...tiny.bundle.manifest.recipe, sampleRateHz: 1e10 } };
        await writeFile(join(folder, FILES.manifest), JSON.stringify(manifest));
        const { thread, run } = await startThread(folder, 'onnxruntime', paced);
        for (let round = 0; round < 3; round++) await run([jobOf(0)]);
        expect(thread.results.models[0]).toBe(model);
        expect(thread.results.dualStatus()!.switches.slow).toBe(paced ? 1 : 0);
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  );

  it('gives neither features nor novelty where the graph has none', async () => {
    const { thread, run } = await startThread(tiny.folder);
    await run([jobOf(0)]);
    expect(thread.answer(0)).toMatchObject({ features: undefined, novelty: undefined });
    expect(() => thread.setReference(1, new Float32Array(7))).toThrow(RangeError);
  });
});

describe('a bundle whose graph takes references', () => {
  let made: { folder: string; bundle: Bundle };
  beforeAll(async () => {
    made = await makeReferenceBundle(tiny.folder, { healthyScores: [0.1, 0.2], commissioningWindows: 5 });
  });

  it('is proved by its known answers, and measures features', async () => {
    const { thread, run } = await startThread(made.folder);
    expect(thread.proof.largestAnswerError).toBe(0);
    expect(thread.results.dualStatus()).toBeUndefined();
    const size = thread.results.shape.features;
    const none = { referenceBank: emptyTensor('float32', [1, size]), referenceIndex: emptyTensor('int32', [1]) };
    const expected = await asked(made.bundle, FILES.infer, [0, 1], none);
    await run([jobOf(0), jobOf(1)]);
    for (const row of [0, 1]) {
      expect(largestError(thread.answer(row).features!, expected[row].features.values as Float32Array)).toBeLessThan(1e-5);
      expect(largestError(thread.answer(row).probabilities, expected[row].probabilities.values as Float32Array)).toBeLessThan(1e-5);
    }
  });

  it('refuses a window of which the model makes no numbers, and decides the others of its batch', async () => {
    const { thread, run } = await startThread(made.folder);
    // A float graph: in an int8 graph NaN becomes a number when it is quantised, so scales that are none are refused at the codec already.
    await run([jobOf(0), jobOf(1, { scales: Float32Array.of(Number.NaN, 1) }), jobOf(2)]);
    expect([...thread.results.states.subarray(0, 3)]).toEqual([RESULT.decided, RESULT.notFinite, RESULT.decided]);
  });

  it('decides a stream with its own reference, and the others of the batch without', async () => {
    const { thread, run } = await startThread(made.folder);
    const size = thread.results.shape.features;
    const values = numbers(size, 77, -2, 2);
    const rows = new Float32Array(2 * size);
    rows.set(values, size);
    const given = { type: 'float32' as const, shape: [2, size], values: rows };
    const index = (row: number) => ({ type: 'int32' as const, shape: [1], values: Int32Array.of(row) });
    const [without] = await asked(made.bundle, FILES.infer, [1], { referenceBank: given, referenceIndex: index(0) });
    const [own] = await asked(made.bundle, FILES.infer, [1], { referenceBank: given, referenceIndex: index(1) });
    const probabilitiesOf = (row: number) => thread.answer(row).probabilities;
    // Guards the test: a reference that changes nothing would prove nothing.
    expect(largestError(own.probabilities.values as Float32Array, without.probabilities.values as Float32Array)).toBeGreaterThan(1e-3);
    thread.setReference(STREAMS, values);
    await run([jobOf(1, { reference: STREAMS }), jobOf(1)]);
    expect(largestError(probabilitiesOf(0), own.probabilities.values as Float32Array)).toBeLessThan(1e-5);
    expect(largestError(probabilitiesOf(1), without.probabilities.values as Float32Array)).toBeLessThan(1e-5);
    expect(probabilitiesOf(0)).toHaveLength(CLASSES);
    expect(() => thread.setReference(0, values)).toThrow(RangeError);
  });
});
