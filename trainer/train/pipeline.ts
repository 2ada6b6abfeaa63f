import { DEFAULT_SCHEME, HEAD_SCHEME } from '../../models/adapters/scheme.ts';
import { type Bundle, readBundle, refuseForeignFolder } from '../../models/bundle/bundle.ts';
import type { CalibrationMethod } from '../../models/quantize/calibration.ts';
import { VERSION } from '../../runtime/version.ts';
import type { RecordingSet } from '../data/recording-set.ts';
import type { Attack } from '../evaluate/attacks.ts';
import type { Baselines } from '../evaluate/baselines.ts';
import type { DualFigures } from '../evaluate/dual-model.ts';
import { type Evaluation, evaluateDecisions } from '../evaluate/evaluate.ts';
import { type Gate, gate } from '../evaluate/gate.ts';
import type { RobustnessCurve } from '../evaluate/robustness-curves.ts';
import { type DraftBundle, draftBundle } from '../release/draft-bundle.ts';
import type { RecipeScore } from './candidates.ts';
import { checkDriftSet, driftStage } from './drift-stage.ts';
import { lookForLeaks } from './leak-stage.ts';
import {
  calibrationBefore,
  evaluateBundle,
  measureFloats,
  measureLatencies,
  measureRobustness,
  runBaselineStage,
} from './measure-stages.ts';
import { type NetworkLine, trainLine } from './network-line.ts';
import { parameterCount } from './network-stage.ts';
import { checkNovel, type NoveltyFigures, type NoveltyOutcome, noveltyFigures, noveltyRequest, noveltyStage } from './novelty-stage.ts';
import { type StageRow, stageRows } from './stage-rows.ts';
import type { CurvePoint } from './train-network.ts';
import { openWorkspace, type PipelineRequest, WINDOW, type Workspace } from './workspace.ts';

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
  /** Absent where robustness was not asked for. */
  readonly dual?: DualFigures;
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
  checkDriftSet(workspace);
  const leaks = await lookForLeaks(workspace);
  const line = await trainLine(workspace);
  const known = await noveltyStage(workspace, line);
  const floats = await measureFloats(workspace, line);
  const draftStarted = performance.now();
  const draft = await makeDraft(workspace, line, known);
  const draftSeconds = (performance.now() - draftStarted) / 1000;
  try {
    const drift = await driftStage(workspace, line, draft);
    const { windows, classes } = workspace;
    const deployed = evaluateDecisions({ ...windows.test, probabilities: await draft.probabilities(windows.test), classes });
    const baselines = await runBaselineStage(workspace);
    const hardening = await measureRobustness(workspace, line.primary, draft);
    const { dual } = hardening.result;
    const latency = await measureLatencies(workspace, floats, draft);
    const novelty = await noveltyFigures(workspace, draft);
    const gated = gate({
      deployed: deployed.test,
      baselines: baselines.result,
      float: floats[0].metrics,
      latencyMs: latency.get('int8')!,
      allowedLatencyMs: request.choices.latencyMs,
      dual,
      classes: classes.length,
    });
    const { accuracy, balancedAccuracy, macroF1, windows: tested } = deployed.test;
    const bundle = await draft.write(folder, {
      measured: { accuracy, balancedAccuracy, macroF1, windows: tested },
      decision: line.healthy,
      dual,
      ...(drift && { drift: drift.result }),
    });
    const stages = stageRows(
      { leaks, line, floats, baselines, hardening, latency, known, novelty, classes: classes.length },
      {
        name: 'int8',
        status: 'done',
        seconds: draftSeconds,
        accuracy,
        balancedAccuracy,
        params: parameterCount(line.primary),
        bytes: draft.bytes,
        latencyMs: latency.get('int8'),
        ...int8Note(draft),
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
      ...(dual && { dual }),
      gate: gated,
    };
  } finally {
    await draft.release();
  }
}

function makeDraft(
  workspace: Workspace,
  { primary, backup, temperature }: NetworkLine,
  known: NoveltyOutcome | undefined,
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
      leaves: request.choices.leaves,
      lineage: { set: set.name, split: split.description, seed },
      version: VERSION,
      int8: { ...rest, ...(method && { methods: [METHODS[method]] }) },
    },
    recordings.train,
    windows.validation,
  );
}

/** What is not plain int8 about the deciding graph. */
function int8Note({ kept, sparse }: DraftBundle): { note?: string } {
  const notes = [
    ...(kept.length > 0 ? [`kept in float32: ${kept.join(', ')}`] : []),
    ...(sparse ? [`${(100 * sparse.zeros).toFixed(0)} % of the weights are 0: ${(sparse.brotli / 1000).toFixed(1)} kB packed`] : []),
  ];
  return notes.length > 0 ? { note: notes.join('; ') } : {};
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
