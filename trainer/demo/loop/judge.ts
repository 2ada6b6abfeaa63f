import { type AdaptationReport, adaptationReportSchema } from '../../../runtime/contracts/adaptation.ts';
import { type DriftSignal, driftSignalSchema } from '../../../runtime/contracts/drift.ts';
import { type Label, labelledClass, labelReceiptSchema, labelSchema } from '../../../runtime/contracts/label.ts';
import { diagnosisSchema, statusSchema } from '../../../runtime/contracts/messages.ts';
import { gatewayTopics, streamOfTopic } from '../../../runtime/contracts/topics.ts';
import { type UpdateState, updateStateSchema } from '../../../runtime/contracts/update.ts';
import type { LoopDisk } from './disk.ts';
import type { Message } from './traffic.ts';

/** Some of a stream during which nothing about its machine changed: samples `from` to `to` of an epoch, to whatever comes where `to` is absent. */
export interface Stretch {
  readonly stream: string;
  readonly epoch: number;
  readonly from: number;
  readonly to?: number;
  readonly class: string;
  /** Whether it lies behind the change that the loop is about. */
  readonly changed: boolean;
}

/** What whoever plays the machines knows. */
export interface LoopTruth {
  readonly site: string;
  readonly gateway: string;
  /** The stream whose machine changes. */
  readonly stream: string;
  /** Samples of a window. */
  readonly window: number;
  /** Digest of the bundle that the gateway begins with. */
  readonly bundle: string;
  readonly stretches: readonly Stretch[];
  readonly measure: LoopMeasure;
}

/** What counts as well, and as a loss. */
export interface LoopMeasure {
  /** Windows of each accuracy. */
  readonly windows: number;
  /** Accuracy that is good enough. */
  readonly good: number;
  /** Accuracy that a change must cost to be one that the loop is needed for. */
  readonly cost: number;
}

/** Steps of the loop, in their order. */
export const LOOP_STEPS = [
  'decides',
  'degrades',
  'drift',
  'labels',
  'adapts',
  'recovers',
  'retrains',
  'signs',
  'shadow',
  'active',
  'holds',
] as const;
export type LoopStepName = (typeof LOOP_STEPS)[number];
/** The part of the loop that needs no server. */
export const GATEWAY_STEPS: readonly LoopStepName[] = ['decides', 'degrades', 'drift', 'labels', 'adapts', 'recovers'];

export interface LoopStep {
  readonly name: LoopStepName;
  /** Since the recorder began, seconds. */
  readonly at: number;
  /** Share of windows that were decided right, by the truth, and how many they are. */
  readonly accuracy?: number;
  readonly windows?: number;
  /** Further figures, and what they are of. */
  readonly told: Readonly<Record<string, string | number>>;
}

export interface LoopVerdict {
  readonly loopClosed: boolean;
  readonly steps: readonly LoopStep[];
  /** The first step that is not to be found, and why. */
  readonly missing?: { readonly name: LoopStepName; readonly why: string };
}

/** Why there is no loop to close, whatever comes. */
const UNHARMED = 'the change costs too little to be mended';
const UNFIT = 'too few for a change to be seen';
const LABELS = 3;

interface Decided {
  readonly ms: number;
  readonly own: boolean;
  readonly changed: boolean;
  readonly right: boolean;
  /** First digits of the bundle that decided, and whether the stream's own adapter did. */
  readonly bundle: string;
  readonly adapted: boolean;
}

/** A message that was read. */
type Timed<T> = T & { readonly ms: number };

interface Reading {
  readonly decided: Decided[];
  readonly signals: Timed<DriftSignal>[];
  readonly labels: Timed<Label>[];
  readonly taken: ReadonlyMap<string, number>;
  readonly reports: Timed<AdaptationReport>[];
  readonly adapters: Timed<{ readonly digest: string | undefined }>[];
  readonly states: Timed<UpdateState>[];
}

/** True class of a window; undefined where a change lies in it, or nobody knows. */
export function truthOf(
  { window, stretches }: Pick<LoopTruth, 'window' | 'stretches'>,
  { stream, epoch, endSequence }: { readonly stream: string; readonly epoch: number; readonly endSequence: number },
): Stretch | undefined {
  return stretches.find(
    (one) =>
      one.stream === stream && one.epoch === epoch && endSequence - window >= one.from && (one.to === undefined || endSequence <= one.to),
  );
}

function read(messages: readonly Message[], truth: LoopTruth): Reading {
  const topics = gatewayTopics(truth.site, truth.gateway);
  const taken = new Map<string, number>();
  const reading: Reading = { decided: [], signals: [], labels: [], taken, reports: [], adapters: [], states: [] };
  for (const { ms, topic, text } of messages) {
    if (text === undefined) continue;
    const kind = topic.slice(topics.branch.length + 1).split('/')[0];
    const own = streamOfTopic(topic) === truth.stream;
    const told: unknown = JSON.parse(text);
    if (kind === 'diagnosis') {
      const { decision, bundle, adapter, ...place } = diagnosisSchema.parse(told);
      const known = truthOf(truth, place);
      if (known) reading.decided.push({ ms, own, changed: known.changed, right: decision === known.class, bundle, adapted: adapter > 0 });
    } else if (kind === 'drift' && own) reading.signals.push({ ms, ...driftSignalSchema.parse(told) });
    else if (kind === 'label' && own) reading.labels.push({ ms, ...labelSchema.parse(told) });
    else if (kind === 'labelled' && own) {
      const { id, outcome } = labelReceiptSchema.parse(told);
      if (outcome === 'taken') taken.set(id, ms);
    } else if (kind === 'adaptation' && own) reading.reports.push({ ms, ...adaptationReportSchema.parse(told) });
    else if (kind === 'status') reading.adapters.push({ ms, digest: statusSchema.parse(told).running?.adapters[truth.stream] });
    else if (kind === 'update') reading.states.push({ ms, ...updateStateSchema.parse(told) });
  }
  return reading;
}

/**
 * Whether the loop was closed: each step is looked for in what went over the broker and in what lies on the disks, after the step that caused it. A pure function
 * of these; nothing that a part says of the loop itself is asked.
 *
 * @param wanted steps that must be found, in the order of LOOP_STEPS
 */
export function judgeLoop(
  messages: readonly Message[],
  truth: LoopTruth,
  disk: LoopDisk,
  wanted: readonly LoopStepName[] = LOOP_STEPS,
): LoopVerdict {
  const trace = new Trace(read(messages, truth), truth, disk);
  const steps: LoopStep[] = [];
  for (const name of wanted) {
    const found = trace[name]();
    if (typeof found === 'string') return { loopClosed: false, steps, missing: { name, why: found } };
    steps.push({ name, ...found });
  }
  return { loopClosed: true, steps };
}

/** Whether nothing that is still to come can close the loop. */
export function isHopeless({ missing }: LoopVerdict): boolean {
  return [UNHARMED, UNFIT].some((why) => missing?.why.endsWith(why));
}

type Found = Omit<LoopStep, 'name'> | string;

/** Looks for one step after the other; each may rest on what those before it have found. */
class Trace {
  readonly #reading: Reading;
  readonly #truth: LoopTruth;
  readonly #disk: LoopDisk;
  #before = 0;
  #changedMs = 0;
  #labelled: readonly Timed<Label>[] = [];
  #labelledMs = 0;
  #adaptedMs = 0;
  #model = '';
  #deployment = '';
  #shadowMs = 0;
  #activeMs = 0;

  constructor(reading: Reading, truth: LoopTruth, disk: LoopDisk) {
    this.#reading = reading;
    this.#truth = truth;
    this.#disk = disk;
  }

  decides(): Found {
    const found = this.#first((one) => one.own && !one.changed && this.#byBase(one) && !one.adapted);
    if (typeof found === 'string') return found;
    this.#before = found.accuracy;
    return found.accuracy < this.#truth.measure.good
      ? `only ${percent(found.accuracy)} were right before the change: ${UNFIT}`
      : { ...found, told: {} };
  }

  degrades(): Found {
    const isChanged = (one: Decided) => one.own && one.changed && this.#byBase(one) && !one.adapted;
    // Fewer, for a drift signal and its cure may come soon.
    const found = this.#first(isChanged, Math.ceil(this.#truth.measure.windows / 3));
    if (typeof found === 'string') return found;
    this.#changedMs = this.#reading.decided.find(isChanged)!.ms;
    if (found.accuracy > this.#before - this.#truth.measure.cost) return `${percent(found.accuracy)} are right after it: ${UNHARMED}`;
    return { ...found, told: { before: this.#before } };
  }

  drift(): Found {
    const signal = this.#reading.signals.find((one) => one.ms >= this.#changedMs && !one.benign && one.model === this.#truth.bundle);
    if (!signal) return 'no drift signal came after the change';
    const { cause, evidence, severity, estimatedAccuracy } = signal;
    const told = {
      cause: cause.kind,
      statistic: cause.statistic,
      channel: cause.channel,
      band: `${cause.bandHz[0].toFixed(0)}-${cause.bandHz[1].toFixed(0)} Hz`,
      changeDb: cause.changeDb,
      severity,
      estimated: estimatedAccuracy.now,
      evidence: evidence.kind === 'none' ? 0 : evidence.windows.length,
    };
    const windows = this.#reading.decided.filter((one) => one.own && one.changed && one.ms <= signal.ms).length;
    return { at: seconds(signal.ms), windows, told };
  }

  labels(): Found {
    const right = this.#reading.labels.filter(
      (label) => label.ms >= this.#changedMs && this.#isTrue(label) && this.#takenMs(label) >= label.ms,
    );
    if (right.length < LABELS) return `${right.length} of ${LABELS} right labels were taken by the gateway`;
    this.#labelled = right;
    this.#labelledMs = right[LABELS - 1].ms;
    const classes = [...new Set(right.slice(0, LABELS).map((label) => labelledClass(label)!))];
    const told = { labels: right.length, classes: classes.join(', '), annotators: new Set(right.map(({ annotator }) => annotator)).size };
    return { at: seconds(Math.max(...right.slice(0, LABELS).map((label) => this.#takenMs(label)))), told };
  }

  adapts(): Found {
    const ours = new Set(this.#labelled.map(({ id }) => id));
    const learned = (this.#disk.learned[this.#truth.stream] ?? []).filter(
      ({ labels }) => labels.filter((id) => ours.has(id)).length >= LABELS,
    );
    if (learned.length === 0) return "no adapter that knows these labels is on the gateway's disk";
    const report = this.#reading.reports.find(
      (one) => one.ms >= this.#labelledMs && one.outcome === 'active' && learned.some(({ adapter }) => adapter === one.adapter),
    );
    if (!report?.adapter) return 'no adapter that was learned from these labels became active';
    const { adapter, ms, seconds: spent, shadow } = report;
    const status = this.#reading.adapters.find((one) => one.digest === adapter);
    if (!status) return `no status says that adapter ${adapter.slice(0, 12)} decides`;
    this.#adaptedMs = ms;
    const told = {
      adapter: adapter.slice(0, 12),
      ...(spent && { seconds: spent.cpu ?? spent.wall }),
      ...(shadow && { shadowWindows: shadow.windows }),
    };
    return { at: seconds(ms), told };
  }

  recovers(): Found {
    const found = this.#soonest((one) => one.own && one.changed && one.adapted && this.#byBase(one) && one.ms >= this.#adaptedMs);
    if (typeof found === 'string') return found;
    return found.accuracy < this.#truth.measure.good
      ? `only ${percent(found.accuracy)} are right with the adapter`
      : { ...found, told: {} };
  }

  retrains(): Found {
    const { models, rollouts } = this.#disk;
    const model = models.find(({ digest, parent }) => parent === this.#truth.bundle && rollouts.some(({ target }) => target === digest));
    if (!model) return 'the server has made no model from the one that decided';
    const rollout = rollouts.find(({ target }) => target === model.digest)!;
    const heard = this.#reading.states.find(({ deployment, ms }) => deployment === rollout.deployment && ms >= this.#labelledMs);
    if (!heard) return `the gateway has not heard of ${rollout.deployment}`;
    this.#model = model.digest;
    this.#deployment = rollout.deployment;
    return {
      at: seconds(heard.ms),
      told: { bundle: model.digest.slice(0, 12), parent: this.#truth.bundle.slice(0, 12), split: model.split },
    };
  }

  signs(): Found {
    const signed = this.#disk.signed.find(({ targets }) => targets.includes(this.#model));
    if (!signed) return `no signed metadata of site ${this.#truth.site} name ${this.#model.slice(0, 12)}`;
    const { waves } = this.#disk.rollouts.find(({ deployment }) => deployment === this.#deployment)!;
    const { ms } = this.#reading.states.find(({ deployment }) => deployment === this.#deployment)!;
    return { at: seconds(ms), told: { deployment: this.#deployment, version: signed.version, waves } };
  }

  shadow(): Found {
    const begun = this.#state((one) => one.phase === 'shadow');
    if (!begun) return 'the new model did not run in shadow';
    const report = this.#state((one) => one.shadow !== undefined)?.shadow;
    this.#shadowMs = begun.ms;
    if (!report) return 'the gateway has not said what the shadow showed';
    const { windows, agreement, latencyMs } = report;
    return { at: seconds(begun.ms), windows, told: { agreement, latencyMs } };
  }

  active(): Found {
    const { gateway, site } = this.#truth;
    const state = this.#reading.states.find(
      ({ confirmed, running, ms }) => ms >= this.#shadowMs && running.bundle === this.#model && confirmed.includes(this.#deployment),
    );
    if (!state) return `the gateway has not confirmed ${this.#deployment}`;
    const rollout = this.#disk.rollouts.find(({ deployment }) => deployment === this.#deployment)!;
    if (!rollout.confirmed.includes(`${site}/${gateway}`)) return `the server has not heard that ${this.#deployment} is confirmed`;
    this.#activeMs = state.ms;
    return {
      at: seconds(state.ms),
      told: { status: rollout.status, ...(state.wireBytes !== undefined && { wireBytes: state.wireBytes }) },
    };
  }

  holds(): Found {
    const byModel = ({ bundle }: Decided) => this.#model.startsWith(bundle);
    const found = this.#first((one) => one.own && one.changed && byModel(one) && !one.adapted && one.ms >= this.#activeMs);
    if (typeof found === 'string') return found;
    if (found.accuracy < this.#truth.measure.good) return `only ${percent(found.accuracy)} are right by the new model`;
    const others = this.#reading.decided.filter((one) => !one.own && byModel(one) && one.ms <= found.at * 1000);
    const accuracy = others.filter(({ right }) => right).length / Math.max(1, others.length);
    if (others.length > 0 && accuracy < this.#truth.measure.good) return `only ${percent(accuracy)} are right on the other machines`;
    return { ...found, told: others.length > 0 ? { others: accuracy, otherWindows: others.length } : {} };
  }

  #byBase({ bundle }: Decided): boolean {
    return this.#truth.bundle.startsWith(bundle);
  }

  /** Accuracy over the first windows of a kind. */
  #first(
    isOne: (one: Decided) => boolean,
    count = this.#truth.measure.windows,
  ): { at: number; accuracy: number; windows: number } | string {
    const found: Decided[] = [];
    for (const one of this.#reading.decided) {
      if (!isOne(one)) continue;
      found.push(one);
      if (found.length < count) continue;
      return { at: seconds(one.ms), accuracy: found.filter(({ right }) => right).length / found.length, windows: found.length };
    }
    return `${found.length} of ${count} windows were decided so`;
  }

  /** Accuracy over the first windows of a kind that are good enough together, or over the last. */
  #soonest(isOne: (one: Decided) => boolean): { at: number; accuracy: number; windows: number } | string {
    const { windows: count, good } = this.#truth.measure;
    const found = this.#reading.decided.filter(isOne);
    if (found.length < count) return `${found.length} of ${count} windows were decided so`;
    let right = 0;
    for (const [at, one] of found.entries()) {
      right += Number(one.right) - Number(at >= count && found[at - count].right);
      if (at + 1 >= count && right / count >= good) return { at: seconds(one.ms), accuracy: right / count, windows: count };
    }
    return { at: seconds(found.at(-1)!.ms), accuracy: right / count, windows: count };
  }

  #state(isOne: (state: UpdateState) => boolean): Timed<UpdateState> | undefined {
    return this.#reading.states.find((one) => one.deployment === this.#deployment && isOne(one));
  }

  #takenMs({ id }: Label): number {
    return this.#reading.taken.get(id) ?? Number.NEGATIVE_INFINITY;
  }

  /** Whether a label says what is true of a window behind the change. */
  #isTrue(label: Label): boolean {
    if (label.subject.kind !== 'window') return false;
    const known = truthOf(this.#truth, { stream: label.stream, ...label.subject });
    return known?.changed === true && known.class === labelledClass(label);
  }
}

const seconds = (ms: number) => ms / 1000;
export const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
