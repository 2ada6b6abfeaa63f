import { emptyTensor, floatTensor, type Session, scalarTensor, type TensorData } from '../../models/engine/engine.ts';
import { TrainingStepper } from '../../models/training/stepper.ts';
import type { GuardFigures } from '../contracts/adaptation.ts';
import { type AdaptationHooks, type AdaptationSettings, adapt, DEFAULT_ADAPTATION } from './adaptation.ts';
import type { Examples } from './example-book.ts';
import {
  compareShadow,
  type GuardScores,
  guardFigures,
  guardRefusal,
  indexOfLargest,
  type Score,
  type ShadowFigures,
  SURE_FROM,
  scoreOf,
} from './guard.ts';
import { joinFeatures, type LabelledFeatures, rowsByClass, takeRows } from './labelled-features.ts';
import { type RawWindows, takeWindows } from './raw-windows.ts';

const BATCH = 64;
/** Every so many replay windows of a class, one is held out for the guard. */
const KNOWN_EVERY = 3;

/** What a bundle gives to learn with. */
export interface LearnerParts {
  /** Of features.onnx, adapt.onnx and infer.onnx. */
  readonly sessions: { readonly features: Session; readonly adapt: Session; readonly infer: Session };
  readonly shape: { readonly window: number; readonly channels: number; readonly classes: number };
  readonly replay: LabelledFeatures;
  /** Windows of the known answers. */
  readonly answers: RawWindows;
  /** The adapter that every adaptation begins with, [P]. */
  readonly initial: Float32Array;
  /** An adapter as a row of the bank. */
  readonly toRow: (adapter: Float32Array) => Float32Array;
}

/** What an adaptation learns from. */
export type LearnerExamples = Pick<Examples, keyof RawWindows | 'labels' | 'heldOut' | 'trusted' | 'rejected'>;

export interface Learned {
  /** [P]; absent where the guard was against it. */
  readonly adapter?: Float32Array;
  readonly refusal?: string;
  /** Absent where there was nothing to learn from. */
  readonly guard?: GuardFigures;
  /** Rows of the examples that it was learned from. */
  readonly used: readonly number[];
  /** Classes that a label spoke against where they were decided, [classes] */
  readonly contested: readonly boolean[];
}

/**
 * Learns an adapter from labelled windows, and judges it by windows that it has not learned from. Every adaptation begins anew with the bundle's own
 * adapter and all labels of the stream, so the result does not depend on how often, or in which steps, they came.
 */
export class Learner {
  readonly #parts: LearnerParts;
  readonly #replay: LabelledFeatures;
  readonly #known: LabelledFeatures;

  constructor(parts: LearnerParts) {
    this.#parts = parts;
    const held = (_: number, place: number) => place % KNOWN_EVERY === KNOWN_EVERY - 1;
    const byClass = rowsByClass(parts.replay.labels);
    this.#known = takeRows(
      parts.replay,
      byClass.flatMap((rows) => rows.filter(held)),
    );
    this.#replay = takeRows(
      parts.replay,
      byClass.flatMap((rows) => rows.filter((row, place) => !held(row, place))),
    );
  }

  /**
   * @param current the adapter that decides now, [P]; undefined for the base
   * @param anchors windows of the stream that nobody has labelled: what is surely decided there, of classes without a label, shall stay
   * @throws what `hooks` throw: a budget that is used up, a signal; RangeError without an example to learn from
   */
  async learn(
    examples: LearnerExamples,
    current: Float32Array | undefined,
    anchors: RawWindows,
    settings: AdaptationSettings = DEFAULT_ADAPTATION,
    hooks: AdaptationHooks = {},
  ): Promise<Learned> {
    const { sessions, initial, shape } = this.#parts;
    // By the base: were it by what decides now, what went wrong once would vouch for itself.
    const decided = await this.decide(examples, undefined);
    const ofBase = this.#contested(decided, examples.labels, examples.rejected);
    const contested = this.#contested(await this.decide(examples, current), examples.labels, ofBase);
    const credible = this.#credible(decided, examples);
    const [used, heldOut] = [0, 1].map((part) => credible.filter((row) => examples.heldOut[row] === part));
    if (used.length === 0) return { refusal: 'each label contradicts a sure decision, and no second one says so too', used, contested };
    const [own, held] = [used, heldOut].map((rows) => ({
      windows: takeWindows(examples, rows),
      labels: Int32Array.from(rows, (row) => examples.labels[row]),
    }));
    const labelled = new Set(own.labels);
    const features = await this.#features(own.windows);
    const anchored = await this.#anchors(anchors, (label) => !labelled.has(label) && !contested[label]);
    // Each class has its share of a batch, labelled or not: three labels of two classes must not outweigh the ten others.
    const replayShare = 1 - (1 - settings.replayShare) * Math.sqrt(labelled.size / shape.classes);
    const known = joinFeatures([this.#replay, anchored]);
    const adapter = await adapt(sessions.adapt, initial, { features, labels: own.labels }, known, { ...settings, replayShare }, hooks);

    const local = async ({ windows, labels }: typeof own, by: Float32Array | undefined) => scoreOf(await this.decide(windows, by), labels);
    const before = await this.decide(own.windows, current);
    const scores: GuardScores = {
      known: {
        base: await this.#knownScore(undefined),
        before: await this.#knownScore(current),
        after: await this.#knownScore(adapter),
      },
      local: { before: await local(held, current), after: await local(held, adapter) },
      learned: { before: scoreOf(before, own.labels), after: await local(own, adapter) },
      answers: await this.#answers(adapter),
    };
    const refusal = guardRefusal(scores);
    return { ...(refusal === undefined ? { adapter } : { refusal }), guard: guardFigures(scores), used, contested };
  }

  /**
   * Rows whose label can be believed. One that contradicts a sure decision needs a second annotator, or another label that says the same of such a decision: a slip
   * of the hand costs most where the model knows best.
   */
  #credible(decided: Float32Array, { labels, trusted }: LearnerExamples): number[] {
    const { classes } = this.#parts.shape;
    const changes = [...labels].map((label, row) => {
      const own = decided.subarray(row * classes, (row + 1) * classes);
      const best = indexOfLargest(own);
      return best !== label && own[best] >= SURE_FROM ? `${best} ${label}` : undefined;
    });
    return [...labels.keys()].filter(
      (row) => changes[row] === undefined || trusted[row] === 1 || changes.filter((other) => other === changes[row]).length > 1,
    );
  }

  /** What the base surely decides, of classes that `stays` names: learned with its own decision for a label (Li and Hoiem 2016). */
  async #anchors(windows: RawWindows, stays: (label: number) => boolean): Promise<LabelledFeatures> {
    const { classes } = this.#parts.shape;
    const decided = await this.decide(windows, undefined);
    const rows: number[] = [];
    const labels: number[] = [];
    for (let row = 0; row < windows.count; row++) {
      const own = decided.subarray(row * classes, (row + 1) * classes);
      const best = indexOfLargest(own);
      if (own[best] < SURE_FROM || !stays(best)) continue;
      rows.push(row);
      labels.push(best);
    }
    return { features: await this.#features(takeWindows(windows, rows)), labels: Int32Array.from(labels) };
  }

  /** Accuracy on the replay windows that are held out: of the base, and of an adapter [P]. */
  async known(adapter: Float32Array | undefined): Promise<{ readonly base: number; readonly own: number }> {
    return { base: (await this.#knownScore(undefined)).accuracy, own: (await this.#knownScore(adapter)).accuracy };
  }

  /** Lets both decide the same windows. @param adapters [P] each; undefined for the base */
  async compare(
    windows: RawWindows,
    adapters: { readonly current: Float32Array | undefined; readonly candidate: Float32Array },
    contested: readonly boolean[],
  ): Promise<ShadowFigures> {
    return compareShadow(await this.decide(windows, adapters.current), await this.decide(windows, adapters.candidate), contested);
  }

  /** Probabilities [count, classes] by the deciding graph itself. @param adapter [P]; undefined for the base */
  async decide(windows: RawWindows, adapter: Float32Array | undefined): Promise<Float32Array> {
    const { sessions, shape, initial, toRow } = this.#parts;
    const probabilities = new Float32Array(windows.count * shape.classes);
    const bank = new Float32Array(2 * initial.length);
    if (adapter) bank.set(toRow(adapter), initial.length);
    for (const { from, feeds } of this.#batches(windows)) {
      const count = feeds.window.shape[0];
      const made = await sessions.infer.run({
        ...feeds,
        adapterBank: floatTensor(bank, [2, initial.length]),
        adapterIndex: { type: 'int32', shape: [count], values: new Int32Array(count).fill(adapter ? 1 : 0) },
      });
      probabilities.set(made.probabilities.values as Float32Array, from * shape.classes);
    }
    return probabilities;
  }

  async #features(windows: RawWindows): Promise<Float32Array> {
    const { features: session, adapt: step } = this.#parts.sessions;
    const width = step.inputs.find(({ name }) => name === 'features')!.shape[1] as number;
    const features = new Float32Array(windows.count * width);
    for (const { from, feeds } of this.#batches(windows))
      features.set((await session.run(feeds)).features.values as Float32Array, from * width);
    return features;
  }

  *#batches({ count, codes, scales }: RawWindows) {
    const { window, channels } = this.#parts.shape;
    const size = window * channels;
    for (let from = 0; from < count; from += BATCH) {
      const rows = Math.min(BATCH, count - from);
      const feeds: { window: TensorData; scale: TensorData } = {
        window: { type: 'int16', shape: [rows, window, channels], values: codes.subarray(from * size, (from + rows) * size) },
        scale: floatTensor(scales.subarray(from * channels, (from + rows) * channels), [rows, channels]),
      };
      yield { from, feeds };
    }
  }

  /** Replay windows exist as features only, so the step itself decides them, at a learning rate of zero. */
  async #knownScore(adapter: Float32Array | undefined): Promise<Score> {
    const { sessions, shape, initial } = this.#parts;
    const { features, labels } = this.#known;
    const [batch, width] = sessions.adapt.inputs.find(({ name }) => name === 'features')!.shape as readonly number[];
    const stepper = new TrainingStepper(sessions.adapt, adapter ?? new Float32Array(initial.length));
    const feeds = {
      features: emptyTensor('float32', [batch, width]),
      target: emptyTensor('float32', [batch, shape.classes]),
      sampleWeight: floatTensor(new Float32Array(batch).fill(1), [batch]),
      classWeight: floatTensor(new Float32Array(shape.classes).fill(1), [shape.classes]),
      labelSmoothing: scalarTensor(0),
    };
    const probabilities = new Float32Array(labels.length * shape.classes);
    for (let from = 0; from < labels.length; from += batch) {
      const count = Math.min(batch, labels.length - from);
      (feeds.features.values as Float32Array).set(features.subarray(from * width, (from + count) * width));
      const { logits } = await stepper.step(feeds, { learningRate: 0, weightDecay: 0, clipNorm: 1 });
      probabilities.set(softmaxRows(logits.subarray(0, count * shape.classes), shape.classes), from * shape.classes);
    }
    return scoreOf(probabilities, labels);
  }

  async #answers(adapter: Float32Array): Promise<GuardFigures['answers']> {
    const { answers, shape } = this.#parts;
    const { sure, kept } = compareShadow(
      await this.decide(answers, undefined),
      await this.decide(answers, adapter),
      new Array(shape.classes).fill(false),
    );
    return { windows: sure, kept };
  }

  #contested(probabilities: Float32Array, labels: Int32Array, rejected: readonly boolean[]): boolean[] {
    const { classes } = this.#parts.shape;
    const contested = [...rejected];
    labels.forEach((label, row) => {
      const decided = indexOfLargest(probabilities.subarray(row * classes, (row + 1) * classes));
      if (decided !== label) contested[decided] = true;
    });
    return contested;
  }
}

function softmaxRows(logits: Float32Array, classes: number): Float32Array {
  const probabilities = new Float32Array(logits.length);
  for (let at = 0; at < logits.length; at += classes) {
    const own = logits.subarray(at, at + classes);
    const largest = own[indexOfLargest(own)];
    const powers = own.map((logit) => Math.exp(logit - largest));
    const sum = powers.reduce((a, b) => a + b, 0);
    probabilities.set(
      powers.map((power) => power / sum),
      at,
    );
  }
  return probabilities;
}
