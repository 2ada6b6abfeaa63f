import { WeightFile } from '../../models/bundle/schema/weight-file.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { type AttentionNetworkOptions, STUDENT, TEACHER } from '../../models/networks/attention-network.ts';
import type { Graph } from '../../models/trace/graph.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { PRUNING_LADDER } from '../../trainer/shrink/prune.ts';
import { floatGraph, int8Graph, load } from '../fixtures/inference.ts';
import { fixture } from '../fixtures/networks.ts';
import { machineWindows, windowFeeds } from '../fixtures/windows.ts';
import { inProcess, interleaveAnew, ratio, ratioDetails, type Sides } from '../harness/interleave.ts';
import type { Context, Measured, Scenario } from '../harness/scenario.ts';

/** The shapes of a training on one channel; how many numbers they multiply does not depend on what they learned. */
const ONE_CHANNEL: AttentionNetworkOptions = { ...STUDENT, channels: 1 };
const WIDE: AttentionNetworkOptions = { ...TEACHER, channels: 1 };
const PRUNED: AttentionNetworkOptions = { ...ONE_CHANNEL, ...PRUNING_LADDER[0] };

interface Side {
  readonly name: string;
  readonly options: AttentionNetworkOptions;
  readonly int8: boolean;
}

const graphOf = async ({ options, int8 }: Side) => {
  const made = fixture(options);
  return int8 ? int8Graph(await createOnnxruntimeEngine(), made) : floatGraph(made);
};

async function timesAsFast(slower: Side, faster: Side, batch: number, { quick }: Context): Promise<Measured> {
  const engine = await createOnnxruntimeEngine();
  const { network } = fixture(slower.options);
  const feeds = windowFeeds(network, machineWindows(network, batch));
  const graphs = [await graphOf(slower), await graphOf(faster)];
  async function sides(): Promise<Sides> {
    const [one, other] = [await load(engine, graphs[0]), await load(engine, graphs[1])];
    return {
      variants: [inProcess(slower.name, () => one.run(feeds)), inProcess(faster.name, () => other.run(feeds))],
      release: async () => void (await Promise.all([one.release(), other.release()])),
    };
  }
  const [slow, fast] = await interleaveAnew(sides, { seconds: quick ? 0.5 : 6, sliceMs: 10, leastRounds: quick ? 3 : 7 });
  return { figure: ratio(slow, fast).median, samples: slow.wallMs.length, details: ratioDetails(slow, fast) };
}

/** Bytes of a graph and its weight file. */
function bytesOf(graph: Graph): { graph: number; weights: number } {
  const file = new WeightFile('weights.bin');
  const initializers = new Map([...graph.initializers].map(([name, initializer]) => [name, { ...initializer }]));
  const moved = { ...graph, initializers };
  file.take(moved);
  return { graph: encodeOnnx(moved).length, weights: file.bytes().length };
}

const total = ({ graph, weights }: { graph: number; weights: number }) => graph + weights;

async function fewerBytes(larger: Side, smaller: Side): Promise<Measured> {
  const [before, after] = [bytesOf(await graphOf(larger)), bytesOf(await graphOf(smaller))];
  const told = (one: typeof before) => `${total(one)} (graph ${one.graph}, weights ${one.weights})`;
  return {
    figure: 1 - total(after) / total(before),
    samples: 2,
    details: { [larger.name]: told(before), [smaller.name]: told(after) },
  };
}

/** Of the matrices that int8 replaces, with the scales that it adds. */
async function fewerMatrixBytes(options: AttentionNetworkOptions): Promise<Measured> {
  const float = await graphOf({ name: 'fp32', options, int8: false });
  const int8 = await graphOf({ name: 'int8', options, int8: true });
  let [before, after, matrices] = [0, 0, 0];
  for (const [name, { values }] of float.initializers) {
    const codes = int8.initializers.get(`${name}.int8`);
    const scale = int8.initializers.get(`${name}.scale`);
    if (!codes || !scale) continue;
    matrices++;
    before += 4 * values.length;
    after += codes.values.length + 4 * scale.values.length;
  }
  return { figure: 1 - after / before, samples: matrices, details: { 'fp32 bytes': before, 'int8 bytes': after } };
}

const TEACHER_SIDE: Side = { name: 'teacher fp32', options: WIDE, int8: false };
const STUDENT_SIDE: Side = { name: 'student fp32', options: ONE_CHANNEL, int8: false };
const STUDENT_INT8: Side = { name: 'student int8', options: ONE_CHANNEL, int8: true };
const PRUNED_INT8: Side = { name: 'pruned student int8', options: PRUNED, int8: true };

const speed = (id: string, what: string, sides: readonly [Side, Side], batch: number, atLeast: number): Scenario => ({
  ...{ id, what: `${what}, batch ${batch}, one thread: times as fast`, unit: 'x', target: { atLeast } },
  measure: (context) => timesAsFast(...sides, batch, context),
});

export const SHRINK: readonly Scenario[] = [
  speed('shrink.speed.deployed.batch1', 'int8 pruned student against the fp32 teacher', [TEACHER_SIDE, PRUNED_INT8], 1, 8),
  speed('shrink.speed.deployed.batch64', 'int8 pruned student against the fp32 teacher', [TEACHER_SIDE, PRUNED_INT8], 64, 8),
  speed('shrink.speed.student.batch1', 'int8 student, not pruned, against the fp32 teacher', [TEACHER_SIDE, STUDENT_INT8], 1, 8),
  speed('shrink.speed.student.batch64', 'int8 student, not pruned, against the fp32 teacher', [TEACHER_SIDE, STUDENT_INT8], 64, 8),
  speed(
    'shrink.speed.pruned',
    'pruned student against its unpruned self, both fp32',
    [STUDENT_SIDE, { name: 'pruned fp32', options: PRUNED, int8: false }],
    64,
    1.3,
  ),
  {
    id: 'shrink.bytes.teacher',
    what: 'int8 pruned student against the fp32 teacher, graph and weights: share of bytes less',
    unit: '',
    target: { atLeast: 0.97 },
    measure: () => fewerBytes(TEACHER_SIDE, PRUNED_INT8),
  },
  {
    id: 'shrink.bytes.graph',
    what: 'int8 student against itself in fp32, graph and weights: share of bytes less',
    unit: '',
    target: { atLeast: 0.65 },
    measure: () => fewerBytes(STUDENT_SIDE, STUDENT_INT8),
  },
  {
    id: 'shrink.bytes.matrices',
    what: 'int8 student against itself in fp32, quantised matrices with their scales: share of bytes less',
    unit: '',
    target: { atLeast: 0.74 },
    measure: () => fewerMatrixBytes(ONE_CHANNEL),
  },
];
