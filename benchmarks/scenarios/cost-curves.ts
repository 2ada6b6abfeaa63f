import { pathToFileURL } from 'node:url';
import { adapterLayout } from '../../models/adapters/adapter.ts';
import { bankRow, DEFAULT_SCHEME } from '../../models/adapters/scheme.ts';
import type { TensorData } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../models/networks/attention-network.ts';
import type { NetworkOptions } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import { int8Graph, load } from '../fixtures/inference.ts';
import { fixture, rawPatchNetwork } from '../fixtures/networks.ts';
import { machineWindows, uniformNumbers, windowFeeds } from '../fixtures/windows.ts';
import { fitGrowth } from '../harness/growth.ts';
import { digits, inProcess, interleaveAnew, quantile, ratio, ratioDetails, type Sides } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped, Target } from '../harness/scenario.ts';
import { measureStreams } from '../streams/measure.ts';

const BATCH = 16;
const budget = ({ quick }: Context, seconds: number) => ({ seconds: quick ? 0.5 : seconds, sliceMs: 10, leastRounds: quick ? 2 : 5 });

/** Points of a curve and the law that they follow. */
function curve(sizes: readonly number[], costs: readonly number[], samples: number, unit: string): Measured {
  const { factor, exponent, explained } = fitGrowth(sizes, costs);
  return {
    figure: exponent,
    samples,
    details: {
      law: `${digits(factor)} ${unit} * size ^ ${digits(exponent)}, explains ${digits(explained)}`,
      ...Object.fromEntries(sizes.map((size, at) => [`at ${size}`, `${digits(costs[at])} ${unit}`])),
    },
  };
}

/** Processor time a window of int8 networks of several sizes, in turns. */
async function networks(context: Context, sizes: readonly number[], options: (size: number) => NetworkOptions): Promise<Measured> {
  const engine = await createOnnxruntimeEngine();
  const subjects: { graph: Awaited<ReturnType<typeof int8Graph>>; feeds: Record<string, TensorData> }[] = [];
  for (const size of sizes) {
    const made = fixture(options(size));
    subjects.push({ graph: await int8Graph(engine, made), feeds: windowFeeds(made.network, machineWindows(made.network, BATCH)) });
  }
  const series = await interleaveAnew(
    async (): Promise<Sides> => {
      const sessions = await Promise.all(subjects.map(({ graph }) => load(engine, graph)));
      return {
        variants: sessions.map((session, at) => inProcess(String(sizes[at]), () => session.run(subjects[at].feeds))),
        release: async () => void (await Promise.all(sessions.map((session) => session.release()))),
      };
    },
    budget(context, 3 * sizes.length),
  );
  return curve(
    sizes,
    series.map(({ cpuMs }) => quantile(cpuMs, 0.5) / BATCH),
    series[0].cpuMs.length,
    'ms a window',
  );
}

const network = (id: string, what: string, sizes: readonly number[], options: (size: number) => NetworkOptions): Scenario => ({
  id: `cost.${id}`,
  what: `int8 network, batch ${BATCH}, one thread, ${what} ${sizes[0]} to ${sizes.at(-1)}: exponent of growth of processor time a window`,
  unit: '',
  measure: (context) => networks(context, sizes, options),
});

const streams: Scenario = {
  id: 'cost.streams',
  what: 'gateway, 1 to 2000 streams: exponent of growth of its processor time a second',
  unit: '',
  async measure({ quick, root, progress }): Promise<Measured | Skipped> {
    const sizes = quick ? [1, 50] : [1, 10, 50, 100, 200, 500, 1000, 2000];
    const costs: number[] = [];
    const details: Record<string, string> = {};
    for (const count of sizes) {
      const result = await measureStreams({
        streams: count,
        seconds: quick ? 3 : 15,
        aligned: false,
        seed: 1,
        bundle: `${root}models/shipped/plant`,
        programs: pathToFileURL(`${root}dist/`),
        progress,
      });
      if ('skipped' in result) return result;
      costs.push(result.gatewayCpuMsPerStreamSecond * count);
      const { latencyMs, windowsDecided, windowsExpected, rssMb } = result;
      details[`${count} streams`] = `${windowsDecided} of ${windowsExpected} windows, p99 ${latencyMs.p99} ms, ${rssMb} MB`;
    }
    const made = curve(sizes, costs, sizes.length, 'ms a second');
    return { ...made, details: { ...made.details, ...details } };
  },
};

/** A bank of different adapters after the zero row, and the rows that a batch of windows takes. */
function bankFeeds(count: number, batch: number, rows: (window: number) => number): Record<string, TensorData> {
  const { network } = fixture(STUDENT);
  const layout = adapterLayout(DEFAULT_SCHEME, network);
  const bank = new Float32Array((1 + count) * layout.size);
  for (let row = 1; row <= count; row++)
    bank.set(bankRow(DEFAULT_SCHEME, layout, uniformNumbers(layout.size, row, -0.1, 0.1)), row * layout.size);
  return {
    ...windowFeeds(network, machineWindows(network, batch)),
    adapterBank: { type: 'float32', shape: [1 + count, layout.size], values: bank },
    adapterIndex: { type: 'int32', shape: [batch], values: Int32Array.from({ length: batch }, (_, window) => rows(window)) },
  };
}

/** As many batches as give every adapter its turn, each window another row. */
async function adapterSides(counts: readonly number[], batch: number, context: Context) {
  const engine = await createOnnxruntimeEngine();
  const graph = await int8Graph(engine, fixture(STUDENT), DEFAULT_SCHEME);
  return interleaveAnew(
    async (): Promise<Sides> => {
      const session = await load(engine, graph);
      const variants = counts.map((count) => {
        const random = new Random(count);
        const order = random.shuffle(Array.from({ length: count }, (_, row) => row + 1));
        const shared = bankFeeds(count, batch, (window) => order[window % count]);
        const batches = Array.from({ length: Math.ceil(count / batch) }, (_, at) => ({
          ...shared,
          adapterIndex: {
            ...shared.adapterIndex,
            values: Int32Array.from({ length: batch }, (_, window) => order[(at * batch + window) % count]),
          },
        }));
        let next = 0;
        return inProcess(String(count), () => session.run(batches[next++ % batches.length]));
      });
      return { variants, release: () => session.release() };
    },
    budget(context, 4 * counts.length),
  );
}

const adapters: Scenario = {
  id: 'cost.adapters',
  what: 'int8 student, batch 64, 1 to 1000 adapters, all different: exponent of growth of processor time',
  unit: '',
  async measure(context) {
    const counts = [1, 10, 100, 1000];
    const series = await adapterSides(counts, 64, context);
    return curve(
      counts,
      series.map(({ cpuMs }) => quantile(cpuMs, 0.5) / 64),
      series[0].cpuMs.length,
      'ms a window',
    );
  },
};

const MOST: Target = { atMost: 1.5 };
const thousand = (batch: number): Scenario => ({
  id: `adapter.thousand.batch${batch}`,
  what: `int8 student, batch ${batch}, 1,000 different adapters on one base: times the processor time of one adapter`,
  unit: 'x',
  target: MOST,
  async measure(context) {
    const [one, many] = await adapterSides([1, 1000], batch, context);
    return { figure: ratio(many, one).median, samples: many.cpuMs.length, details: ratioDetails(many, one) };
  },
});

export const COST_CURVES: readonly Scenario[] = [
  streams,
  network('channels', 'channels', [1, 2, 3, 4, 8, 16], (channels) => ({ ...STUDENT, channels })),
  network('window', 'window', [128, 256, 512, 1024, 2048, 4096], (window) => ({ ...STUDENT, window })),
  network('width', 'raw patches, width', [64, 128, 256], (width) => rawPatchNetwork(width as 64 | 128 | 256)),
  adapters,
  thousand(1),
  thousand(64),
];
