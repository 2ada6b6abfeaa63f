import { type Bundle, readBundle } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { Random } from '../../models/networks/random.ts';
import { type Commissioned, commission, type ReferenceRule, withReferences } from '../data/commissioning.ts';
import { pieceLength, readPieces } from '../data/pieces.ts';
import { channelNames, type Recording, type RecordingEntry, type RecordingSet } from '../data/recording-set.ts';
import { type Piece, type SplitRule, splitRecordings } from '../data/split.ts';
import { drawRuns, LEARNING_SAMPLE, shareOut, TEST_SAMPLE, type WindowSample } from '../data/window-sample.ts';
import { cutWindows, type Windows, windowGrid, windowParts } from '../data/windows.ts';
import { Refusal } from '../refusal.ts';
import { readBase, type TrainedNetwork } from '../release/base.ts';
import { type Attack, attackCurves } from './attacks.ts';
import { BASELINES, type Baselines, runBaselines } from './baselines.ts';
import { BundleDecider } from './bundle-decider.ts';
import { type Evaluation, evaluateDecisions, type TestFigures } from './evaluate.ts';
import { classOfLabel, evaluateNovelty, isNoveltyBundle, type NoveltyEvaluation } from './evaluate-novelty.ts';
import type { Metrics } from './metrics.ts';
import { ROBUSTNESS_WINDOWS, type RobustnessCurve, robustnessCurves } from './robustness-curves.ts';
import { joinWindows, pickWindows, spreadEvenly } from './sampling.ts';
import { measureTiming, type Timing } from './timing.ts';

/**
 * Windows that are decided at most: what is kept of each (probabilities, label, recording) then takes no more than 4 MB a class, and an accuracy of 95 %
 * is known to 0.04 points. Of more windows runs of neighbours are decided, evenly spread over every recording.
 */
const MOST_DECIDED = 1 << 18;

export interface EvaluateOptions {
  /** Evaluate on the test part of a split; on every labelled recording where absent. */
  readonly split?: SplitRule;
  /** Channels of the set that take the places of the bundle's, in order; those of the same names where absent. */
  readonly channels?: readonly string[];
  /** Rate to resample to, which must be the bundle's; needed where a recording has another. */
  readonly rateHz?: number;
  /** Whose recordings are machines' commissioning references and are not evaluated on; a bundle that takes references needs it. */
  readonly reference?: ReferenceRule;
  /** Leaves out baselines, robustness and attacks. */
  readonly quick: boolean;
  /** Fit the baselines on the other parts of the split; without a split there is nothing to fit them on. */
  readonly baselines: boolean;
  /** Recordings beside the set that a bundle with classes should find new. */
  readonly novel?: RecordingSet;
  /** A field of the recordings; figures for each of its values. */
  readonly by?: string;
  readonly seed: number;
}

type BaselineFigures = Omit<Metrics, 'confusion'>;

export interface BundleEvaluation extends Evaluation {
  readonly bundle: { readonly name: string; readonly digest: string };
  readonly set: string;
  /** What was evaluated on, for people. */
  readonly part: string;
  /** Why the figures may flatter: the bundle may know some of the recordings. */
  readonly warning?: string;
  readonly recordings: number;
  readonly classes: readonly string[];
  readonly by?: readonly ({ readonly value: string } & TestFigures)[];
  readonly baselines?: Readonly<Partial<Record<keyof Baselines, BaselineFigures>>>;
  /** Where the bundle scores novelty. Of a novelty bundle the known windows are the normal ones, of others all that are evaluated. */
  readonly novelty?: NoveltyEvaluation;
  /** Where the bundle decides on what differs from a machine's reference, how many windows that was made of at least. */
  readonly reference?: number;
  readonly timing: Timing;
  readonly robustness?: readonly RobustnessCurve[];
  readonly attacks?: readonly Attack[];
}

/** Told where the work is: a title once, then shares from 0 to 1. */
export type OnStage = (title: string) => (share: number, note?: string) => void;

/**
 * Everything that `tremolo evaluate` says of a bundle on recordings, read by windows, one recording after the other. Attacks need the float network, which a
 * bundle has only where it was trained.
 *
 * @throws Refusal where bundle and set do not fit each other, or no chosen recording can be evaluated
 */
export async function evaluateBundle(
  engine: Engine,
  folder: string,
  set: RecordingSet,
  options: EvaluateOptions,
  onStage: OnStage = () => () => {},
  signal?: AbortSignal,
): Promise<BundleEvaluation> {
  const { bundle, network } = await openForEvaluation(folder, options.quick);
  const { manifest } = bundle;
  const { recipe, classes } = manifest;
  const shape = [recipe.window, recipe.channels.length] as const;
  const commissioned = commissionedBy(set, manifest, options.reference);
  const { test, rest, part } = partsOf({ ...set, recordings: commissioned?.rest ?? set.recordings }, manifest, options);
  const readPlain = async (from: RecordingSet, pieces: readonly Piece[]) =>
    (await readPieces(from, pieces, options.channels ?? recipe.channels, options.rateHz)).map((one) => ({
      ...one,
      label: one.label && classOfLabel(one.label, manifest),
    }));
  const references =
    commissioned &&
    (await readPlain(
      set,
      commissioned.references.map((entry) => ({ entry })),
    ));
  const readFrom = async (from: RecordingSet, pieces: readonly Piece[]) => {
    const recordings = await readPlain(from, pieces);
    return commissioned ? withReferences(recordings, references!, commissioned) : recordings;
  };
  const read = (pieces: readonly Piece[]) => readFrom(set, pieces);

  const decider = await BundleDecider.open(engine, bundle);
  try {
    await decider.commission(cutWindows(await read(test.slice(0, 1)), classes, recipe.window, recipe.stride));
    const decided = await decideRecordings(decider, test, manifest, read, onStage('decide'), signal);
    const { labels, recordings, probabilities, sample, there } = decided;
    const novelty = await noveltyOf(decider, decided, manifest, options.novel, (entry) => readFrom(options.novel!, [{ entry }]));
    const evaluation = evaluateDecisions({ labels, recordings, probabilities, classes });
    const by = options.by === undefined ? undefined : figuresBy(options.by, test, decided, classes);
    const timing = await measureTiming(decider.session, decider.feeds(pickWindows(sample, [0])), recipe, { signal });
    const said = {
      bundle: { name: manifest.name, digest: bundle.digest },
      set: set.name,
      part: there > MOST_DECIDED ? `${part}, ${labels.length} of its ${there} windows` : part,
      ...mayKnow(manifest, set, part),
      recordings: new Set(recordings).size,
      classes,
      ...evaluation,
      ...(by && { by }),
      ...(novelty && { novelty }),
      ...(manifest.reference && { reference: manifest.reference.windows }),
    };
    if (options.quick) return { ...said, timing };
    const baselines =
      rest && options.baselines && !isNoveltyBundle(manifest)
        ? await fitBaselines(await read(rest), await read(test), manifest, options.seed, onStage, signal)
        : undefined;
    const probabilitiesOf = (windows: Windows) => decider.probabilitiesOf(windows, signal);
    const robustness = await robustnessCurves(probabilitiesOf, sample, shape, classes.length, options.seed, onStage('robustness'), signal);
    const attacks =
      network &&
      (await attackCurves(engine, { ...network, probabilitiesOf }, sample, { seed: options.seed, onProgress: onStage('attacks'), signal }));
    return { ...said, ...(baselines && { baselines }), timing, robustness, ...(attacks && { attacks }) };
  } finally {
    await decider.release();
  }
}

/** A bundle remembers the name of the set that it learned from and how that was split, no recordings: the same name is a suspicion. */
function mayKnow({ name, lineage }: Manifest, set: RecordingSet, part: string): { warning?: string } {
  if (lineage.set !== set.name || lineage.split === part) return {};
  return {
    warning: `${name} was trained on a set called ${set.name} (${lineage.split}): what it has seen of these recordings flatters it; measure with the same split, or on others`,
  };
}

async function openForEvaluation(folder: string, quick: boolean): Promise<{ bundle: Bundle; network?: TrainedNetwork }> {
  const bundle = await readBundle(folder);
  const { manifest } = bundle;
  // A novelty bundle decides by distance: its float network's own logits have no gradient to attack by. Nor does the gradient know references.
  if (quick || !manifest.parts.server || isNoveltyBundle(manifest) || manifest.reference) return { bundle };
  return { bundle, network: readBase(await readBundle(folder, ['core', 'server'])).primary };
}

/** @throws Refusal evaluate/reference where the bundle takes references and nobody says whose */
function commissionedBy(set: RecordingSet, { name, reference }: Manifest, rule: ReferenceRule | undefined): Commissioned | undefined {
  if (rule) return commission(set.recordings, rule);
  if (!reference) return undefined;
  const key = reference.key ?? 'KEY';
  throw new Refusal('evaluate/reference', `${name} decides on what differs from a machine's healthy reference; say --reference ${key}`);
}

/** What is evaluated on, and what baselines may be fitted on. @throws Refusal where the bundle cannot decide on the set */
function partsOf(set: RecordingSet, manifest: Manifest, options: EvaluateOptions): { test: Piece[]; rest?: Piece[]; part: string } {
  const { recipe } = manifest;
  const rateHz = options.rateHz ?? recipe.sampleRateHz;
  const refuse = (code: string, message: string) => new Refusal(`evaluate/${code}`, message);
  if (rateHz !== recipe.sampleRateHz)
    throw refuse('rate', `${manifest.name} decides at ${recipe.sampleRateHz} Hz; say --rate ${recipe.sampleRateHz}`);
  if (options.channels && options.channels.length !== recipe.channels.length) {
    throw refuse(
      'channels',
      `${manifest.name} takes ${recipe.channels.length} channels (${recipe.channels}); --channels names ${options.channels.length}`,
    );
  }
  if (options.novel) {
    if (!manifest.novelty) throw refuse('novelty', `${manifest.name} does not score novelty; train it again without --no-novelty`);
    checkHearing(
      options.novel.recordings.map((entry) => ({ entry })),
      manifest,
      options,
    );
  }
  const labelled = set.recordings.filter(({ label }) => label !== null);
  if (labelled.length === 0) throw refuse('labels', `no chosen recording of ${set.name} has a label`);
  const split = options.split && splitRecordings(set.recordings, options.split, { window: recipe.window, rateHz: options.rateHz });
  const test = split ? [...split.test] : labelled.map((entry) => ({ entry }));
  const rest = split && [...split.train, ...split.validation];
  checkFit(set, [...test, ...(rest ?? [])], manifest, options);
  const { by } = options;
  if (by !== undefined && !test.some(({ entry }) => by in entry)) {
    throw refuse('by', `no chosen recording has a field ${by}; data info lists the fields`);
  }
  const long = test.filter((piece) => resampledLength(piece, rateHz) >= recipe.window);
  if (long.length === 0) throw refuse('short', `no chosen recording of ${set.name} has ${recipe.window} samples at ${rateHz} Hz`);
  return { test: long, rest, part: split?.description ?? 'all labelled recordings' };
}

function checkFit(set: RecordingSet, pieces: readonly Piece[], manifest: Manifest, options: EvaluateOptions): void {
  const { name, classes } = manifest;
  const unknown = [...new Set(pieces.map(({ entry }) => entry.label!))].filter((label) => !classes.includes(classOfLabel(label, manifest)));
  if (unknown.length > 0) {
    throw new Refusal(
      'evaluate/classes',
      `${set.name} has class ${unknown.join(', ')}, which ${name} does not know; leave it out with --where or rename it with --relabel PATTERN=CLASS (${classes.join(', ')})`,
    );
  }
  checkHearing(pieces, manifest, options);
}

/** @throws Refusal evaluate/channels, evaluate/rate */
function checkHearing(pieces: readonly Piece[], { name, recipe }: Manifest, options: EvaluateOptions): void {
  const wanted = options.channels ?? recipe.channels;
  for (const { entry } of pieces) {
    const missing = wanted.filter((channel) => !channelNames(entry).includes(channel));
    if (missing.length > 0) {
      throw new Refusal(
        'evaluate/channels',
        `${entry.file} has no channel ${missing.join(', ')}; it has ${channelNames(entry).join(', ')}: name those that take their places with --channels`,
      );
    }
    if (entry.sample_rate_hz !== recipe.sampleRateHz && options.rateHz === undefined) {
      throw new Refusal(
        'evaluate/rate',
        `${entry.file} has ${entry.sample_rate_hz} Hz, ${name} decides at ${recipe.sampleRateHz} Hz; say --rate ${recipe.sampleRateHz} to resample`,
      );
    }
  }
}

function resampledLength(piece: Piece, rateHz: number): number {
  return Math.floor((pieceLength(piece) * rateHz) / piece.entry.sample_rate_hz);
}

interface Decided {
  readonly labels: Int32Array;
  /** Index of each window's piece. */
  readonly recordings: Int32Array;
  readonly probabilities: Float32Array;
  /** Of each window; absent where the bundle does not score it. */
  readonly novelty?: Float32Array;
  /** Windows enough of every class for the robustness tier. */
  readonly sample: Windows;
}

interface AllDecided extends Decided {
  /** Windows that the recordings have, decided or not. */
  readonly there: number;
}

/** A part of a recording at a time: a set may be larger than memory. */
async function decideRecordings(
  decider: BundleDecider,
  pieces: readonly Piece[],
  manifest: Manifest,
  read: (pieces: readonly Piece[]) => Promise<Recording[]>,
  onProgress: (share: number, note?: string) => void,
  signal?: AbortSignal,
): Promise<AllDecided> {
  const {
    recipe: { window, stride, sampleRateHz },
    classes,
  } = manifest;
  const classOf = ({ entry }: Piece) => classOfLabel(entry.label!, manifest);
  const ofClass = (label: string) => pieces.filter((piece) => classOf(piece) === label).length;
  const outputs = manifest.novelty ? (['probabilities', 'novelty'] as const) : (['probabilities'] as const);
  const counts = pieces.map(
    (piece) => windowGrid({ entry: piece.entry, length: resampledLength(piece, sampleRateHz) }, window, stride).count,
  );
  const wanted = shareOut(counts, MOST_DECIDED);
  const random = new Random(1);
  const parts: Decided[] = [];
  for (const [index, piece] of pieces.entries()) {
    const [recording] = await read([piece]);
    // A resampled recording may have a window more than its length promised.
    const all = windowGrid(recording, window, stride).count;
    const runs = drawRuns(all, wanted[index] === counts[index] ? all : Math.min(all, wanted[index]), TEST_SAMPLE.run, random);
    const decided = runs.reduce((sum, { count }) => sum + count, 0);
    const kept = new Set(spreadEvenly([...Array(decided).keys()], Math.ceil(ROBUSTNESS_WINDOWS / ofClass(classOf(piece)))));
    let before = 0;
    for (const windows of windowParts(recording, classes, window, stride, runs)) {
      signal?.throwIfAborted();
      windows.recordings.fill(index);
      parts.push({
        labels: windows.labels,
        recordings: windows.recordings,
        ...(await decider.runAll<'probabilities' | 'novelty'>(windows, outputs, signal)),
        sample: pickWindows(
          windows,
          [...windows.labels.keys()].filter((row) => kept.has(before + row)),
        ),
      });
      before += windows.count;
      onProgress((index + before / decided) / pieces.length, piece.entry.file);
    }
  }
  const joined = joinWindows(
    parts.map(({ labels, recordings, probabilities }) => ({ labels, recordings, samples: probabilities, count: labels.length })),
  );
  return {
    labels: joined.labels,
    recordings: joined.recordings,
    probabilities: joined.samples,
    ...(manifest.novelty && { novelty: Float32Array.from(parts.flatMap(({ novelty }) => [...novelty!])) }),
    sample: joinWindows(parts.map(({ sample }) => sample)),
    there: counts.reduce((sum, count) => sum + count, 0),
  };
}

async function noveltyOf(
  decider: BundleDecider,
  { novelty: scores, labels }: Decided,
  manifest: Manifest,
  novel: RecordingSet | undefined,
  read: (entry: RecordingEntry) => Promise<Recording[]>,
): Promise<NoveltyEvaluation | undefined> {
  if (!manifest.novelty || !scores) return undefined;
  const { recipe } = manifest;
  // Labels tell only a novelty bundle's windows apart; all that another bundle is evaluated on is known to it.
  const ofClass = (label: number) => scores.filter((_, row) => labels[row] === label);
  const [known, others]: [Float32Array, Float32Array[]] = isNoveltyBundle(manifest) ? [ofClass(0), [ofClass(1)]] : [scores, []];
  for (const entry of novel?.recordings ?? []) {
    const [recording] = await read(entry);
    for (const windows of windowParts({ ...recording, label: 'novel' }, ['novel'], recipe.window, recipe.stride)) {
      others.push(await decider.run(windows, 'novelty'));
    }
  }
  return evaluateNovelty(manifest.novelty, known, Float32Array.from(others.flatMap((part) => [...part])));
}

/** Figures for each value of a field, in the order in which the values appear. */
function figuresBy(
  key: string,
  pieces: readonly Piece[],
  decided: Decided,
  classes: readonly string[],
): ({ value: string } & TestFigures)[] {
  const values = pieces.map(({ entry }) => String(entry[key]));
  const { labels, recordings, probabilities } = decided;
  return [...new Set(values)].map((value) => {
    const rows = [...recordings.keys()].filter((row) => values[recordings[row]] === value);
    const own = pickWindows({ samples: probabilities, labels, recordings, count: labels.length }, rows);
    const { test } = evaluateDecisions({ labels: own.labels, recordings: own.recordings, probabilities: own.samples, classes });
    return { value, ...test };
  });
}

async function fitBaselines(
  train: readonly Recording[],
  test: readonly Recording[],
  { recipe, classes }: Manifest,
  seed: number,
  onStage: OnStage,
  signal?: AbortSignal,
): Promise<Partial<Record<keyof Baselines, BaselineFigures>>> {
  const cut = (recordings: readonly Recording[], sample: WindowSample) =>
    cutWindows(recordings, classes, recipe.window, recipe.stride, sample);
  const report = onStage('baselines');
  const shape = [recipe.window, recipe.channels.length] as const;
  const made = await runBaselines(cut(train, LEARNING_SAMPLE), cut(test, TEST_SAMPLE), shape, classes.length, {
    seed,
    onProgress: ({ baseline, share }) => report(share, baseline),
    signal,
  });
  const brief = ({ confusion, ...figures }: Metrics): BaselineFigures => figures;
  return Object.fromEntries(BASELINES.flatMap((name) => (made[name] ? [[name, brief(made[name])]] : [])));
}
