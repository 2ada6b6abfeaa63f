import { beforeAll, describe, expect, it } from 'vitest';
import { floatTensor, type TensorData } from '../../../models/engine/engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import { quantizableWeights } from '../../../models/quantize/int8.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceInference } from '../../../models/training/trace-inference.ts';
import { cutWindows, type Windows } from '../../../trainer/data/windows.ts';
import { fitMahalanobis, noveltyScores } from '../../../trainer/evaluate/novelty.ts';
import { inferenceFeeds } from '../../../trainer/release/feeds.ts';
import { quantizeCalibrated } from '../../../trainer/shrink/quantize.ts';
import { measureStatistics, runWindows } from '../../../trainer/train/run-windows.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError } from '../../support/numbers.ts';
import { TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

const OPTIONS = { ...STUDENT, channels: 2, classes: 3 };
const SHAPE = { window: 512, channels: 2 };
const network = createNetwork(OPTIONS);
const INT16 = { input: 'int16', reference: false, temperature: 1 } as const;

describe('the novelty score in the graph', () => {
  const windows = cutWindows(tinyRecordings(), TINY_CLASSES, 512, 256);
  let weights: { parameters: Float32Array; statistics: Float32Array };
  let reference: ReturnType<typeof fitMahalanobis>;
  let embeddings: Float32Array;
  let int8: Uint8Array;

  const slice = (given: Windows, rows: readonly number[]): Windows => ({
    samples: Float32Array.from(rows.flatMap((row) => [...given.samples.subarray(row * 1024, (row + 1) * 1024)])),
    labels: Int32Array.from(rows, () => 0),
    recordings: Int32Array.from(rows, () => 0),
    count: rows.length,
  });
  const feeds = (rows: readonly number[]): Record<string, TensorData> => {
    const { window, scale } = inferenceFeeds(slice(windows, rows), SHAPE, floatTensor(new Float32Array(1), [1, 1]), 0);
    return { window, scale };
  };

  beforeAll(async () => {
    const engine = await ENGINES.onnxruntime();
    weights = { parameters: network.parameters.initialize(new Random(2)), statistics: await measureStatistics(engine, network, windows) };
    const plain = encodeOnnx(traceInference(network, { ...INT16, input: 'float32' }, weights));
    embeddings = await runWindows(engine, plain, windows, [512, 2], 'embedding');
    reference = fitMahalanobis(embeddings, windows.labels, { parts: 2 });
    const graph = traceInference(network, { ...INT16, novelty: { reference } }, weights);
    const all = Array.from({ length: windows.count }, (_, row) => row);
    int8 = encodeOnnx(await quantizeCalibrated(engine, graph, [feeds(all)]));
  });

  it('is that of the computation outside of it, and changes no other output', async () => {
    const engine = await ENGINES.onnxruntime();
    const float = { ...INT16, input: 'float32' } as const;
    const [plain, scoring] = [undefined, { reference }].map((novelty) =>
      encodeOnnx(traceInference(network, { ...float, novelty }, weights)),
    );
    const scores = await runWindows(engine, scoring, windows, [512, 2], 'novelty');
    expect(largestError(scores, noveltyScores(reference, embeddings))).toBeLessThan(1e-3);
    for (const output of ['logits', 'probabilities', 'embedding']) {
      expect(await runWindows(engine, scoring, windows, [512, 2], output)).toEqual(
        await runWindows(engine, plain, windows, [512, 2], output),
      );
    }
  });

  it('stays in order in int8, its matrix among the quantised ones', async () => {
    expect(quantizableWeights(traceInference(network, { ...INT16, novelty: { reference } }, weights))).toContain('novelty.weight');
    const engine = await ENGINES.onnxruntime();
    const session = await engine.load({ graph: int8 });
    const rows = Array.from({ length: 64 }, (_, row) => row);
    const scores = (await session.run(feeds(rows))).novelty.values as Float32Array;
    const float = noveltyScores(reference, embeddings).subarray(0, 64);
    const deviation = (values: Float32Array) => {
      const mean = values.reduce((a, b) => a + b / values.length, 0);
      return { mean, values: values.map((value) => value - mean) };
    };
    const [a, b] = [deviation(scores).values, deviation(float).values];
    const product = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, at) => sum + value * y[at], 0);
    expect(product(a, b) / Math.sqrt(product(a, a) * product(b, b))).toBeGreaterThan(0.9);
    await session.release();
  });

  it.each(['onnxruntime', 'onnxruntime, 2 threads'])(
    'on %s is bitwise the same alone and anywhere in a batch, logits too',
    async (name) => {
      const session = await (await ENGINES[name]()).load({ graph: int8 });
      const outputs = async (rows: readonly number[]) => {
        const { novelty, logits } = await session.run(feeds(rows));
        return rows.map((_, at) => [(novelty.values as Float32Array)[at], ...(logits.values as Float32Array).subarray(3 * at, 3 * at + 3)]);
      };
      const alone = new Map<number, number[]>();
      for (const row of [0, 1, 40, 70]) alone.set(row, (await outputs([row]))[0]);
      for (const at of [0, 1, 31, 62, 63]) {
        const rows = Array.from({ length: 64 }, (_, index) => (index === at ? 1 : index % 2 ? 70 : 40));
        const made = await outputs(rows);
        rows.forEach((row, index) => {
          expect(made[index], `row ${index}`).toEqual(alone.get(row));
        });
      }
      await session.release();
    },
  );

  it('is the same on the wasm engine, within the bound of int8', async () => {
    const [ours, wasm] = await Promise.all(
      ['onnxruntime', 'wasm'].map(async (name) => {
        const session = await (await ENGINES[name]()).load({ graph: int8 });
        return (await session.run(feeds([0, 20, 40, 60, 80]))).novelty.values as Float32Array;
      }),
    );
    expect(largestError(wasm, ours)).toBeLessThan(0.05);
  });

  it('decides where it is told to: even at the threshold, more novel with the distance', async () => {
    const engine = await ENGINES.onnxruntime();
    const scores = noveltyScores(reference, embeddings);
    const decision = { threshold: scores[3], slope: 2 };
    const graph = traceInference(network, { ...INT16, input: 'float32', novelty: { reference, decision } }, weights);
    const probabilities = await runWindows(engine, encodeOnnx(graph), windows, [512, 2], 'probabilities');
    expect(probabilities).toHaveLength(2 * windows.count);
    scores.forEach((score, row) => {
      expect(probabilities[2 * row + 1]).toBeCloseTo(1 / (1 + Math.exp(-2 * (score - decision.threshold))), 2);
    });
  });
});
