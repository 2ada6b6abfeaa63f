import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../models/networks/attention-network.ts';
import type { NetworkOptions } from '../../models/networks/index.ts';
import { floatGraph, int8Graph, load } from '../fixtures/inference.ts';
import { fixture, rawPatchNetwork, WIDTHS, type Width } from '../fixtures/networks.ts';
import { machineWindows, windowFeeds } from '../fixtures/windows.ts';
import { largestError } from '../harness/compare.ts';
import { digits, inProcess, interleaveAnew, ratio, ratioDetails, type Sides } from '../harness/interleave.ts';
import type { Context, Measured, Scenario } from '../harness/scenario.ts';

const LEAST: Record<1 | 64, Record<Width, number>> = {
  1: { 64: 1.18, 128: 1.7, 256: 2.4 },
  64: { 64: 1.35, 128: 1.65, 256: 2.4 },
};

async function int8AgainstFloat(options: NetworkOptions, batch: number, { quick }: Context): Promise<Measured> {
  const made = fixture(options);
  const engine = await createOnnxruntimeEngine();
  const graphs = [floatGraph(made), await int8Graph(engine, made)];
  const feeds = windowFeeds(made.network, machineWindows(made.network, batch));
  let difference = 0;
  async function sides(): Promise<Sides> {
    const [float, int8] = [await load(engine, graphs[0]), await load(engine, graphs[1])];
    const [exact, rounded] = [await float.run(feeds), await int8.run(feeds)];
    difference = largestError(rounded.logits.values as Float32Array, exact.logits.values as Float32Array);
    return {
      variants: [inProcess('fp32', () => float.run(feeds)), inProcess('int8', () => int8.run(feeds))],
      release: async () => void (await Promise.all([float.release(), int8.release()])),
    };
  }
  const [slow, fast] = await interleaveAnew(sides, { seconds: quick ? 0.5 : 6, sliceMs: 10, leastRounds: quick ? 3 : 7 });
  return {
    figure: ratio(slow, fast).median,
    samples: slow.wallMs.length,
    details: { ...ratioDetails(slow, fast), 'logits differ by': digits(difference) },
  };
}

const BATCHES = [1, 64] as const;

export const INT8_SPEED: readonly Scenario[] = [
  ...BATCHES.flatMap((batch) =>
    WIDTHS.map(
      (width): Scenario => ({
        id: `int8.speed.${width}.batch${batch}`,
        what: `int8 inference, width ${width}, batch ${batch}, one thread: times as fast as fp32`,
        unit: 'x',
        target: { atLeast: LEAST[batch][width] },
        measure: (context) => int8AgainstFloat(rawPatchNetwork(width), batch, context),
      }),
    ),
  ),
  ...BATCHES.map(
    (batch): Scenario => ({
      id: `int8.speed.student.batch${batch}`,
      what: `int8 inference, student with its spectral front end, batch ${batch}, one thread: times as fast as fp32`,
      unit: 'x',
      measure: (context) => int8AgainstFloat(STUDENT, batch, context),
    }),
  ),
];
