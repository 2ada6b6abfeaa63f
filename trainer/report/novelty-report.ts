import { cpus } from 'node:os';
import type { NoveltyResult } from '../train/novelty-pipeline.ts';
import type { StageRow } from '../train/stage-rows.ts';
import type { PipelineRequest } from '../train/workspace.ts';
import { bytes, count, duration, milliseconds, percent } from './format.ts';
import { renderPage } from './page.ts';
import { type Section, table } from './parts.ts';
import { dataSection } from './sections/data.ts';
import { lineage } from './sections/lineage.ts';
import { tileList, verdictSection } from './sections/verdict.ts';

function stageSection(stages: readonly StageRow[]): Section {
  const columns = [
    { title: 'Stage', head: true, cell: ({ name }: StageRow) => name },
    { title: 'Time', number: true, cell: ({ seconds, status }: StageRow) => (status === 'cached' ? 'kept' : duration(seconds)) },
    { title: 'Parameters', number: true, cell: ({ params }: StageRow) => (params === undefined ? '' : count(params)) },
    { title: 'Size', number: true, cell: ({ bytes: size }: StageRow) => (size === undefined ? '' : bytes(size)) },
    { title: '', cell: ({ note }: StageRow) => note ?? '' },
  ];
  return { id: 'stages', title: 'How it was made', body: table('Stages in their order', columns, stages) };
}

/** What a training on one class reached, as a page. @param set name of the recording set @param date of the training, ISO 8601 */
export function renderNoveltyReport(result: NoveltyResult, set: string, { name, choices }: PipelineRequest, date: string): string {
  const { known, split, validation, recordings, windows, novelty, falseAlarms, bytes: sizes, latencyMs, gate, from, bundle } = result;
  const { share, found, auroc, threshold } = novelty;
  const size = bytes(sizes.int8);
  const sentence = `The gate is ${gate.passed ? 'passed' : 'not passed'}: of ${count(windows.test)} healthy windows that training had not seen, ${percent(falseAlarms.windows)} are called novel, where ${percent(share)} was meant; it takes ${size} and needs ${milliseconds(latencyMs)} a window.`;
  const lineageSection = lineage({
    ...{ name, set, split, validation, seed: choices.seed, seconds: result.seconds, digest: bundle.digest },
    madeOn: { cpu: cpus()[0]?.model.trim(), node: process.version, date },
    settings: { Known: known, 'Embedding of': from ?? 'its own', 'Size of the bundle': bytes(sizes.bundle) },
  });
  return renderPage({
    name,
    about: [`Trained on ${set}: ${known} and everything else`, split, date].join(' · '),
    top: [
      verdictSection(gate, sentence, gate.reasons),
      tileList('Key figures of the novelty score', [
        { title: 'False alarms', value: percent(falseAlarms.windows), note: `of single healthy windows; ${percent(share)} meant` },
        { title: 'Smoothed', value: percent(falseAlarms.smoothed), note: 'false alarms over 8 windows' },
        ...(found === undefined ? [] : [{ title: 'Novel found', value: percent(found), note: 'of the windows named as novel' }]),
        ...(auroc === undefined ? [] : [{ title: 'AUROC', value: auroc.toFixed(4), note: 'novel against healthy windows' }]),
        { title: 'Threshold', value: threshold.toFixed(2), note: 'a score above it is novel' },
        { title: 'Model size', value: size },
        { title: 'Time a window', value: milliseconds(latencyMs) },
      ]),
    ],
    sections: [
      stageSection(result.stages),
      ...[dataSection({ data: [{ label: known, ...recordings }], split, validation })].flatMap((one) => one ?? []),
      lineageSection,
    ],
  });
}
