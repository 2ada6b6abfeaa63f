import { createHash } from 'node:crypto';
import { DEFAULT_SCHEME, HEAD_SCHEME } from '../../models/adapters/scheme.ts';
import { type Bundle, readBundle, refuseForeignFolder } from '../../models/bundle/bundle.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { CalibrationMethod } from '../../models/quantize/calibration.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceInference } from '../../models/training/trace-inference.ts';
import type { DriftReference } from '../../runtime/drift/calibrate.ts';
import { VERSION } from '../../runtime/version.ts';
import type { RecordingSet } from '../data/recording-set.ts';
import { type Baselines, runBaselines } from '../evaluate/baselines.ts';
import { BundleDecider } from '../evaluate/bundle-decider.ts';
import { calibrationOf, softmaxRows } from '../evaluate/calibration.ts';
import {
  type Attack,
  attackCurves,
  type Evaluation,
  evaluateDecisions,
  type RobustnessCurve,
  robustnessCurves,
} from '../evaluate/evaluate.ts';
import { type Gate, gate } from '../evaluate/gate.ts';
import { argmaxRows, type Metrics, metricsOf } from '../evaluate/metrics.ts';
import { joinWindows, pickWindows } from '../evaluate/sampling.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { type DraftBundle, draftBundle } from '../release/make-bundle.ts';
import { measureLatency } from '../shrink/latency.ts';
import type { RecipeScore } from './candidates.ts';
import { driftStage } from './drift-stage.ts';
import { lookForLeaks } from './leak-stage.ts';
import { type NetworkLine, trainLine } from './network-line.ts';
import { parameterCount } from './network-stage.ts';
import {
  checkNovel,
  type NoveltyFigures,
  type NoveltyOutcome,
  noveltyFigures,
  noveltyNote,
  noveltyRequest,
  noveltyStage,
} from './novelty-stage.ts';
import { runNetwork } from './run-windows.ts';
import type { StageOutcome } from './stages.ts';
import type { CurvePoint } from './train-network.ts';
import { openWorkspace, type PipelineRequest, WINDOW, type Workspace } from './workspace.ts';

export type { PipelineRequest } from './workspace.ts';

/** What a stage left behind. Accuracies are those on the test part; no choice is made by them. */
export interface StageRow {
  readonly name: string;
  readonly status: 'done' | 'cached' | 'taken back';
  readonly seconds: number;
  readonly accuracy?: number;
  readonly balancedAccuracy?: number;
  readonly params?: number;
  /** Of the deciding graph with its weights. */
  readonly bytes?: number;
  /** One window, one thread. */
  readonly latencyMs?: number;
  readonly note?: string;
}

export interface PipelineResult {
  readonly bundle: Bundle;
  readonly classes: readonly string[];
  readonly split: string;
  readonly validation: string;
  /** Recordings of each class on each side of the split. */
  readonly data: readonly { readonly label: string; readonly train: number; readonly validation: number; readonly test: number }[];
  readonly recipe: string;
  readonly recipes: readonly RecipeScore[];
  readonly params: { readonly teacher: number | null; readonly student: number; readonly pruned: number | null; readonly backup: number };
  /** `bundle` is the part that decides, as it travels to a gateway. */
  readonly bytes: { readonly teacherFp32: number | null; readonly studentFp32: number; readonly int8: number; readonly bundle: number };
  readonly stages: readonly StageRow[];
  readonly seconds: number;
  /** Of the deployed int8 network, read back from the bundle, on the test part. */
  readonly evaluation: Evaluation;
  readonly calibration: { readonly temperature: number; readonly eceBefore: number };
  readonly robustness: readonly RobustnessCurve[];
  readonly attacks: readonly Attack[];
  readonly curves: readonly { readonly name: string; readonly points: readonly CurvePoint[] }[];
  readonly baselines: Partial<Baselines>;
  readonly novelty?: NoveltyFigures;
  readonly gate: Gate;
}

const METHODS: Record<'minmax' | 'percentile' | 'entropy', CalibrationMethod> = {
  minmax: { kind: 'minmax' },
  percentile: { kind: 'percentile', percentile: 99.99 },
  entropy: { kind: 'entropy' },
};

/**
 * From a recording set to a measured bundle: leaks, choice of a recipe, teacher, student, pruning, back-up, int8, baselines, robustness, gate.
 *
 * @throws Refusal on data that cannot be trained on
 */
export async function trainBundle(
  set: RecordingSet,
  folder: string,
  request: PipelineRequest,
  signal?: AbortSignal,
): Promise<PipelineResult> {
  const started = performance.now();
  // Before the work, not after it.
  await refuseForeignFolder(folder);
  const workspace = await openWorkspace(set, request, signal);
  checkNovel(workspace);
  const leaks = await lookForLeaks(workspace);
  const line = await trainLine(workspace);
  const known = await noveltyStage(workspace, line);
  const drift = await driftStage(workspace, line);
  const floats = await measureFloats(workspace, line);
  const draftStarted = performance.now();
  const draft = await makeDraft(workspace, line, known, drift?.result);
  const draftSeconds = (performance.now() - draftStarted) / 1000;
  try {
    const { windows, classes } = workspace;
    const deployed = evaluateDecisions({ ...windows.test, probabilities: await draft.probabilities(windows.test), classes });
    const baselines = await runBaselineStage(workspace);
    const hardening = await measureRobustness(workspace, line.primary, draft);
    const latency = await measureLatencies(workspace, floats, draft);
    const novelty = await noveltyFigures(workspace, draft);
    const gated = gate({
      deployed: deployed.test,
      baselines: baselines.result,
      float: floats[0].metrics,
      latencyMs: latency.get('int8')!,
      allowedLatencyMs: request.choices.latencyMs,
    });
    const { accuracy, balancedAccuracy, macroF1, windows: tested } = deployed.test;
    const bundle = await draft.write(folder, { accuracy, balancedAccuracy, macroF1, windows: tested });
    const stages = stageRows(
      { leaks, line, floats, baselines, hardening, latency, known, novelty },
      {
        name: 'int8',
        status: 'done',
        seconds: draftSeconds,
        accuracy,
        balancedAccuracy,
        params: parameterCount(line.primary),
        bytes: draft.bytes,
        latencyMs: latency.get('int8'),
        ...(draft.kept.length > 0 && { note: `kept in float32: ${draft.kept.join(', ')}` }),
      },
    );
    const { teacher, rehearsal, student, prune, backup } = line;
    const core = await readBundle(folder);
    return {
      bundle,
      classes,
      split: workspace.split.description,
      validation: workspace.split.validationDescription,
      data: countRecordings(workspace),
      recipe: line.recipe.name,
      recipes: line.choice.result.scores,
      params: {
        teacher: teacher ? parameterCount(teacher.result) : null,
        student: parameterCount(student.result),
        pruned: prune?.result.network ? parameterCount(prune.result.network) : null,
        backup: parameterCount(backup.result),
      },
      bytes: {
        teacherFp32: floats.find(({ name }) => name === 'teacher')?.bytes ?? null,
        studentFp32: floats.find(({ name }) => name === 'student')!.bytes,
        int8: draft.bytes,
        bundle: [...core.files.values()].reduce((sum, { length }) => sum + length, 0),
      },
      stages,
      seconds: (performance.now() - started) / 1000,
      evaluation: await evaluateBundle(workspace, core),
      calibration: await calibrationBefore(workspace, draft),
      robustness: hardening.result.robustness,
      attacks: hardening.result.attacks,
      // Of the rehearsal where there was one: there validation windows say how it went.
      curves: [teacher, rehearsal?.student ?? student].flatMap((one, index) =>
        one ? [{ name: ['teacher', 'student'][index], points: one.result.curve }] : [],
      ),
      baselines: baselines.result,
      ...(novelty && { novelty }),
      gate: gated,
    };
  } finally {
    await draft.release();
  }
}

/** A float network of the line with what it reaches on the test part. */
interface FloatModel {
  readonly name: 'teacher' | 'student' | 'pruned' | 'back-up';
  readonly trained: TrainedNetwork;
  readonly metrics: Metrics;
  readonly graph: Uint8Array;
  readonly bytes: number;
}

async function measureFloats({ engine, windows, classes }: Workspace, line: NetworkLine): Promise<FloatModel[]> {
  const models: FloatModel[] = [];
  const add = async (name: FloatModel['name'], trained: TrainedNetwork | undefined) => {
    if (!trained) return;
    const { logits } = await runNetwork(engine, trained, windows.test);
    const metrics = metricsOf(windows.test.labels, argmaxRows(logits, classes.length), classes.length);
    const network = createNetwork(trained.options);
    const graph = encodeOnnx(
      traceInference(network, { input: 'int16', reference: network.reference ?? false, temperature: 1 }, trained.weights),
    );
    models.push({ name, trained, metrics, graph, bytes: graph.length });
  };
  await add('teacher', line.teacher?.result);
  await add('student', line.student.result);
  await add('pruned', line.prune?.result.network);
  await add('back-up', line.backup.result);
  return models;
}

function makeDraft(
  workspace: Workspace,
  { primary, backup, temperature }: NetworkLine,
  known: NoveltyOutcome | undefined,
  drift: DriftReference | undefined,
): Promise<DraftBundle> {
  const { engine, request, set, split, classes, channels, sampleRateHz, recordings, windows } = workspace;
  const { int8, seed } = request.choices;
  const { method, ...rest } = int8;
  return draftBundle(
    engine,
    {
      name: request.name,
      classes,
      recipe: { sampleRateHz, window: WINDOW, stride: workspace.stride, channels: [...channels] },
      primary,
      backup: backup.result,
      adapter: primary.options.kind === 'linear' ? HEAD_SCHEME : DEFAULT_SCHEME,
      temperature,
      referenceKey: request.reference?.key,
      novelty: noveltyRequest(workspace, known),
      drift,
      lineage: { set: set.name, split: split.description, seed },
      version: VERSION,
      int8: { ...rest, ...(method && { methods: [METHODS[method]] }) },
    },
    recordings.train,
    windows.validation,
  );
}

function runBaselineStage({
  stages,
  dataKey,
  request,
  windows,
  channels,
  classes,
  signal,
}: Workspace): Promise<StageOutcome<Partial<Baselines>>> {
  const { baselines, seed } = request.choices;
  return stages.run<Partial<Baselines>>({
    name: 'baselines',
    inputs: [dataKey, baselines, seed],
    compute: ({ bar }) =>
      runBaselines(joinWindows([windows.train, windows.validation]), windows.test, [WINDOW, channels.length], classes.length, {
        seed,
        which: baselines,
        onProgress: ({ baseline, share }) => bar.update(share, baseline),
        signal,
      }),
    encode: (value) => ({ value, vectors: {} }),
    decode: ({ value }) => value as Partial<Baselines>,
    summary: (made) =>
      Object.entries(made)
        .map(([name, { balancedAccuracy }]) => `${name} ${(100 * balancedAccuracy).toFixed(1)} %`)
        .join(', ') || 'none asked for',
  });
}

interface Hardening {
  readonly robustness: RobustnessCurve[];
  readonly attacks: Attack[];
}

function measureRobustness(workspace: Workspace, primary: TrainedNetwork, draft: DraftBundle): Promise<StageOutcome<Hardening>> {
  const { engine, stages, dataKey, request, windows, channels, classes, signal } = workspace;
  const { seed } = request.choices;
  return stages.run<Hardening>({
    name: 'robustness',
    inputs: [dataKey, createHash('sha256').update(draft.model.graph).digest('hex'), primary.options, seed, request.choices.robustness],
    compute: async ({ bar }) => {
      if (!request.choices.robustness) return { robustness: [], attacks: [] };
      const progress = (from: number, note: string) => (share: number) => bar.update(from + share / 2, note);
      const shape: [number, number] = [WINDOW, channels.length];
      return {
        robustness: await robustnessCurves(
          draft.probabilities,
          windows.test,
          shape,
          classes.length,
          seed,
          progress(0, 'noise, gain, speed'),
          signal,
        ),
        // The gradient that attacks climb knows no references.
        attacks: createNetwork(primary.options).reference
          ? []
          : await attackCurves(engine, { ...primary, probabilitiesOf: draft.probabilities }, windows.test, {
              seed,
              signal,
              onProgress: progress(0.5, 'FGSM, PGD'),
            }),
      };
    },
    encode: (value) => ({ value, vectors: {} }),
    decode: ({ value }) => value as Hardening,
    summary: ({ robustness }) => (robustness.length > 0 ? 'noise, gain, speed, clipping, channel loss, FGSM, PGD' : 'not asked for'),
  });
}

/** Milliseconds for one window on one thread, all models in turns. */
async function measureLatencies(
  { engine, windows }: Workspace,
  floats: readonly FloatModel[],
  draft: DraftBundle,
): Promise<Map<string, number>> {
  const feeds = draft.feeds(pickWindows(windows.test, [0]));
  const rows = await measureLatency(
    engine,
    [...floats.map(({ name, graph }) => ({ name, graph, feeds })), { name: 'int8', ...draft.model, feeds }],
    { batch: 1, rounds: 21 },
  );
  return new Map(rows.map(({ name, latencyMs }) => [name, latencyMs]));
}

interface Measured {
  readonly leaks: StageOutcome<unknown>;
  readonly line: NetworkLine;
  readonly floats: readonly FloatModel[];
  readonly baselines: StageOutcome<unknown>;
  readonly hardening: StageOutcome<unknown>;
  readonly latency: ReadonlyMap<string, number>;
  readonly known: NoveltyOutcome | undefined;
  readonly novelty: NoveltyFigures | undefined;
}

/** The table of stages in the order in which they ran. */
function stageRows({ leaks, line, floats, baselines, hardening, latency, known, novelty }: Measured, int8: StageRow): StageRow[] {
  const plain = (name: string, { cached, seconds }: StageOutcome<unknown>, note?: string): StageRow => ({
    name,
    status: cached ? 'cached' : 'done',
    seconds,
    ...(note && { note }),
  });
  const network = (name: FloatModel['name'], outcome: StageOutcome<unknown> | undefined): StageRow[] => {
    const model = floats.find((one) => one.name === name);
    if (!outcome || !model) return [];
    const { accuracy, balancedAccuracy } = model.metrics;
    const measured = {
      accuracy,
      balancedAccuracy,
      params: parameterCount(model.trained),
      bytes: model.bytes,
      latencyMs: latency.get(name),
    };
    return [{ ...plain(name, outcome), ...measured }];
  };
  const takenBack = line.prune && !line.prune.result.network;
  const pruned: StageRow[] = takenBack
    ? [{ ...plain('pruned', line.prune!, 'lost more than allowed on the validation windows'), status: 'taken back' }]
    : network('pruned', line.prune);
  return [
    plain('leaks', leaks),
    plain('choose', line.choice, line.recipe.name),
    ...network('teacher', line.teacher),
    ...(line.rehearsal ? [plain('rehearsal', joined(line.rehearsal), 'without the validation part')] : []),
    ...network('student', line.student),
    ...pruned,
    ...network('back-up', line.backup),
    ...noveltyRow(known, novelty),
    int8,
    plain('baselines', baselines),
    plain('robustness', hardening),
  ];
}

function noveltyRow(known: NoveltyOutcome | undefined, figures: NoveltyFigures | undefined): StageRow[] {
  if (!known) return [];
  if ('leftOut' in known) return [{ name: 'novelty', status: 'done', seconds: 0, note: `left out: ${known.leftOut}` }];
  const note = figures && noveltyNote(figures);
  return [{ name: 'novelty', status: known.cached ? 'cached' : 'done', seconds: known.seconds, ...(note && { note }) }];
}

/** Student and pruning of a rehearsal as one row. */
function joined({ student, prune }: NonNullable<NetworkLine['rehearsal']>): StageOutcome<unknown> {
  return { ...student, seconds: student.seconds + (prune?.seconds ?? 0), cached: student.cached && (prune?.cached ?? true) };
}

async function evaluateBundle({ engine, windows, classes }: Workspace, bundle: Bundle): Promise<Evaluation> {
  const decider = await BundleDecider.open(engine, bundle);
  await decider.commission(windows.test);
  const probabilities = await decider.probabilitiesOf(windows.test);
  await decider.release();
  return evaluateDecisions({ ...windows.test, probabilities, classes });
}

async function calibrationBefore({ windows, classes }: Workspace, draft: DraftBundle): Promise<PipelineResult['calibration']> {
  const logits = await draft.logits(windows.test);
  const { ece } = calibrationOf(softmaxRows(logits, classes.length), windows.test.labels, classes.length);
  return { temperature: draft.temperature, eceBefore: ece };
}

function countRecordings({ classes, recordings }: Workspace): PipelineResult['data'] {
  const count = (side: readonly { readonly label: string | null }[], label: string) => side.filter((one) => one.label === label).length;
  return classes.map((label) => ({
    label,
    train: count(recordings.train, label),
    validation: count(recordings.validation, label),
    test: count(recordings.test, label),
  }));
}
