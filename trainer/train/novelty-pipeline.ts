import { type Bundle, readBundle, refuseForeignFolder } from '../../models/bundle/bundle.ts';
import { VERSION } from '../../runtime/version.ts';
import { splitHealthy } from '../data/healthy-split.ts';
import { readPieces } from '../data/pieces.ts';
import type { RecordingSet } from '../data/recording-set.ts';
import type { Piece } from '../data/split.ts';
import { cutWindows } from '../data/windows.ts';
import { BundleDecider } from '../evaluate/bundle-decider.ts';
import type { Gate } from '../evaluate/gate.ts';
import { argmaxRows, metricsOf } from '../evaluate/metrics.ts';
import { FALSE_ALARM_SHARE, NOVELTY_CLASSES, pretextTraining, refuseFewWindows } from '../evaluate/novelty-training.ts';
import { pickWindows } from '../evaluate/sampling.ts';
import { slidingVote } from '../evaluate/smoothing.ts';
import { Refusal } from '../refusal.ts';
import { readBase } from '../release/base.ts';
import { draftNoveltyBundle } from '../release/draft-novelty-bundle.ts';
import { measureLatency } from '../shrink/latency.ts';
import { RECIPES, shaped } from './candidates.ts';
import { openEngine } from './engines.ts';
import { lookForLeaks } from './leak-stage.ts';
import { parameterCount, trainingStage } from './network-stage.ts';
import { checkNovel, type KnownRegion, type NoveltyFigures, noveltyFigures, noveltyNote, referenceStage } from './novelty-stage.ts';
import { trainSettings } from './settings.ts';
import type { StageRow } from './stage-rows.ts';
import { type StageOutcome, StageRunner } from './stages.ts';
import type { TrainResult } from './train-network.ts';
import { hashData, type PipelineRequest, SAMPLES, type Sides, STRIDE, WINDOW, type Workspace } from './workspace.ts';

/** The gate lets no more than so many times the promised share of held-out healthy windows be called novel. */
const ALLOWED_ALARMS = 3;

export interface NoveltyTraining extends PipelineRequest {
  /** A bundle of this kind of machine, read with its part `server`: its embedding is taken as it is. */
  readonly from?: Bundle;
}

export interface NoveltyResult {
  readonly bundle: Bundle;
  /** Label of the recordings that count as normal. */
  readonly known: string;
  readonly split: string;
  readonly validation: string;
  readonly recordings: Sides<number>;
  readonly windows: Sides<number>;
  /** Name of the bundle that lent its embedding. */
  readonly from?: string;
  readonly params: number;
  /** `bundle` is the part that decides, as it travels to a gateway. */
  readonly bytes: { readonly int8: number; readonly bundle: number };
  /** One window, one thread. */
  readonly latencyMs: number;
  readonly stages: readonly StageRow[];
  readonly seconds: number;
  /** Of the deployed int8 graph. */
  readonly novelty: NoveltyFigures;
  /** Shares of the held-out healthy windows that are called novel, read back from the bundle. */
  readonly falseAlarms: { readonly windows: number; readonly smoothed: number };
  readonly gate: Gate;
}

/**
 * From recordings of one class to a measured bundle that tells `normal` from `novel`: leaks, an embedding that learns from changed copies or comes
 * from another bundle, the region of known windows, int8, a conformal threshold on windows that training has not seen, false alarms on others.
 *
 * @throws Refusal on data that cannot be trained on, before anything is trained
 */
export async function trainNoveltyBundle(
  set: RecordingSet,
  folder: string,
  request: NoveltyTraining,
  signal?: AbortSignal,
): Promise<NoveltyResult> {
  const started = performance.now();
  await refuseForeignFolder(folder);
  const { choices, from } = request;
  if (choices.novelty === false) {
    throw new Refusal(
      'data/classes',
      `${set.name} has one class only, of which nothing but a novelty bundle can be made; leave out --no-novelty`,
    );
  }
  if (request.reference) {
    throw new Refusal(
      'usage/reference',
      `${set.name} has one class only; a novelty bundle takes no commissioning reference, leave out --reference`,
    );
  }
  const share = choices.novelty.share ?? FALSE_ALARM_SHARE;
  const workspace = await openHealthy(set, request, share, signal);
  const { engine, stages, windows, split, channels, sampleRateHz } = workspace;
  const [{ label }] = split.train.map(({ entry }) => entry);
  const known = label!;
  process.stderr.write(`${set.name} has one class only (${known}): making a novelty bundle, which tells it from everything else\n`);

  const leaks = await lookForLeaks(workspace);
  const embedding = from ? undefined : await trainEmbedding(workspace);
  const embedder = from ? readBase(from).primary : embedding!.result;
  const region = await stages.run(referenceStage(workspace, embedder, from?.digest ?? embedding!.key));
  const draftStarted = performance.now();
  const draft = await draftNoveltyBundle(
    engine,
    {
      name: request.name,
      recipe: { sampleRateHz, window: WINDOW, stride: workspace.stride, channels: [...channels] },
      embedder,
      reference: region.result.reference,
      share,
      known,
      leaves: choices.leaves,
      lineage: { set: set.name, split: split.description, seed: choices.seed, ...(from && { parent: from.digest }) },
      version: VERSION,
    },
    windows.train,
    windows.validation,
  );
  const draftSeconds = (performance.now() - draftStarted) / 1000;
  try {
    const decided = argmaxRows(await draft.probabilities(windows.test), NOVELTY_CLASSES.length);
    const { accuracy, balancedAccuracy, macroF1 } = metricsOf(windows.test.labels, decided, NOVELTY_CLASSES.length);
    const novelty = (await noveltyFigures(workspace, draft))!;
    const [{ latencyMs }] = await measureLatency(
      engine,
      [{ name: 'int8', ...draft.model, feeds: draft.feeds(pickWindows(windows.test, [0])) }],
      { batch: 1, rounds: 21 },
    );
    const bundle = await draft.write(folder, { measured: { accuracy, balancedAccuracy, macroF1, windows: windows.test.count } });
    const core = await readBundle(folder);
    const falseAlarms = await alarmsOf(workspace, core);
    const int8: StageRow = {
      name: 'int8',
      status: 'done',
      seconds: draftSeconds,
      params: parameterCount(embedder),
      bytes: draft.bytes,
      latencyMs,
      note: noveltyNote(novelty),
    };
    return {
      bundle,
      known,
      split: split.description,
      validation: split.validationDescription,
      recordings: sides((side) => new Set(split[side].map(({ entry }) => entry.file)).size),
      windows: sides((side) => windows[side].count),
      ...(from && { from: from.manifest.name }),
      params: parameterCount(embedder),
      bytes: { int8: draft.bytes, bundle: [...core.files.values()].reduce((sum, { length }) => sum + length, 0) },
      latencyMs,
      stages: [...stageRows({ leaks, embedding, region, from }), int8],
      seconds: (performance.now() - started) / 1000,
      novelty,
      falseAlarms,
      gate: gateOf(falseAlarms.windows, share, latencyMs, choices.latencyMs),
    };
  } finally {
    await draft.release();
  }
}

function sides<T>(of: (side: keyof Sides<T>) => T): Sides<T> {
  return { train: of('train'), validation: of('validation'), test: of('test') };
}

/** Reads and splits; every window counts as `normal`. @throws Refusal */
async function openHealthy(
  set: RecordingSet,
  request: NoveltyTraining,
  share: number,
  signal: AbortSignal | undefined,
): Promise<Workspace> {
  const { choices, channels: wanted, rateHz, from, stride = STRIDE } = request;
  const engine = await openEngine(choices.engine, { provider: choices.provider, precision: choices.precision });
  const split = splitHealthy(set.recordings, request.split, { window: WINDOW, rateHz });
  const read = async (pieces: readonly Piece[]) =>
    (await readPieces(set, pieces, wanted, rateHz)).map((one) => ({ ...one, label: NOVELTY_CLASSES[0] }));
  const all = await read([...split.train, ...split.validation, ...split.test]);
  const held = split.train.length + split.validation.length;
  const recordings = { train: all.slice(0, split.train.length), validation: all.slice(split.train.length, held), test: all.slice(held) };
  const windows = sides((side) => cutWindows(recordings[side], NOVELTY_CLASSES, WINDOW, stride, SAMPLES[side]));
  for (const side of ['train', 'test'] as const) {
    if (windows[side].count === 0)
      throw new Refusal('data/short', `no ${side} recording of ${set.name} has ${WINDOW} samples; record longer`);
  }
  refuseFewWindows(windows.validation.count, share);
  const [{ channels, sampleRateHz }] = all;
  const workspace: Workspace = {
    ...{ set, request, engine, signal, split, recordings, windows, channels, sampleRateHz, stride, read },
    classes: NOVELTY_CLASSES,
    stages: await StageRunner.open(signal),
    dataKey: await hashData(set, request, split),
  };
  if (from) refuseOtherRecipe(from, workspace);
  checkNovel(workspace);
  return workspace;
}

/** @throws Refusal train/from where the other bundle hears something else */
function refuseOtherRecipe({ manifest: { name, recipe } }: Bundle, { channels, sampleRateHz }: Workspace): void {
  const [theirs, ours] = [recipe, { sampleRateHz, channels, window: WINDOW }].map(
    (one) => `${one.channels.length} channels at ${one.sampleRateHz} Hz in windows of ${one.window}`,
  );
  if (theirs !== ours)
    throw new Refusal('train/from', `${name} hears ${theirs}, the recordings have ${ours}; choose with --channels and --rate`);
}

function trainEmbedding(workspace: Workspace): Promise<StageOutcome<TrainResult>> {
  const { engine, stages, recordings, request, classes, dataKey } = workspace;
  const { student, seed, budget, engine: engineName, workers, memory } = request.choices;
  const [{ network, training }] = RECIPES;
  const settings = trainSettings(training, student, seed);
  const learning = pretextTraining(recordings.train, shaped(network, recordings.train, classes), settings);
  const division = { engineName, workers, memoryBytes: memory };
  // Assigned, not spread: that would make the copies of recordings before anybody asks for them.
  return stages.run(trainingStage('embedding', engine, Object.assign(learning, { budgetSeconds: budget, division }), dataKey));
}

/** Of the bundle as a gateway gets it. */
async function alarmsOf({ engine, windows: { test } }: Workspace, bundle: Bundle): Promise<NoveltyResult['falseAlarms']> {
  const decider = await BundleDecider.open(engine, bundle);
  const probabilities = await decider.probabilitiesOf(test);
  await decider.release();
  const shareOf = (rows: Float32Array) => {
    const decided = argmaxRows(rows, NOVELTY_CLASSES.length);
    return decided.filter((label) => label === 1).length / decided.length;
  };
  const smoothed = slidingVote(test.labels, test.recordings, probabilities, NOVELTY_CLASSES.length);
  return { windows: shareOf(probabilities), smoothed: shareOf(smoothed.probabilities) };
}

function gateOf(alarms: number, share: number, latencyMs: number, allowedMs: number): Gate {
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const reasons = [
    ...(alarms > ALLOWED_ALARMS * share
      ? [
          `${percent(alarms)} of the held-out healthy windows are called novel where ${percent(share)} was meant: they are unlike those trained on`,
        ]
      : []),
    ...(latencyMs > allowedMs ? [`one window takes ${latencyMs.toFixed(1)} ms, ${allowedMs} ms are allowed`] : []),
  ];
  return { passed: reasons.length === 0, reasons };
}

function stageRows({
  leaks,
  embedding,
  region,
  from,
}: {
  leaks: StageOutcome<unknown>;
  embedding: StageOutcome<TrainResult> | undefined;
  region: StageOutcome<KnownRegion>;
  from: Bundle | undefined;
}): StageRow[] {
  const row = (name: string, { cached, seconds }: StageOutcome<unknown>, more: Partial<StageRow> = {}): StageRow => ({
    name,
    status: cached ? 'cached' : 'done',
    seconds,
    ...more,
  });
  return [
    row('leaks', leaks),
    embedding
      ? row('embedding', embedding, { params: parameterCount(embedding.result) })
      : { name: 'embedding', status: 'done', seconds: 0, note: `that of ${from!.manifest.name}` },
    row('novelty', region, { note: `${region.result.reference.mean.length / region.result.reference.width} means` }),
  ];
}
