import { createNetwork } from '../../models/networks/index.ts';
import { readPieces } from '../data/pieces.ts';
import type { RecordingSet } from '../data/recording-set.ts';
import { type Windows, windowParts } from '../data/windows.ts';
import { auroc, conformalThreshold, type NoveltyFit, noveltyScores, WIDEST_EMBEDDING } from '../evaluate/novelty.ts';
import { FALSE_ALARM_SHARE, fitReference, windowsNeeded } from '../evaluate/novelty-training.ts';
import { joinRows, joinWindows, pickWindows, spreadEvenly } from '../evaluate/sampling.ts';
import { Refusal } from '../refusal.ts';
import type { TrainedNetwork } from '../release/base.ts';
import type { DraftBundle, NoveltyRequest } from '../release/draft-bundle.ts';
import type { NetworkLine } from './network-line.ts';
import { runNetwork } from './run-windows.ts';
import type { Artifact, Stage, StageOutcome } from './stages.ts';
import { checkAlike, WINDOW, type Workspace } from './workspace.ts';

/** Known windows that are scored for the threshold where there are more, and how many of them shall lie above it at the least. */
const THRESHOLD_WINDOWS = 4096;
const THRESHOLD_ABOVE = 20;

/** Where known windows lie, and how far beyond them those lie that the network has not seen. */
export interface KnownRegion {
  readonly reference: NoveltyFit;
  /**
   * Conformal threshold of unseen windows as a multiple of that of seen ones. The network that is deployed has seen all windows there are, so the
   * rehearsed one tells.
   */
  readonly excess: number;
}

/** What the novelty score is worth on the test part. */
export interface NoveltyFigures {
  readonly threshold: number;
  /** Share of known windows that was allowed above the threshold. */
  readonly share: number;
  /** Share of the test windows above it. */
  readonly testAlarms: number;
  /** Share of the windows of the recordings that were named as novel above it. */
  readonly found?: number;
  /** Of these windows against those of the test. */
  readonly auroc?: number;
}

/** Of a bundle with classes; `leftOut` says why it has none. */
export type NoveltyOutcome = StageOutcome<KnownRegion> | { readonly leftOut: string };

/** Fits the novelty score of the network that decides; undefined where nobody wants it. */
export async function noveltyStage(workspace: Workspace, line: NetworkLine): Promise<NoveltyOutcome | undefined> {
  const { engine, stages, request, windows, dataKey } = workspace;
  const { novelty, seed } = request.choices;
  if (novelty === false) return undefined;
  const { share = FALSE_ALARM_SHARE } = novelty;
  const { embeddingWidth, reference: takesReferences } = createNetwork(line.primary.options);
  if (takesReferences) return { leftOut: 'the network decides on what differs from a machine, not on what is known of all' };
  if (embeddingWidth > WIDEST_EMBEDDING) return { leftOut: `an embedding of ${embeddingWidth} numbers is too wide` };
  const needed = windowsNeeded(share);
  for (const side of ['train', 'validation'] as const) {
    if (windows[side].count < needed) return { leftOut: `${windows[side].count} ${side} windows where ${needed} are needed` };
  }
  const { student, prune, rehearsal } = line;
  const rehearsed = rehearsal?.prune?.result.network ?? rehearsal?.student.result ?? line.primary;
  const keys = [rehearsal?.prune ?? rehearsal?.student, student, prune].map((outcome) => outcome?.key ?? null);
  return stages.run<KnownRegion>({
    ...regionCodec,
    name: 'novelty',
    inputs: [dataKey, keys, share, seed],
    compute: async () => {
      const reference = await fitReference(engine, rehearsed, windows.train, seed);
      const threshold = async (side: Windows) =>
        conformalThreshold(noveltyScores(reference, (await runNetwork(engine, rehearsed, side)).embeddings), share);
      const excess = (await threshold(windows.validation)) / (await threshold(windows.train));
      return { reference: await fitReference(engine, line.primary, joinWindows([windows.train, windows.validation]), seed), excess };
    },
  });
}

/** Where the only class of a set lies in an embedding; the threshold is chosen later, on validation windows. */
export function referenceStage(
  { engine, windows, request, dataKey }: Workspace,
  trained: TrainedNetwork,
  embedding: string,
): Stage<KnownRegion> {
  const { seed } = request.choices;
  return {
    ...regionCodec,
    name: 'novelty',
    inputs: [dataKey, embedding, seed],
    compute: async () => ({ reference: await fitReference(engine, trained, windows.train, seed), excess: 1 }),
  };
}

const regionCodec: Pick<Stage<KnownRegion>, 'encode' | 'decode' | 'summary'> = {
  encode: ({ reference: { mean, whiten, ...shape }, excess }): Artifact => ({ value: { shape, excess }, vectors: { mean, whiten } }),
  decode: ({ value, vectors: { mean, whiten } }) => {
    const { shape, excess } = value as { shape: Omit<NoveltyFit, 'mean' | 'whiten'>; excess: number };
    return { reference: { ...shape, mean, whiten }, excess };
  },
  summary: ({ reference: { mean, width, rank } }) => `${mean.length / width} means, ${rank} directions`,
};

/** What the bundle is told of a stage's outcome. */
export function noveltyRequest({ windows, request }: Workspace, outcome: NoveltyOutcome | undefined): NoveltyRequest | undefined {
  const { novelty } = request.choices;
  if (!outcome || 'leftOut' in outcome || novelty === false) return undefined;
  const { share = FALSE_ALARM_SHARE } = novelty;
  const most = Math.max(THRESHOLD_WINDOWS, Math.ceil(THRESHOLD_ABOVE / share));
  const all = windows.train.count + windows.validation.count;
  const some = (side: Windows) =>
    pickWindows(side, spreadEvenly([...Array(side.count).keys()], Math.max(1, Math.floor((most * side.count) / all))));
  return { ...outcome.result, share, known: joinWindows([some(windows.train), some(windows.validation)]) };
}

/** @throws Refusal usage/novel where recordings cannot be scored, or are trained on as well */
export function checkNovel(workspace: Workspace): void {
  const { split, request } = workspace;
  const { novel } = request;
  if (!novel) return;
  const used = new Set([...split.train, ...split.validation, ...split.test].map(({ entry }) => entry.file));
  for (const entry of novel.recordings) {
    const refuse = (what: string) => new Refusal('usage/novel', `--novel: ${entry.file} ${what}`);
    if (used.has(entry.file)) throw refuse('is trained or tested on as well; leave it out with --where');
    checkAlike(entry, workspace, refuse);
  }
}

/** Of a draft's own int8 graph. */
export async function noveltyFigures(workspace: Workspace, draft: DraftBundle): Promise<NoveltyFigures | undefined> {
  if (!draft.novelty) return undefined;
  const { threshold, share, scores } = draft.novelty;
  const known = await scores(workspace.windows.test);
  const above = (side: Float32Array) => side.filter((score) => score > threshold).length / side.length;
  const figures = { threshold, share, testAlarms: above(known) };
  const { novel } = workspace.request;
  if (!novel) return figures;
  const unseen = await scoresOf(workspace, novel, scores);
  return unseen.length === 0 ? figures : { ...figures, found: above(unseen), auroc: auroc(known, unseen) };
}

/** A part of a recording at a time: a set may be larger than memory. */
async function scoresOf(
  { channels, request, signal, stride }: Workspace,
  set: RecordingSet,
  scores: (windows: Windows) => Promise<Float32Array>,
): Promise<Float32Array> {
  const parts: Float32Array[] = [];
  for (const entry of set.recordings) {
    signal?.throwIfAborted();
    const [recording] = await readPieces(set, [{ entry }], channels, request.rateHz);
    for (const windows of windowParts({ ...recording, label: 'novel' }, ['novel'], WINDOW, stride)) parts.push(await scores(windows));
  }
  return joinRows(parts);
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** One line for people. */
export function noveltyNote(figures: NoveltyFigures): string {
  const { threshold, share, testAlarms, found, auroc: area } = figures;
  const seen = area === undefined ? '' : `, ${percent(found!)} of the novel ones, AUROC ${area.toFixed(4)}`;
  return `above ${threshold.toFixed(2)} is new (${percent(share)} of known windows): ${percent(testAlarms)} of the test${seen}`;
}
