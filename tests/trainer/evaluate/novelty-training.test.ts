import { beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_SCHEME } from '../../../models/adapters/scheme.ts';
import { type Engine, emptyTensor, type Session } from '../../../models/engine/engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import type { Graph } from '../../../models/trace/graph.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceInference } from '../../../models/training/trace-inference.ts';
import type { Recording } from '../../../trainer/data/recording-set.ts';
import { cutWindows, type Windows } from '../../../trainer/data/windows.ts';
import { argmaxRows } from '../../../trainer/evaluate/metrics.ts';
import { auroc } from '../../../trainer/evaluate/novelty.ts';
import {
  calibrateNovelty,
  type FittedNovelty,
  fitReference,
  NOVELTY_CLASSES,
  noveltyGraph,
  pretextTraining,
  withoutHead,
} from '../../../trainer/evaluate/novelty-training.ts';
import { PRETEXT_CLASSES, pretextRecordings } from '../../../trainer/evaluate/pretext.ts';
import { inferenceFeeds } from '../../../trainer/release/feeds.ts';
import { quantizeCalibrated } from '../../../trainer/shrink/quantize.ts';
import { DEFAULT_SETTINGS, trainNetwork } from '../../../trainer/train/train-network.ts';
import { ENGINES } from '../../support/engines.ts';
import { samplesOf } from '../../support/recordings.ts';
import { tinyRecordings } from '../../support/tiny-bundle.ts';

const SHAPE = { window: 512, channels: 2 };
const healthyOf = (seconds: number, seed: number) => tinyRecordings(seconds, seed).filter(({ label }) => label === 'normal');

describe('healthy recordings and changed copies', () => {
  const [recording] = healthyOf(4, 5);

  it('are every change in its variants, each unlike the recording, the recording itself as it was', () => {
    const made = pretextRecordings([recording], 2, new Random(1));
    expect(made.map(({ label }) => label)).toEqual(PRETEXT_CLASSES.flatMap((label, index) => (index === 0 ? [label] : [label, label])));
    const original = samplesOf(recording);
    expect(samplesOf(made[0])).toEqual(original);
    for (const { read, length } of made.slice(1)) {
      const samples = read(0, length);
      expect(samples).toHaveLength(length * 2);
      expect(samples.every(Number.isFinite)).toBe(true);
      expect(samples).not.toEqual(original);
    }
    expect(pretextRecordings([recording], 2, new Random(1)).map(samplesOf)).toEqual(made.map(samplesOf));
  });

  it('take pieces of what is long, so that copies fit into memory', () => {
    const changed = (count: number, most: number) => {
      const made = pretextRecordings(new Array<Recording>(count).fill(recording), 1, new Random(1), most);
      return made.filter(({ label }) => label === 'noise').map(({ length }) => length);
    };
    // Two channels of 4,000 samples each: as they are, halved, and where halves would be too short for windows, fewer recordings.
    expect(changed(3, 1e6)).toEqual([4000, 4000, 4000]);
    expect(changed(1, 4000)).toEqual([2000]);
    expect(changed(9, 3 * 2 * 4096)).toEqual([4000, 4000, 4000]);
  });
});

describe('a novelty graph', () => {
  const options = { ...STUDENT, channels: 2, classes: 2, width: 16, feedForward: 32, layers: 1 };
  const settings = { ...DEFAULT_SETTINGS, steps: 80, batch: 24, learningRate: 5e-3, averaging: 0 };
  const healthy = healthyOf(30, 5);
  const share = 0.05;
  const cut = (recordings: readonly Recording[]) =>
    cutWindows(
      recordings.map((one) => ({ ...one, label: one.label === 'normal' ? 'normal' : 'novel' })),
      NOVELTY_CLASSES,
      512,
      256,
    );
  const [held, test] = [cut(healthyOf(30, 6)), cut(tinyRecordings(20, 7))];
  let engine: Engine;
  let fitted: FittedNovelty;
  let int8: Graph;

  const bank = (graph: Graph) => emptyTensor('float32', [1, graph.inputs.find(({ name }) => name === 'adapterBank')!.shape[1] as number]);
  const feeds = (graph: Graph, windows: Windows) => inferenceFeeds(windows, SHAPE, bank(graph), 0);
  async function run(graph: Graph, windows: Windows): Promise<Record<'novelty' | 'probabilities', Float32Array>> {
    const session: Session = await engine.load({ graph: encodeOnnx(graph) });
    const { novelty, probabilities } = await session.run(feeds(graph, windows));
    await session.release();
    return { novelty: novelty.values as Float32Array, probabilities: probabilities.values as Float32Array };
  }

  beforeAll(async () => {
    engine = await ENGINES.onnxruntime();
    const embedder = await trainNetwork(engine, pretextTraining(healthy, options, settings));
    const reference = await fitReference(engine, embedder, cut(healthy), settings.seed);
    fitted = { trained: withoutHead(embedder), reference, decision: { threshold: 1, slope: 1 } };
    const float = noveltyGraph(fitted, DEFAULT_SCHEME);
    const quantized = await quantizeCalibrated(engine, float, [feeds(float, cut(healthy))]);
    int8 = calibrateNovelty(quantized, (await run(quantized, held)).novelty, share).graph;
  });

  it('that has heard nothing but healthy sounds finds those that are not', async () => {
    const { novelty, probabilities } = await run(int8, test);
    const of = (label: number) => novelty.filter((_, row) => test.labels[row] === label);
    expect(auroc(of(0), of(1))).toBeGreaterThan(0.95);
    const decided = argmaxRows(probabilities, 2);
    const novel = (label: number) => {
      const rows = [...test.labels.keys()].filter((row) => test.labels[row] === label);
      return rows.filter((row) => decided[row] === 1).length / rows.length;
    };
    // 156 healthy windows that overlap: 5 % are promised, and their standard error is above 2 %.
    expect(novel(0)).toBeLessThan(0.12);
    expect(novel(1)).toBeGreaterThan(0.7);
  });

  it('calls no more than its share of the windows novel on which it was calibrated, in int8', async () => {
    const { probabilities } = await run(int8, held);
    expect(argmaxRows(probabilities, 2).filter((decided) => decided === 1).length / held.count).toBeLessThanOrEqual(share);
  });

  it('has two classes and outputs of a deciding graph', () => {
    expect(createNetwork(fitted.trained.options).parameters.size).toBe(fitted.trained.weights.parameters.length);
    const outputs = Object.fromEntries(int8.outputs.map(({ name, shape }) => [name, shape]));
    expect(outputs).toMatchObject({ logits: ['N', 2], probabilities: ['N', 2], novelty: ['N'] });
  });

  it('gives its line to no other graph', () => {
    const other = traceInference(createNetwork(options), { input: 'int16', reference: false, temperature: 1 }, fitted.trained.weights);
    expect(() => calibrateNovelty(other, new Float32Array(100))).toThrow(/does not decide by novelty/);
  });
});
