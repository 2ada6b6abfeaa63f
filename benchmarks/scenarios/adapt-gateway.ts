import { generateKeyPairSync } from 'node:crypto';
import { adapterLayout } from '../../models/adapters/adapter.ts';
import { DEFAULT_SCHEME } from '../../models/adapters/scheme.ts';
import { type Bundle, bankLayout } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { STUDENT, TEACHER } from '../../models/networks/attention-network.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import { indexOfLargest } from '../../runtime/adapt/guard.ts';
import { openLearner } from '../../runtime/io/adapt-bundle.ts';
import { signAdapter } from '../../runtime/io/adapter-statement.ts';
import { fixture } from '../fixtures/networks.ts';
import {
  accuracyOf,
  adopt,
  asSent,
  drawLabels,
  LOAD_PAIRS,
  loadWindows,
  singleLoadBundle,
  spreadRows,
  type TrueWindows,
  takeTrue,
} from '../fixtures/single-load.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

const SEEDS = [1, 2, 3];
/** As a gateway has them by default. */
const SHADOW_WINDOWS = 32;
const ANCHORS = 64;
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
const rounded = (value: number) => Number(value.toFixed(4));

/** Windows that a gateway would have had before the labels came, and those that come after. */
function recentAndLive(measured: TrueWindows): TrueWindows[] {
  const rows = spreadRows(measured.count, ANCHORS + SHADOW_WINDOWS);
  return [0, 1].map((part) =>
    takeTrue(
      measured,
      rows.filter((_, place) => (place % 3 === 2) === (part === 1)),
    ),
  );
}

const bundles = new Map<string, Promise<Bundle>>();
/** Trained once a process: several figures are of the same networks. */
function bundleOf(engine: Engine, data: string, load: number, seed: number): Promise<Bundle> {
  const key = `${load} ${seed}`;
  const known = bundles.get(key) ?? singleLoadBundle(engine, data, load, seed);
  bundles.set(key, known);
  return known;
}

const NO_DATA: Skipped = { skipped: 'TREMOLO_DATA does not name the folder of the real recording sets' };

interface PairFigures {
  readonly pair: string;
  readonly before: number;
  readonly after: number;
  readonly sourceAfter: number;
  readonly cpuSeconds: number;
  readonly refusal: string | undefined;
}

const pairRuns = new Map<string, Promise<PairFigures[]>>();

async function runPairs({ quick, progress }: Context, data: string, perClass: number): Promise<PairFigures[]> {
  const engine = await createOnnxruntimeEngine();
  const figures: PairFigures[] = [];
  for (const seed of quick ? SEEDS.slice(0, 1) : SEEDS) {
    for (const [from, to] of LOAD_PAIRS) {
      const bundle = await bundleOf(engine, data, from, seed);
      const { learner, release } = await openLearner(engine, bundle);
      const { labelled, measured } = drawLabels(await loadWindows(data, to, bundle), perClass, bundle, seed);
      const [recent, live] = recentAndLive(measured);
      const { adapter, refusal, cpuSeconds } = await adopt(learner, labelled, recent, live, bundle.manifest.classes.length, undefined);
      const pair: PairFigures = {
        pair: `${from} -> ${to}`,
        before: await accuracyOf(learner, measured, undefined),
        after: await accuracyOf(learner, measured, adapter),
        sourceAfter: await accuracyOf(learner, asSent(await loadWindows(data, from, bundle)), adapter),
        cpuSeconds,
        refusal,
      };
      await release();
      figures.push(pair);
      progress(`${perClass} a class, seed ${seed}, ${Object.values(pair).join(' ')}`);
    }
  }
  return figures;
}

async function ofPairs(
  context: Context,
  perClass: number,
  figureOf: (figures: readonly PairFigures[]) => number,
): Promise<Measured | Skipped> {
  const { TREMOLO_DATA } = process.env;
  if (!TREMOLO_DATA) return NO_DATA;
  const key = `${perClass} ${context.quick}`;
  const run = pairRuns.get(key) ?? runPairs(context, TREMOLO_DATA, perClass);
  pairRuns.set(key, run);
  const figures = await run;
  const details: Record<string, string> = {};
  for (const [from, to] of LOAD_PAIRS) {
    const own = figures.filter(({ pair }) => pair === `${from} -> ${to}`);
    const over = (value: (one: PairFigures) => number) => rounded(mean(own.map(value)));
    details[`${from} -> ${to}`] =
      `${over(({ before }) => before)} -> ${over(({ after }) => after)}, source ${over(({ sourceAfter }) => sourceAfter)}, ${over(({ cpuSeconds }) => cpuSeconds)} s, refused ${own.filter(({ refusal }) => refusal).length} of ${own.length}`;
  }
  return { figure: figureOf(figures), samples: figures.length, details };
}

/** Three labels of the two classes that the base decides worst at the new load: what the other ten lose. */
async function partial(context: Context): Promise<Measured | Skipped> {
  const { TREMOLO_DATA: data } = process.env;
  if (!data) return NO_DATA;
  const engine = await createOnnxruntimeEngine();
  const [falls, gains]: number[][] = [[], []];
  const details: Record<string, string> = {};
  for (const seed of context.quick ? SEEDS.slice(0, 1) : SEEDS) {
    for (const [from, to] of LOAD_PAIRS) {
      const bundle = await bundleOf(engine, data, from, seed);
      const classes = bundle.manifest.classes.length;
      const { learner, release } = await openLearner(engine, bundle);
      const { labelled, measured } = drawLabels(await loadWindows(data, to, bundle), 2, bundle, seed);
      const before = recalls(await learner.decide(measured, undefined), measured.labels, classes);
      const heard = [...before.keys()].filter((label) => measured.labels.includes(label));
      const [worst, second] = heard.sort((a, b) => before[a] - before[b]);
      const rows = [...labelled.labels.keys()].filter((row) => labelled.labels[row] === worst);
      const three = takeTrue(labelled, [...rows, labelled.labels.indexOf(second)]);
      const [recent, live] = recentAndLive(measured);
      const { adapter, refusal } = await adopt(learner, three, recent, live, classes, undefined);
      const after = recalls(await learner.decide(measured, adapter), measured.labels, classes);
      await release();
      const change = (isMeant: (label: number) => boolean) => mean(heard.filter(isMeant).map((label) => after[label] - before[label]));
      const [own, others] = [
        change((label) => label === worst || label === second),
        change((label) => label !== worst && label !== second),
      ];
      falls.push(-others);
      gains.push(own);
      details[`seed ${seed}, ${from} -> ${to}`] =
        `labelled ${rounded(before[worst])} and ${rounded(before[second])}: ${rounded(own)}, the others ${rounded(others)}${refusal ? `, refused (${refusal})` : ''}`;
      context.progress(`seed ${seed}, ${from} -> ${to}: ${details[`seed ${seed}, ${from} -> ${to}`]}`);
    }
  }
  return { figure: Math.max(...falls), samples: falls.length, details: { 'mean gain of the two': rounded(mean(gains)), ...details } };
}

function recalls(probabilities: Float32Array, labels: Int32Array, classes: number): number[] {
  const [right, all] = [new Float64Array(classes), new Float64Array(classes)];
  labels.forEach((label, row) => {
    all[label]++;
    if (indexOfLargest(probabilities.subarray(row * classes, (row + 1) * classes)) === label) right[label]++;
  });
  return Array.from(all, (count, label) => right[label] / Math.max(1, count));
}

/** Adaptations in a row on one stream, four of five with random labels; each begins where the last one that was accepted has left the stream. */
async function inARow(context: Context): Promise<Measured | Skipped> {
  const { TREMOLO_DATA: data } = process.env;
  if (!data) return NO_DATA;
  const engine = await createOnnxruntimeEngine();
  const bundle = await bundleOf(engine, data, 0, 1);
  const classes = bundle.manifest.classes.length;
  const { learner, release } = await openLearner(engine, bundle);
  const target = asSent(await loadWindows(data, 3, bundle));
  const source = asSent(await loadWindows(data, 0, bundle));
  const [known, here] = [source, target].map((all) => takeTrue(all, spreadRows(all.count, 600)));
  const base = { known: await accuracyOf(learner, known, undefined), here: await accuracyOf(learner, here, undefined) };
  const random = new Random(7);
  const count = context.quick ? 20 : 1000;
  let current: Float32Array | undefined;
  let [accepted, lowestGuard, lowestKnown, lowestHere] = [0, 0, 0, 0];
  const refusals = new Map<string, number>();
  const residentMib: number[] = [];
  for (let turn = 0; turn < count; turn++) {
    const rows = Array.from({ length: 3 + random.below(10) }, () => random.below(target.count));
    const honest = turn % 5 === 0;
    const drawn = takeTrue(target, rows);
    const labelled: TrueWindows = honest ? drawn : { ...drawn, labels: drawn.labels.map(() => random.below(classes)) };
    const drawOf = (windows: number) =>
      takeTrue(
        target,
        Array.from({ length: windows }, () => random.below(target.count)),
      );
    const { adapter, refusal } = await adopt(learner, labelled, drawOf(ANCHORS), drawOf(SHADOW_WINDOWS), classes, current);
    const kind = refusal?.replace(/[\d.]+/g, '#');
    if (kind) refusals.set(kind, (refusals.get(kind) ?? 0) + 1);
    else {
      accepted++;
      current = adapter;
      const guard = await learner.known(current);
      lowestGuard = Math.min(lowestGuard, guard.own - guard.base);
      lowestKnown = Math.min(lowestKnown, (await accuracyOf(learner, known, current)) - base.known);
      lowestHere = Math.min(lowestHere, (await accuracyOf(learner, here, current)) - base.here);
    }
    if (turn % 50 === 49 || turn === count - 1) {
      residentMib.push(Math.round(process.memoryUsage().rss / 2 ** 20));
      context.progress(
        `${turn + 1} adaptations, ${accepted} accepted, lowest ${lowestGuard} ${lowestKnown} ${lowestHere}, ${residentMib.at(-1)} MiB`,
      );
    }
  }
  await release();
  return {
    figure: lowestGuard,
    samples: count,
    details: {
      accepted,
      'lowest on 600 source windows that the guard does not see, against the base': rounded(lowestKnown),
      'lowest on 600 windows of the stream itself, against the base': rounded(lowestHere),
      'resident MiB, every 50': residentMib.join(' '),
      ...Object.fromEntries([...refusals].map(([kind, times]) => [`refused: ${kind}`, times])),
    },
  };
}

/** A stream of which 95 % is normal, and a gateway that would take its own sure decisions for labels: what it would cost. */
async function healthyStream(context: Context): Promise<Measured | Skipped> {
  const { TREMOLO_DATA: data } = process.env;
  if (!data) return NO_DATA;
  const engine = await createOnnxruntimeEngine();
  const details: Record<string, string> = {};
  const changes: number[] = [];
  for (const seed of context.quick ? SEEDS.slice(0, 1) : SEEDS) {
    // Healthy machines were recorded at loads 0 and 2 alone.
    for (const [from, to] of LOAD_PAIRS.filter(([, load]) => load === 0 || load === 2)) {
      const bundle = await bundleOf(engine, data, from, seed);
      const classes = bundle.manifest.classes.length;
      const normal = bundle.manifest.classes.indexOf('normal');
      const { learner, release } = await openLearner(engine, bundle);
      const all = asSent(await loadWindows(data, to, bundle));
      const random = new Random(seed);
      const rowsOf = (healthy: boolean) => [...all.labels.keys()].filter((row) => (all.labels[row] === normal) === healthy);
      const [healthy, faulty] = [rowsOf(true), rowsOf(false)];
      const draw = (count: number) =>
        Array.from({ length: count }, (_, n) =>
          n % 20 === 19 ? faulty[random.below(faulty.length)] : healthy[random.below(healthy.length)],
        );
      const seen = takeTrue(all, draw(80));
      const decided = await learner.decide(seen, undefined);
      const own = seen.labels.map((_, row) => indexOfLargest(decided.subarray(row * classes, (row + 1) * classes)));
      const sure = [...own.keys()].filter((row) => decided[row * classes + own[row]] >= 0.9);
      const labelled = takeTrue({ ...seen, labels: own }, sure);
      const { adapter, refusal } = await adopt(
        learner,
        labelled,
        takeTrue(all, draw(ANCHORS)),
        takeTrue(all, draw(SHADOW_WINDOWS)),
        classes,
        undefined,
      );
      const [stream, balanced] = [takeTrue(all, draw(600)), takeTrue(all, spreadRows(all.count, 1200))];
      const change = async (windows: TrueWindows) =>
        (await accuracyOf(learner, windows, adapter)) - (await accuracyOf(learner, windows, undefined));
      const [ofStream, ofAll] = [await change(stream), await change(balanced)];
      await release();
      changes.push(ofStream, ofAll);
      details[`seed ${seed}, ${from} -> ${to}`] =
        `stream ${rounded(ofStream)}, all classes ${rounded(ofAll)}${refusal ? `, refused (${refusal})` : ''}`;
      context.progress(`seed ${seed}, ${from} -> ${to}: ${details[`seed ${seed}, ${from} -> ${to}`]}`);
    }
  }
  return { figure: Math.min(...changes), samples: changes.length, details };
}

/** The file of an adapter with its statement and as many labels as a stream keeps, and what share of the networks it is. */
async function bytes(): Promise<Measured> {
  const student = fixture({ ...STUDENT, classes: 12, channels: 1 });
  const layout = adapterLayout(DEFAULT_SCHEME, student.network);
  const teacher = createNetwork({ ...TEACHER, classes: 12, channels: 1 } as NetworkOptions);
  const teacherLayout = adapterLayout(DEFAULT_SCHEME, teacher);
  const manifest = {
    adapter: { ...DEFAULT_SCHEME },
    adapterTensors: layout.parameters.map(({ name, shape }) => ({ name, shape: [...shape] })),
  };
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const digest = 'a'.repeat(64);
  const labels = Array.from({ length: 60 }, (_, n) => ({
    id: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
    annotator: 'annotator-1',
    tier: 'crossCheck',
    class: 'inner-race-021',
    windows: 1,
  }));
  const told = {
    site: 'site',
    gateway: 'gateway',
    stream: 'stream',
    base: digest,
    bundle: digest,
    parent: digest,
    version: 1,
    at: new Date(0).toISOString(),
    labels,
    guard: {
      known: { windows: 24, base: 1, before: 1, after: 1 },
      local: { windows: 12, before: 0.9, after: 1 },
      answers: { windows: 3, kept: 3 },
    },
  };
  const key = { privateKey, publicKey: Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url').toString('base64') };
  const random = new Random(1);
  const file = signAdapter(
    manifest as never,
    Float32Array.from({ length: layout.size }, () => random.normal()),
    told,
    key,
  );
  const share = (own: number, of: number) => `${own} of ${of} (${((100 * own) / of).toFixed(2)} %)`;
  return {
    figure: file.length,
    samples: 1,
    details: {
      'labels in its statement': labels.length,
      'numbers alone': 4 * bankLayout(manifest as never).size,
      'trainable share of the student': share(layout.size, student.network.parameters.size),
      'trainable share of the teacher': share(teacherLayout.size, teacher.parameters.size),
    },
  };
}

const PAIRS = 'cwru12, single-load int8 student to another load, six pairs, 3 seeds';

export const ADAPT_GATEWAY: readonly Scenario[] = [
  {
    id: 'adapt.cwru.pairs.1',
    what: `${PAIRS}: accuracy with one labelled window a class, guard and shadow on`,
    unit: '',
    target: { atLeast: 0.98 },
    measure: (context) => ofPairs(context, 1, (figures) => mean(figures.map(({ after }) => after))),
  },
  {
    id: 'adapt.cwru.pairs.5',
    what: `${PAIRS}: accuracy with five labelled windows a class, every third held out`,
    unit: '',
    target: { atLeast: 0.99 },
    measure: (context) => ofPairs(context, 5, (figures) => mean(figures.map(({ after }) => after))),
  },
  {
    id: 'adapt.cwru.source',
    what: `${PAIRS}: accuracy on the load that it was trained on, after one label a class; worst pair`,
    unit: '',
    target: { atLeast: 0.98 },
    measure: (context) => ofPairs(context, 1, (figures) => Math.min(...figures.map(({ sourceAfter }) => sourceAfter))),
  },
  {
    id: 'adapt.cwru.cpu',
    what: `${PAIRS}: CPU of learning and guard, one label a class; slowest`,
    unit: 's',
    target: { atMost: 5 },
    measure: (context) => ofPairs(context, 1, (figures) => Math.max(...figures.map(({ cpuSeconds }) => cpuSeconds))),
  },
  {
    id: 'adapt.cwru.partial',
    what: 'three labels of the two worst of twelve classes: largest fall of the other ten, mean recall',
    unit: '',
    target: { atMost: 0.005 },
    measure: partial,
  },
  {
    id: 'adapt.cwru.in-a-row',
    what: '1,000 adaptations of one stream, 800 of random labels: lowest accuracy on the guard set, against the base',
    unit: '',
    target: { atLeast: 0 },
    measure: inARow,
  },
  {
    id: 'adapt.cwru.healthy',
    what: 'stream of 95 % healthy windows, learned without an annotator: lowest change of accuracy against the unadapted model',
    unit: '',
    target: { atLeast: 0 },
    measure: healthyStream,
  },
  {
    id: 'adapt.bytes',
    what: 'adapter of the student with its signed statement of 60 labels',
    unit: 'B',
    target: { atMost: 24_000 },
    measure: bytes,
  },
];
