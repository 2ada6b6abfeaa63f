import { beforeAll, describe, expect, it } from 'vitest';
import { type Engine, floatTensor, type TensorData } from '../../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { type AttentionNetworkOptions, SPECTRAL_TOKENS, STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import type { CalibrationMethod } from '../../../models/quantize/calibration.ts';
import { quantizableWeights, quantizeWeights } from '../../../models/quantize/int8.ts';
import type { Graph } from '../../../models/trace/graph.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceInference } from '../../../models/training/trace-inference.ts';
import type { NetworkWeights } from '../../../models/training/trace-training.ts';
import { cutWindows, type Windows } from '../../../trainer/data/windows.ts';
import { calibrate, type Feeds, feedBatches, quantizeCalibrated, quantizeMeasured } from '../../../trainer/shrink/quantize.ts';
import { measureStatistics } from '../../../trainer/train/run-windows.ts';
import { TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

const OPTIONS: AttentionNetworkOptions = {
  ...STUDENT,
  tokens: SPECTRAL_TOKENS,
  channels: 2,
  classes: TINY_CLASSES.length,
  width: 16,
  layers: 1,
  heads: 4,
  headDepth: 4,
  feedForward: 32,
};
const METHODS: CalibrationMethod[] = [{ kind: 'minmax' }, { kind: 'percentile', percentile: 99.9 }, { kind: 'entropy' }];

describe('int8 held against float', () => {
  const network = createNetwork(OPTIONS);
  let engine: Engine;
  let windows: Windows;
  let weights: NetworkWeights;
  let graph: Graph;
  let feeds: Feeds[];
  let labels: number[];

  const rows = (from: number, count: number): Feeds => ({
    window: floatTensor(windows.samples.subarray(from * 1024, (from + count) * 1024), [count, 512, 2]),
    scale: floatTensor(new Float32Array(2 * count).fill(1), [count, 2]),
  });
  const traced = (own: NetworkWeights) => traceInference(network, { input: 'float32', reference: false, temperature: 1 }, own);

  async function run(made: Graph, batches: readonly Feeds[], output = 'logits'): Promise<number[]> {
    const session = await engine.load({ graph: encodeOnnx(made) });
    const all: number[] = [];
    for (const batch of batches) all.push(...((await session.run(batch))[output].values as Float32Array));
    await session.release();
    return all;
  }
  /** The decisions of a graph, so that its own accuracy against them is 1. */
  async function decisions(made: Graph): Promise<number[]> {
    const logits = await run(made, feeds);
    return Array.from({ length: windows.count }, (_, row) => {
      const own = logits.slice(3 * row, 3 * row + 3);
      return own.indexOf(Math.max(...own));
    });
  }

  beforeAll(async () => {
    engine = await createOnnxruntimeEngine();
    windows = cutWindows(tinyRecordings(), TINY_CLASSES, 512, 256);
    weights = {
      parameters: network.parameters.initialize(new Random(2)),
      statistics: await measureStatistics(engine, network, windows),
    };
    graph = traced(weights);
    feeds = feedBatches(rows, windows.count, 16);
    labels = await decisions(graph);
  });

  it('cuts windows into batches without a rest lost', () => {
    const shapes = feedBatches(rows, 35, 16).map(({ window }) => window.shape[0]);
    expect(shapes).toEqual([16, 16, 3]);
  });

  it('calibrates every activation by every method, none wider than minmax', async () => {
    const [minmax, percentile, entropy] = await calibrate(engine, graph, feeds, METHODS);
    expect(minmax.size).toBeGreaterThan(8);
    for (const ranges of [percentile, entropy]) {
      expect([...ranges.keys()]).toEqual([...minmax.keys()]);
      for (const [name, { min, max }] of ranges) {
        const whole = minmax.get(name)!;
        expect(min).toBeGreaterThanOrEqual(Math.min(0, whole.min));
        expect(max).toBeLessThanOrEqual(Math.max(0, whole.max));
      }
    }
    const narrower = [...percentile].filter(([name, { max }]) => max < minmax.get(name)!.max);
    expect(narrower.length).toBeGreaterThan(0);
  });

  it('keeps nothing where int8 loses little, and tells what it lost', async () => {
    const made = await quantizeMeasured(engine, graph, feeds, { feeds, labels }, { methods: METHODS, allowed: 0.05 });
    expect(made.kept).toEqual([]);
    expect(made.tried.map(({ method }) => method)).toEqual(['minmax', 'percentile 99.9', 'entropy']);
    const [float, int8] = [await run(graph, feeds), await run(made.graph, feeds)];
    const mean = float.reduce((sum, value) => sum + value, 0) / float.length;
    const deviation = Math.sqrt(float.reduce((sum, value) => sum + (value - mean) ** 2, 0) / float.length);
    const difference = float.reduce((sum, value, index) => sum + Math.abs(value - int8[index]), 0) / float.length / deviation;
    expect(made.loss.difference).toBeCloseTo(difference, 5);
    expect(made.loss.difference).toBeGreaterThan(0);
    const [p, q] = [await run(graph, feeds, 'probabilities'), await run(made.graph, feeds, 'probabilities')];
    expect(made.loss.divergence).toBeCloseTo(
      p.reduce((sum, value, index) => sum + value * Math.log(value / q[index]), 0) / windows.count,
      6,
    );
    const decided = await decisions(made.graph);
    expect(made.loss.accuracy).toBeCloseTo(decided.filter((label, row) => label !== labels[row]).length / windows.count, 12);
    expect(Math.min(...made.tried.map(({ loss }) => loss.divergence))).toBe(made.loss.divergence);
  });

  /** The level in physical units as a feature of enormous spread and little weight: int8 has no step left for its neighbours. */
  function withOutlier(): NetworkWeights {
    const [parameters, statistics] = [weights.parameters.slice(), weights.statistics.slice()];
    const inverse = network.statistics.view(statistics, 'statistics.inverseDeviation');
    const embed = network.parameters.view(parameters, 'embed.statistics.weight');
    // Three statistics of two channels; the first of each is the level.
    for (const feature of [0, 3]) {
      inverse[feature] *= 1e4;
      for (let column = 0; column < 16; column++) embed[feature * 16 + column] *= 1e-4;
    }
    return { parameters, statistics };
  }

  it('gives the most harmful weight back to float where too much is lost, and that alone', async () => {
    const outlier = traced(withOutlier());
    const own = await decisions(outlier);
    const methods: CalibrationMethod[] = [{ kind: 'minmax' }];
    const everything = await quantizeMeasured(
      engine,
      outlier,
      feeds,
      { feeds, labels: own },
      { methods, allowed: 1, allowedDifference: 100 },
    );
    expect(everything.kept).toEqual([]);
    const allowedDifference = everything.loss.difference / 2;
    const made = await quantizeMeasured(engine, outlier, feeds, { feeds, labels: own }, { methods, allowed: 1, allowedDifference });
    expect(made.kept).toEqual(['embed.statistics.weight']);
    expect(made.options.keep).toEqual(made.kept);
    expect(made.loss.difference).toBeLessThanOrEqual(allowedDifference);
    expect(made.graph.initializers.has('embed.statistics.weight')).toBe(true);
    expect(made.graph.initializers.has('embed.spectrum.weight.int8')).toBe(true);
  });

  it('gives everything back where nothing may be lost', async () => {
    const made = await quantizeMeasured(
      engine,
      graph,
      feeds,
      { feeds, labels },
      { methods: METHODS.slice(0, 1), allowed: 0, allowedDifference: 0 },
    );
    expect([...made.kept].sort()).toEqual(quantizableWeights(graph).sort());
    expect(made.loss).toEqual({ accuracy: 0, difference: 0, divergence: 0 });
    expect(await run(made.graph, feeds)).toEqual(await run(graph, feeds));
  });

  it.each(METHODS)('a window depends on nothing but itself: %o', async (method) => {
    const outlier = traced(withOutlier());
    const own = await decisions(outlier);
    const check = { feeds, labels: own };
    // Tight enough that some weights are float and some are int8.
    const made = await quantizeMeasured(engine, outlier, feeds, check, { methods: [method], allowed: 1, allowedDifference: 0.01 });
    expect(made.kept).toContain('embed.statistics.weight');
    expect(made.kept.length).toBeLessThan(quantizableWeights(outlier).length);
    const alone = await run(made.graph, [rows(5, 1)]);
    const batch = rows(0, 32);
    // Beside windows a thousand times as loud.
    const loud: Record<string, TensorData> = { ...batch, window: floatTensor((batch.window.values as Float32Array).slice(), [32, 512, 2]) };
    (loud.window.values as Float32Array).forEach((value, at, all) => {
      if (Math.floor(at / 1024) !== 5) all[at] = 1000 * value;
    });
    for (const beside of [batch, loud]) expect((await run(made.graph, [beside])).slice(15, 18)).toEqual(alone);
  });

  it.each([7, 8] as const)('the adaptation graph gets the very same weights, of %d bits and sparse', async (weightBits) => {
    const made = await quantizeMeasured(
      engine,
      graph,
      feeds,
      { feeds, labels },
      { weightBits, sparsity: 0.2, allowed: 1, allowedDifference: 10 },
    );
    const restored = quantizeWeights(graph, quantizableWeights(graph), { ...made.options, keep: ['head.weight'] });
    for (const name of quantizableWeights(graph)) {
      if (name === 'head.weight') expect(restored.initializers.get(name)).toBe(graph.initializers.get(name));
      else expect(restored.initializers.get(`${name}.int8`)).toEqual(made.graph.initializers.get(`${name}.int8`));
    }
    const values = made.graph.initializers.get('embed.spectrum.weight.int8')!.values as Int8Array;
    expect(Math.max(...values)).toBe(weightBits === 7 ? 63 : 127);
    expect(values.some((value) => value !== 0 && Math.abs(value) < 0.2 * (weightBits === 7 ? 63 : 127))).toBe(false);
  });

  it('without a check quantises everything by minmax', async () => {
    const made = await quantizeCalibrated(engine, graph, feeds);
    const measured = await quantizeMeasured(
      engine,
      graph,
      feeds,
      { feeds, labels },
      { methods: METHODS.slice(0, 1), allowed: 1, allowedDifference: 10 },
    );
    expect(await run(made, feeds)).toEqual(await run(measured.graph, feeds));
  });

  it('refuses to measure on nothing, and labels that do not fit', async () => {
    await expect(quantizeMeasured(engine, graph, [], { feeds, labels })).rejects.toThrow('int8 needs windows');
    await expect(quantizeMeasured(engine, graph, feeds, { feeds: [], labels: [] })).rejects.toThrow('int8 needs windows');
    await expect(quantizeMeasured(engine, graph, feeds, { feeds, labels: labels.slice(1) })).rejects.toThrow(/labels for \d+ logits/);
  });
});
