import type { Bundle } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import type { Abortable } from '../../runtime/adapt/adaptation.ts';
import { type LabelledFeatures, takeRows } from '../../runtime/adapt/labelled-features.ts';
import { pickWindows } from '../evaluate/sampling.ts';
import { Refusal } from '../refusal.ts';
import { readBase } from '../release/base.ts';
import { augmentWindows } from './augment.ts';
import { featuresOf, readReplay } from './front-end.ts';
import { type BeforeOrAfter, deploy } from './measure.ts';
import { fitsBank, METHOD_NAMES, type MethodName, type TuneContext, type Tuned, type TuneMethod, type TuneSettings } from './method.ts';
import { METHODS } from './methods/index.ts';
import { type CutRecordings, type Draw, drawShots } from './target.ts';
import { type Candidate, chooseCandidate, scoreOf, type Validation, validate, validationFolds } from './validate.ts';

export interface TuneRequest {
  readonly method: MethodName | 'auto';
  /** Labelled windows a class. */
  readonly shots: number;
  readonly settings: TuneSettings;
  /** Lets `auto` choose only what becomes a row of the bundle's bank. */
  readonly bankOnly: boolean;
}

/** One line of the matrix. */
export interface MethodRow {
  readonly method: MethodName;
  /** Why it was not tried, or must not be chosen. */
  readonly refused?: string;
  readonly trainable?: number;
  readonly trainableShare?: number;
  readonly seconds?: number;
  readonly adapterBytes?: number;
  readonly validation?: Validation;
}

export interface TuneResult {
  readonly method: MethodName;
  readonly tuned: Tuned;
  /** Of the training alone, on one thread. */
  readonly seconds: number;
  readonly trainableShare: number;
  readonly before: BeforeOrAfter;
  readonly after: BeforeOrAfter;
  readonly methods: readonly MethodRow[];
  /** What the bundle as it is reaches on what `auto` judges by. */
  readonly unadapted?: Validation;
  readonly warnings: readonly string[];
  readonly context: TuneContext;
  readonly draw: Draw;
  readonly examples: TuneExamples;
}

/** Windows by their part in a tuning. */
export interface TuneExamples {
  readonly shots: LabelledFeatures;
  readonly measured: LabelledFeatures;
  readonly replay: LabelledFeatures;
}

/** Called when a method begins, for a progress bar. */
export type TuneProgress = (note: string) => void;

/**
 * Adapts a bundle to labelled windows of a target and measures it on the target's other windows, as it would be deployed.
 *
 * @param source recordings of what the network knew; its replay windows take their place where absent
 * @throws Refusal tune/shots, tune/method
 */
export async function tuneBundle(
  engine: Engine,
  bundle: Bundle,
  target: CutRecordings,
  source: CutRecordings | undefined,
  { method, shots: perClass, settings, bankOnly }: TuneRequest,
  { signal, onProgress = () => {} }: { signal?: Abortable; onProgress?: TuneProgress } = {},
): Promise<TuneResult> {
  const { recipe, classes, network: options } = bundle.manifest;
  const draw = drawShots(target.windows, classes, perClass, recipe, settings.seed);
  const all = await featuresOf(engine, bundle, target.windows);
  const examples: TuneExamples = { shots: takeRows(all, draw.shots), measured: takeRows(all, draw.measured), replay: readReplay(bundle) };
  const context: TuneContext = {
    engine,
    bundle,
    network: createNetwork(options as NetworkOptions),
    base: readBase(bundle).primary.weights,
    unlabelled: all.features,
    balance: classes.map((_, label) => all.labels.reduce((sum, other) => sum + (other === label ? 1 : 0), 0)),
    settings,
    signal,
  };
  const known = source ? await featuresOf(engine, bundle, source.windows) : examples.replay;
  const measuredOn = source ? 'recordings' : 'replay';
  const bothOf = async (tuned?: Tuned): Promise<BeforeOrAfter> => {
    const made = await deploy(context, examples.replay, tuned);
    const measures = { target: await made.measure(examples.measured), source: { ...(await made.measure(known)), measuredOn } as const };
    await made.release();
    return measures;
  };

  const before = await bothOf();
  const chosen =
    method === 'auto' ? await chooseMethod(context, examples, target, draw, perClass, bankOnly, onProgress) : only(context, method);
  onProgress(`tune by ${chosen.method.name}`);
  const began = performance.now();
  const tuned = await chosen.method.tune(context, examples.shots, examples.replay);
  const seconds = (performance.now() - began) / 1000;
  const after = await bothOf(tuned);
  const trainableShare = tuned.trainable / context.network.parameters.size;
  const { name } = chosen.method;
  const own: MethodRow = { method: name, trainable: tuned.trainable, trainableShare, seconds, adapterBytes: tuned.adapterBytes };
  return {
    method: name,
    tuned,
    seconds,
    trainableShare,
    before,
    after,
    methods: method === 'auto' ? chosen.rows : [own],
    unadapted: chosen.unadapted,
    warnings: chosen.warnings,
    context,
    draw,
    examples,
  };
}

interface Choice {
  readonly method: TuneMethod;
  readonly rows: readonly MethodRow[];
  readonly unadapted?: Validation;
  readonly warnings: readonly string[];
}

/** The method that a person asked for, with a warning where it is unsafe. */
function only(context: TuneContext, name: MethodName): Choice {
  const method = METHODS[name];
  const impossible = method.impossible?.(context);
  if (impossible) throw new Refusal('tune/method', `--method ${name}: ${impossible}`);
  const unsafe = method.unsafe?.(context);
  return { method, rows: [], warnings: unsafe ? [`--method ${name}: ${unsafe}; do not deploy this`] : [] };
}

/** Validates every method that is possible and safe here. */
async function chooseMethod(
  context: TuneContext,
  { shots, replay }: TuneExamples,
  { windows }: CutRecordings,
  { shots: rows }: Draw,
  perClass: number,
  bankOnly: boolean,
  onProgress: TuneProgress,
): Promise<Choice> {
  const { engine, bundle, network, settings } = context;
  const shape = { window: bundle.manifest.recipe.window, channels: bundle.manifest.recipe.channels.length };
  const augmented = await featuresOf(engine, bundle, augmentWindows(pickWindows(windows, rows), shape, settings.seed));
  const folds = validationFolds(shots, augmented, replay, perClass);
  const tried: (MethodRow & Candidate)[] = [];
  const matrix: MethodRow[] = [];
  for (const name of METHOD_NAMES) {
    const method = METHODS[name];
    const refused = method.impossible?.(context) ?? method.unsafe?.(context);
    if (refused) {
      matrix.push({ method: name, refused });
      continue;
    }
    onProgress(`validate ${name}`);
    const began = performance.now();
    const { trainable, adapterBytes, scheme, weights } = await method.tune(context, shots, replay);
    const seconds = (performance.now() - began) / 1000;
    const inBank = weights === context.base && fitsBank(bundle, scheme);
    const row: MethodRow = { method: name, trainable, trainableShare: trainable / network.parameters.size, seconds, adapterBytes };
    if (bankOnly && !inBank) {
      matrix.push({ ...row, refused: 'needs a bundle of its own: --merge' });
      continue;
    }
    const validation = await validate(context, method, folds);
    tried.push({ ...row, validation, inBank, adapterBytes, conditional: method.unsafe !== undefined });
    matrix.push({ ...row, validation });
  }
  if (tried.length === 0) throw new Refusal('tune/method', '--method auto: no method gives a row of this bundle; add --merge');
  const unadapted = await validate(context, undefined, folds);
  const chosen = chooseCandidate(tried);
  const idle = scoreOf(chosen.validation) <= scoreOf(unadapted);
  const warnings = idle ? ['no method is better than the bundle as it is on what auto judges by; more --shots may tell'] : [];
  return { method: METHODS[chosen.method], rows: matrix, unadapted, warnings };
}
