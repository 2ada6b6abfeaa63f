import { cpus } from 'node:os';
import type { PipelineResult } from '../train/pipeline.ts';
import type { PipelineRequest } from '../train/workspace.ts';
import type { NetworkStage, ReportData } from './report-data.ts';

const NETWORKS: readonly string[] = ['teacher', 'student', 'pruned', 'int8'] satisfies NetworkStage[];

/** Without the kind, which is the chart's title: `noise 20 dB` becomes `20 dB`. */
function shortLabel<T extends { readonly label: string }>(point: T): T {
  return { ...point, label: point.label.replace(/^(noise|gain|speed|clipped at) /, '') };
}

/** What a training reached, as the report page takes it. @param date of the training, ISO 8601 */
export function trainingReport(result: PipelineResult, set: string, { name, choices }: PipelineRequest, date: string): ReportData {
  const { params, bytes, evaluation, calibration, attacks, baselines, bundle } = result;
  return {
    name,
    set,
    split: result.split,
    validation: result.validation,
    seed: choices.seed,
    seconds: result.seconds,
    madeOn: { cpu: cpus()[0]?.model.trim(), node: process.version, date },
    digest: bundle.digest,
    settings: { Recipe: result.recipe, ...(choices.budget && { Budget: `${choices.budget} s` }) },
    classes: result.classes,
    params: {
      ...(params.teacher && { teacher: params.teacher }),
      student: params.student,
      ...(params.pruned && { pruned: params.pruned }),
    },
    bytes: {
      ...(bytes.teacherFp32 && { teacherFp32: bytes.teacherFp32 }),
      studentFp32: bytes.studentFp32,
      int8: bytes.int8,
      bundle: bytes.bundle,
    },
    stages: result.stages.map((stage) => ({ ...stage, ...(NETWORKS.includes(stage.name) && { network: stage.name as NetworkStage }) })),
    stagesMeasuredOn: 'test',
    test: { ...evaluation.test, falseAlarmRate: evaluation.test.falseAlarmRate ?? undefined },
    confusion: evaluation.confusion,
    recall: evaluation.recall,
    reliability: { ...calibration, eceAfter: evaluation.test.ece, bins: evaluation.reliability.bins },
    robustness: result.robustness
      .filter(({ kind }) => kind !== 'clean')
      .map(({ kind, points }) => ({ kind, points: points.map(shortLabel) })),
    attacks: attacks.map(({ kind, points }) => ({
      kind,
      points: points.flatMap(({ level, success, accuracy }) => (success === null ? [] : [{ epsilon: level, success, accuracy }])),
    })),
    attackUnit: "RMS of the window's channel",
    curves: result.curves,
    data: result.data,
    baselines: baselines as ReportData['baselines'],
    gate: { ...result.gate, metric: 'balancedAccuracy' },
  };
}
