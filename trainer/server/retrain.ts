import { type Bundle, readBundle } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import type { Abortable } from '../../runtime/adapt/adaptation.ts';
import { joinFeatures, type LabelledFeatures, rowsByClass, takeRows } from '../../runtime/adapt/labelled-features.ts';
import { openRecordingSet } from '../data/recording-set.ts';
import { pickWindows, spreadOverClasses } from '../evaluate/sampling.ts';
import { Refusal } from '../refusal.ts';
import { readBase } from '../release/base.ts';
import { augmentWindows } from '../tune/augment.ts';
import { Decider } from '../tune/decider.ts';
import { featuresOf, readReplay } from '../tune/front-end.ts';
import { deploy, deployed, type Measure } from '../tune/measure.ts';
import type { TuneContext, Tuned } from '../tune/method.ts';
import { full } from '../tune/methods/full.ts';
import { lora } from '../tune/methods/lora.ts';
import { releaseTuned } from '../tune/release.ts';
import { type CutRecordings, readTarget } from '../tune/target.ts';
import { cutOf, fittingWindows, holdOut } from './retrain-windows.ts';
import { type FullRules, reasonForFull } from './rules.ts';
import { type LabelledWindow, windowKey } from './store.ts';

/** Windows of each class of what the bundle knew that a candidate is judged on. */
const KNOWN_WINDOWS = 48;

/** Annotators that are tried one by one, and labels of a bad one. */
const MOST_TRIED = 8;

export interface RetrainRequest {
  /** Folder of the running bundle, with its parts core, adapt and server. */
  readonly bundle: string;
  /** Folder for the new one; written only where it passes. */
  readonly out: string;
  readonly windows: readonly LabelledWindow[];
  /** Recording set of what the bundle knew; half of its replay windows take its place where absent. */
  readonly known?: string;
  /** Of low-rank tuning. */
  readonly steps: number;
  /** When all weights are trained instead, and for how long. */
  readonly full: FullRules & { readonly steps: number };
  readonly seed: number;
  /** Accuracy on what it knew that the new model may cost. */
  readonly tolerance: number;
  /** Accuracy on what it knew that an annotator's labels alone may cost; honest ones of a very different machine cost a little, too. */
  readonly suspicion: number;
}

/** Accuracy before and after, as deployed, on windows that nothing was learned from. */
export interface RetrainFigures {
  readonly windows: number;
  readonly before: number;
  readonly after: number;
}

export interface Quarantined {
  readonly gateway: string;
  readonly label: string;
  readonly reason: string;
}

export interface RetrainResult {
  readonly outcome: 'accepted' | 'refused';
  /** Why it was refused. */
  readonly reason?: string;
  /** Of the new bundle. */
  readonly digest?: string;
  readonly parent: string;
  /** What was tried last: a low-rank change, or training of all weights. */
  readonly method: Method;
  /** Why all weights were trained. */
  readonly why?: string;
  /** What the bundle knew (balanced accuracy), and what is new (accuracy). */
  readonly old?: RetrainFigures;
  readonly new?: RetrainFigures;
  readonly quarantined: readonly Quarantined[];
  /** Windows that were learned from, in the order of the new replay rows; ids of their labels; assets and annotators. */
  readonly windows: readonly string[];
  readonly labels: readonly string[];
  readonly pseudonyms: readonly string[];
  readonly seconds: number;
}

type Method = 'lora' | 'full';

interface Candidate {
  readonly tuned: Tuned;
  readonly method: Method;
  readonly old: RetrainFigures;
  readonly new: RetrainFigures;
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** One retraining in the making. */
class Retraining {
  readonly #context: TuneContext;
  readonly #replay: LabelledFeatures;
  readonly #known: LabelledFeatures;
  readonly #windows: readonly LabelledWindow[];
  readonly #features: LabelledFeatures;
  readonly #augmented: LabelledFeatures;
  readonly #copies: number;
  readonly #suspicion: number;
  readonly #fullSteps: number;

  constructor(
    context: TuneContext,
    { replay, known }: { replay: LabelledFeatures; known: LabelledFeatures },
    { windows, features, augmented }: { windows: readonly LabelledWindow[]; features: LabelledFeatures; augmented: LabelledFeatures },
    { suspicion, full: { steps } }: Pick<RetrainRequest, 'suspicion' | 'full'>,
  ) {
    this.#fullSteps = steps;
    this.#context = context;
    this.#replay = replay;
    this.#known = known;
    this.#windows = windows;
    this.#features = features;
    this.#augmented = augmented;
    this.#copies = augmented.labels.length / features.labels.length;
    this.#suspicion = suspicion;
  }

  /** Tunes on some rows, judges on others: on copies of what was learned, changed as another piece of the signal might be, where there are none. */
  async tune(learned: readonly number[], held: readonly number[], method: Method): Promise<Candidate> {
    const shots = takeRows(this.#features, learned);
    const settings = { ...this.#context.settings, steps: this.#fullSteps };
    const tuned =
      method === 'full'
        ? await full.tune({ ...this.#context, settings }, shots, this.#replay)
        : await lora.tune(this.#context, shots, this.#replay);
    const judged = held.length > 0 ? takeRows(this.#features, held) : takeRows(this.#augmented, this.#copiesOf(learned));
    const [[oldBefore, oldAfter], [newBefore, newAfter]] = [await this.#both(this.#known, tuned), await this.#both(judged, tuned)];
    return {
      tuned,
      method,
      old: { windows: oldBefore.windows, before: oldBefore.balancedAccuracy, after: oldAfter.balancedAccuracy },
      new: { windows: newBefore.windows, before: newBefore.accuracy, after: newAfter.accuracy },
    };
  }

  /**
   * Labels that move what is known down: each annotator of a gateway alone, and of one who does, each label. What others have cross-checked counts as
   * known.
   */
  async poison(rows: readonly number[]): Promise<Quarantined[]> {
    const found: Quarantined[] = [];
    const byAnnotator = groupBy(rows, (row) => JSON.stringify([this.#windows[row].gateway, this.#windows[row].label.annotator]));
    for (const own of [...byAnnotator.values()].slice(-MOST_TRIED)) {
      const cost = await this.#cost(own, rows);
      if (cost <= this.#suspicion) continue;
      const byLabel = groupBy(own, (row) => this.#windows[row].label.id);
      const guilty: Quarantined[] = [];
      if (byLabel.size > 1 && byLabel.size <= MOST_TRIED) {
        for (const [label, some] of byLabel) {
          const alone = await this.#cost(some, rows);
          const { gateway } = this.#windows[some[0]];
          if (alone > this.#suspicion) guilty.push({ gateway, label, reason: this.#reason('the label', alone) });
        }
      }
      const all = [...byLabel].map(([label, some]) => ({
        gateway: this.#windows[some[0]].gateway,
        label,
        reason: this.#reason('its annotator', cost),
      }));
      found.push(...(guilty.length > 0 ? guilty : all));
    }
    return found;
  }

  #reason(who: string, cost: number): string {
    return `${who} costs ${(100 * cost).toFixed(1)} points of accuracy on what is known, ${(100 * this.#suspicion).toFixed(1)} are allowed`;
  }

  /** Accuracy on what is known that learning from these rows alone costs. */
  async #cost(rows: readonly number[], among: readonly number[]): Promise<number> {
    const own = new Set(rows);
    const checked = among.filter((row) => !own.has(row) && this.#windows[row].label.tier !== 'first');
    const guard = joinFeatures([this.#known, takeRows(this.#features, checked)]);
    const tuned = await lora.tune(this.#context, takeRows(this.#features, rows), this.#replay);
    const [before, after] = await this.#both(guard, tuned);
    return before.balancedAccuracy - after.balancedAccuracy;
  }

  async #both(examples: LabelledFeatures, tuned: Tuned): Promise<[Measure, Measure]> {
    const measures: Measure[] = [];
    for (const one of [undefined, tuned]) {
      const made = await deploy(this.#context, this.#replay, one);
      measures.push(await made.measure(examples));
      await made.release();
    }
    return measures as [Measure, Measure];
  }

  #copiesOf(rows: readonly number[]): number[] {
    const { length } = this.#features.labels;
    return Array.from({ length: this.#copies }, (_, copy) => rows.map((row) => copy * length + row)).flat();
  }
}

function groupBy<T>(values: readonly T[], key: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) groups.set(key(value), [...(groups.get(key(value)) ?? []), value]);
  return groups;
}

/** Every second row of each class, and the others. */
function halves(examples: LabelledFeatures): [LabelledFeatures, LabelledFeatures] {
  const groups = rowsByClass(examples.labels);
  const half = (rest: number) =>
    takeRows(
      examples,
      groups.flatMap((rows) => rows.filter((_, place) => place % 2 === rest)),
    );
  return [half(0), half(1)];
}

/** Some windows of each class of what the bundle knew. */
async function readKnown(folder: string, bundle: Bundle): Promise<CutRecordings> {
  const cut = await readTarget(await openRecordingSet(folder), bundle);
  return { recordings: cut.recordings, windows: spreadOverClasses(cut.windows, KNOWN_WINDOWS) };
}

/**
 * Retrains a bundle on labelled windows from gateways, with replay: a low-rank change of its base, merged into a new bundle, or where there are many windows or
 * machines, or that does not pass, all of its weights from where they are. Data from gateways is not
 * trusted: labels that cost what is known are quarantined, and the candidate must be better on what is new and no worse on what is old, as it is deployed.
 *
 * The same bundle, windows and seed give the same result.
 *
 * @throws Refusal retrain/windows where nothing can be learned from
 */
export async function retrain(
  engine: Engine,
  { bundle: folder, out, windows: given, known, steps, full: rules, seed, tolerance, suspicion }: RetrainRequest,
  { signal, onProgress = () => {} }: { signal?: Abortable; onProgress?: (note: string) => void } = {},
): Promise<RetrainResult> {
  const began = performance.now();
  const bundle = await readBundle(folder, ['core', 'adapt', 'server']);
  const { manifest } = bundle;
  const windows = fittingWindows(given, manifest);
  if (windows.length === 0)
    throw new Refusal('retrain/windows', `of ${given.length} labelled windows none fits ${manifest.name}; do gateways send raw evidence?`);
  const target = cutOf(windows, manifest);
  const source = known === undefined ? undefined : await readKnown(known, bundle);
  const features = await featuresOf(engine, bundle, target.windows);
  const shape = { window: manifest.recipe.window, channels: manifest.recipe.channels.length };
  const augmented = await featuresOf(engine, bundle, augmentWindows(target.windows, shape, seed));
  const replay = readReplay(bundle);
  const [learnedReplay, heldReplay] = source ? [replay, await featuresOf(engine, bundle, source.windows)] : halves(replay);
  const context: TuneContext = {
    engine,
    bundle,
    network: createNetwork(manifest.network as NetworkOptions),
    base: readBase(bundle).primary.weights,
    unlabelled: features.features,
    balance: manifest.classes.map((_, label) => features.labels.filter((other) => other === label).length),
    settings: { prefixLength: 1, steps, seed },
    signal,
  };
  const work = new Retraining(
    context,
    { replay: learnedReplay, known: heldReplay },
    { windows, features, augmented },
    { suspicion, full: rules },
  );

  // Who alone does harm is out before anything is learned from all together.
  const all = [...windows.keys()];
  const annotators = new Set(windows.map(({ gateway, label }) => `${gateway}/${label.annotator}`)).size;
  let quarantined: Quarantined[] = [];
  const trusted = () => all.filter((row) => !quarantined.some(({ gateway, label }) => isOf(windows[row], gateway, label)));
  const look = async () => {
    onProgress('look for labels that do harm');
    quarantined = [...quarantined, ...(await work.poison(trusted()))];
  };
  if (annotators > 1) await look();
  let candidate: Candidate | undefined;
  let why: string | undefined;
  let rows: { learned: readonly number[]; held: readonly number[] } = { learned: [], held: [] };
  for (;;) {
    const left = trusted();
    if (left.length === 0) break;
    const split = holdOut(
      left.map((row) => windows[row]),
      manifest.recipe.window,
    );
    rows = { learned: split.learned.map((at) => left[at]), held: split.held.map((at) => left[at]) };
    why = reasonForFull(
      rows.learned.map((row) => windows[row]),
      rules,
    );
    onProgress(`${why ? `train all weights (${why})` : 'tune'} on ${rows.learned.length} windows`);
    candidate = await work.tune(rows.learned, rows.held, why ? 'full' : 'lora');
    const hasLost = candidate.old.before - candidate.old.after > tolerance;
    if (!hasLost || annotators > 1 || quarantined.length > 0) break;
    await look();
    if (quarantined.length === 0) break;
    candidate = undefined;
  }

  const refusedLow = candidate?.method === 'lora' ? reasonAgainst(candidate, tolerance) : undefined;
  if (refusedLow) {
    why = `low-rank tuning did not pass: ${refusedLow}`;
    onProgress(`train all weights (${why})`);
    candidate = await work.tune(rows.learned, rows.held, 'full');
  }
  const method = candidate?.method ?? 'lora';
  const learned = rows.learned.map((row) => windows[row]);
  const result = (more: Pick<RetrainResult, 'outcome' | 'reason' | 'digest' | 'old' | 'new'>): RetrainResult => ({
    ...more,
    parent: bundle.digest,
    method,
    ...(why && { why }),
    quarantined,
    windows: learned.map(windowKey),
    labels: [...new Set(learned.map(({ label }) => label.id))],
    pseudonyms: [...new Set(learned.flatMap(({ asset, label }) => [asset, label.annotator]))],
    seconds: (performance.now() - began) / 1000,
  });
  if (!candidate) return result({ outcome: 'refused', reason: 'every label is in quarantine' });
  const figures = { old: candidate.old, new: candidate.new };
  const against = reasonAgainst(figures, tolerance);
  if (against) return result({ outcome: 'refused', reason: against, ...figures });

  onProgress('merge, make int8 again, prove');
  const shots = takeRows(features, rows.learned);
  const measured = takeRows(features, rows.held.length > 0 ? rows.held : rows.learned);
  const toMeasure = (accuracy: number, windows: number): Measure => ({ windows, accuracy, balancedAccuracy: accuracy, macroF1: accuracy });
  const learnedCut = { recordings: rows.learned.map((row) => target.recordings[row]), windows: pickWindows(target.windows, rows.learned) };
  const release = await releaseTuned(
    out,
    'labelled windows of gateways',
    {
      method,
      tuned: candidate.tuned,
      context,
      examples: { shots, measured, replay },
      after: { target: toMeasure(candidate.new.after, candidate.new.windows) },
    },
    learnedCut,
    source,
  );
  // Once more, of the bundle as it lies on disk: what is signed is what was measured.
  const weights = readBase(release.bundle).primary.weights;
  const decider = await Decider.ofBundle(engine, release.bundle, context.network, weights.statistics, context.base.statistics);
  const fresh = deployed(decider, manifest.classes.length, undefined);
  const old = { ...candidate.old, after: (await fresh.measure(heldReplay)).balancedAccuracy };
  await fresh.release();
  const merged = { old, new: { ...candidate.new, ...(rows.held.length > 0 && { after: release.measured.accuracy }) } };
  const lost = reasonAgainst(merged, tolerance);
  return result({ outcome: lost ? 'refused' : 'accepted', reason: lost, digest: release.bundle.digest, ...merged });
}

function isOf({ gateway, label }: LabelledWindow, ofGateway: string, id: string): boolean {
  return gateway === ofGateway && label.id === id;
}

function reasonAgainst({ old, new: fresh }: { old: RetrainFigures; new: RetrainFigures }, tolerance: number): string | undefined {
  if (old.before - old.after > tolerance)
    return `it forgets: balanced accuracy on what is known ${percent(old.before)} -> ${percent(old.after)}, ${percent(tolerance)} may be lost`;
  if (fresh.after <= fresh.before) return `it is no better on what is new: ${percent(fresh.before)} -> ${percent(fresh.after)}`;
  return undefined;
}
