import type { ShadowReport, Target, UpdatePhase } from '../contracts/update.ts';
import { nextPlan, type Plan, type Running } from './plan.ts';
import {
  type AdapterInUse,
  freeSlot,
  OWN,
  type Slot,
  type SlotName,
  type UpdateRecord,
  type Wanted,
  withConfirmed,
  withFailed,
} from './record.ts';
import { UPDATE_REFUSALS, type UpdateRefusalCode, UpdateRefusalError } from './refusal.ts';
import { revert, setAside, withStream } from './revert.ts';
import { checkShadow, checkWarmUp, type WarmUpReport } from './thresholds.ts';

/** What an update is about, for those who watch. */
export interface UpdateSubject {
  readonly deployment: string;
  readonly kind: 'bundle' | 'adapter';
  readonly stream?: string;
}

export interface UpdateMachine {
  readonly phase: UpdatePhase;
  /** What must outlive a power cut: written before the effects that came with it are begun. */
  readonly record: UpdateRecord;
  readonly running: Running;
  /** What the signed metadata want, as last verified; undefined before the first time since the start, when nothing is planned. */
  readonly wanted?: readonly Wanted[];
  /** Metadata are being fetched; and a newer timestamp has come meanwhile. */
  readonly looking: boolean;
  readonly again: boolean;
  /** On the way back: what decides is not proved to be what the record says. Until it is, nothing is planned; each look tries the way again. */
  readonly astray: boolean;
  /** Where it rested before it began to look. */
  readonly rested: UpdatePhase;
  readonly subject?: UpdateSubject;
  readonly warmUp?: WarmUpReport;
  readonly shadow?: ShadowReport;
  readonly error?: string;
}

export type UpdateEvent =
  /** A timestamp lies there. */
  | { readonly kind: 'timestamp' }
  /** The metadata are verified, or they are not to be trusted. */
  | { readonly kind: 'trusted'; readonly wanted: readonly Wanted[] }
  | { readonly kind: 'untrusted'; readonly error: string }
  /** All objects of the update are in the store. */
  | { readonly kind: 'fetched' }
  /** They are whole and fit each other. `replaces`: the adapter whose place it takes, now in the store. */
  | { readonly kind: 'verified'; readonly slot?: Slot; readonly replaces?: string }
  /** The candidate runs beside the active model and gives its known answers. */
  | { readonly kind: 'answered' }
  | { readonly kind: 'warm'; readonly report: WarmUpReport }
  | { readonly kind: 'shadowed'; readonly report: ShadowReport }
  /** The inference process has proved what decides now. */
  | { readonly kind: 'running'; readonly running: Running; readonly settled: readonly string[] }
  /** What is on trial has decided long enough without fault. */
  | { readonly kind: 'stood' }
  /** What is under way cannot go on. */
  | { readonly kind: 'failed'; readonly code: UpdateRefusalCode; readonly error: string }
  | { readonly kind: 'spent'; readonly bytes: number };

export type UpdateEffect =
  /** Fetches and verifies metadata → trusted, untrusted. */
  | { readonly kind: 'refresh' }
  /** → fetched */
  | { readonly kind: 'fetch'; readonly wanted: Wanted; readonly spentBytes: number }
  /** → verified */
  | { readonly kind: 'verify'; readonly wanted: Wanted; readonly slot: SlotName }
  /** → answered, warm, shadowed */
  | { readonly kind: 'answers' | 'warmUp' | 'shadow'; readonly wanted: Wanted; readonly slot: SlotName }
  /** Ends whatever is being done for the update, the candidate included. */
  | { readonly kind: 'cancel' }
  /** Makes what decides what the record says → running. */
  | { readonly kind: 'activate' }
  /** Waits and looks whether what is on trial does its work → stood. */
  | { readonly kind: 'watch' }
  /** Removes objects that nothing needs. */
  | { readonly kind: 'collect' };

export interface Step {
  readonly machine: UpdateMachine;
  readonly effects: readonly UpdateEffect[];
}

const RESTING: ReadonlySet<UpdatePhase> = new Set(['idle', 'confirmed', 'rolledBack', 'refused']);
/** Between the decision for an update and the moment from which it decides. */
const PREPARING: ReadonlySet<UpdatePhase> = new Set(['fetch', 'verify', 'answers', 'warmup', 'shadow']);

/** The machine after a start, with the bundle that was proved. */
export function startMachine(record: UpdateRecord, running: Running): Step {
  const { trial } = record;
  const phase = trial ? 'active' : 'idle';
  const subject = trial && subjectOf(trial);
  return {
    machine: {
      phase,
      record,
      running,
      looking: false,
      again: false,
      astray: false,
      rested: 'idle',
      subject,
    },
    effects: trial ? [{ kind: 'watch' }, { kind: 'collect' }] : [{ kind: 'collect' }],
  };
}

/**
 * The life of an update, one event at a time. Events that do not belong to a phase change nothing: what was cancelled may still report.
 *
 * idle → metadata → fetch → verify → answers → warmup → shadow → active → confirmed; from each of them to refused, from active to rolledBack, and from
 * there, with the next timestamp, to metadata again.
 */
export function nextStep(machine: UpdateMachine, event: UpdateEvent): Step {
  const { phase, record } = machine;
  const current = record.current;
  switch (event.kind) {
    case 'timestamp':
      if (machine.looking) return { machine: { ...machine, again: true }, effects: [] };
      return look(machine);
    case 'trusted':
      return trusted(machine, event.wanted);
    case 'untrusted':
      return untrusted(machine, event.error);
    case 'fetched':
      if (phase !== 'fetch') return stay(machine);
      return prepare({ ...machine, phase: 'verify', record: withoutFreeSlot(record) }, 'verify');
    case 'verified':
      if (phase !== 'verify') return stay(machine);
      return verified(machine, event.slot, event.replaces);
    case 'answered':
      if (phase !== 'answers') return stay(machine);
      // What takes the place of something withdrawn ran here before, or is older than it: nothing is to be compared.
      return current!.insteadOf === undefined ? prepare({ ...machine, phase: 'warmup' }, 'warmUp') : activate(machine);
    case 'warm':
      if (phase !== 'warmup') return stay(machine);
      return passed(
        machine,
        () => checkWarmUp(event.report, current!.wanted.target.thresholds),
        (proved) => prepare({ ...proved, phase: 'shadow', warmUp: event.report }, 'shadow'),
      );
    case 'shadowed': {
      if (phase !== 'shadow') return stay(machine);
      const measured = { ...machine, shadow: event.report };
      return passed(measured, () => checkShadow(event.report, current!.wanted.target.thresholds), activate);
    }
    case 'running':
      return running(machine, event.running, event.settled);
    case 'stood': {
      if (phase !== 'active') return stay(machine);
      const { deployment } = record.trial!;
      const confirmed = withConfirmed({ ...record, trial: undefined, boots: 0 }, deployment);
      return goOn({ ...machine, phase: 'confirmed', rested: 'confirmed', record: confirmed, error: undefined }, [{ kind: 'collect' }]);
    }
    case 'failed':
      return fail(machine, event.code, event.error);
    case 'spent':
      if (!current || event.bytes === current.spentBytes) return stay(machine);
      return { machine: { ...machine, record: { ...record, current: { ...current, spentBytes: event.bytes } } }, effects: [] };
  }
}

function stay(machine: UpdateMachine): Step {
  return { machine, effects: [] };
}

function look(machine: UpdateMachine): Step {
  const phase = RESTING.has(machine.phase) ? 'metadata' : machine.phase;
  const back: UpdateEffect[] = machine.astray ? [{ kind: 'activate' }] : [];
  return { machine: { ...machine, phase, looking: true, again: false }, effects: [...back, { kind: 'refresh' }] };
}

/** Nothing is under way but the look at the metadata; it may have begun while something was, which has ended since. */
const restsToLook = ({ phase, looking }: UpdateMachine): boolean => phase === 'metadata' || (looking && RESTING.has(phase));

function trusted(machine: UpdateMachine, wanted: readonly Wanted[]): Step {
  const known = { ...machine, wanted, looking: false };
  const again = (step: Step): Step => {
    if (!machine.again) return step;
    const looking = look(step.machine);
    return { machine: looking.machine, effects: [...step.effects, ...looking.effects] };
  };
  if (restsToLook(machine)) return again(goOn({ ...known, phase: machine.rested }, []));
  const { current, trial } = machine.record;
  if (PREPARING.has(machine.phase)) {
    const plan = nextPlan(machine.record, machine.running, wanted);
    const same = (plan.kind === 'install' || plan.kind === 'back') && plannedTarget(plan)?.sha256 === current!.wanted.sha256;
    if (same) return again({ machine: known, effects: [] });
    const record = { ...machine.record, current: undefined, boots: 0 };
    return again(goOn({ ...known, phase: 'idle', rested: 'idle', record, subject: undefined }, [{ kind: 'cancel' }, { kind: 'collect' }]));
  }
  if (machine.phase === 'active' && trial && !wanted.some(({ target }) => target.deployment === trial.deployment))
    return again(fail(known, 'update/withdrawn', 'the server withdrew it while it was on trial'));
  return again({ machine: known, effects: [] });
}

const plannedTarget = (plan: Plan): Wanted | undefined =>
  plan.kind === 'install' ? plan.wanted : plan.kind === 'back' ? plan.to : undefined;

function untrusted(machine: UpdateMachine, error: string): Step {
  const known = { ...machine, looking: false };
  if (machine.again) return look(known);
  if (!restsToLook(machine)) return { machine: known, effects: [] };
  return { machine: { ...known, phase: 'refused', rested: 'refused', subject: undefined, shadow: undefined, error }, effects: [] };
}

/** From rest to the next update that there is to do. */
function goOn(machine: UpdateMachine, effects: readonly UpdateEffect[]): Step {
  // What was on trial over a restart may be confirmed before the metadata have been read again: that nothing is known is no withdrawal.
  if (!machine.wanted) return { machine, effects };
  if (machine.astray) return { machine: { ...machine, again: true }, effects };
  const plan = nextPlan(machine.record, machine.running, machine.wanted);
  switch (plan.kind) {
    case 'none': {
      const { record } = machine;
      // What was refused for the time being and is wanted no more: its objects may go.
      if (!record.current) return { machine, effects };
      return { machine: { ...machine, record: { ...record, current: undefined } }, effects: [...effects, { kind: 'collect' }] };
    }
    case 'already':
      return goOn(alreadyThere(machine, plan.wanted), effects);
    case 'install':
      return begin(machine, plan.wanted, undefined, effects);
    case 'back':
      return goBack(machine, plan, effects);
  }
}

/** What is wanted decides already: it has only not been called so. */
function alreadyThere(machine: UpdateMachine, { target }: Wanted): UpdateMachine {
  const { deployment, number } = target;
  const { active, slots, adapters } = machine.record;
  const named = { deployment, number };
  const renamed: Partial<UpdateRecord> =
    target.kind === 'adapter'
      ? { adapters: { ...adapters, [target.stream]: { ...adapters[target.stream], ...named } } }
      : active === 'factory'
        ? {}
        : { slots: { ...slots, [active]: { ...slots[active]!, ...named } } };
  const record = withConfirmed({ ...machine.record, ...renamed }, deployment);
  return { ...machine, record, phase: 'confirmed', rested: 'confirmed', subject: subjectOf(target), error: undefined };
}

function begin(machine: UpdateMachine, wanted: Wanted, insteadOf: string | undefined, effects: readonly UpdateEffect[]): Step {
  const before = machine.record.current;
  // What an earlier run, or an earlier try, moved for the same update counts too.
  const spentBytes =
    before?.wanted.sha256 === wanted.sha256 && before.wanted.target.deployment === wanted.target.deployment ? before.spentBytes : 0;
  const record: UpdateRecord = { ...machine.record, current: { wanted, spentBytes, insteadOf, probing: false } };
  const subject = subjectOf(wanted.target);
  return {
    machine: { ...machine, phase: 'fetch', record, subject, warmUp: undefined, shadow: undefined, error: undefined },
    effects: [...effects, { kind: 'fetch', wanted, spentBytes }],
  };
}

function goBack(machine: UpdateMachine, { from, stream, to }: Extract<Plan, { kind: 'back' }>, effects: readonly UpdateEffect[]): Step {
  const { record } = machine;
  const other = freeSlot(record);
  const there = to !== undefined && stream === undefined && record.slots[other]?.digest === to.sha256;
  if (to && !there) return begin(machine, to, from, effects);
  const error = `update/withdrawn: ${UPDATE_REFUSALS['update/withdrawn'].meaning}`;
  const failed = withFailed({ ...record, current: undefined }, from, error);
  const { [stream ?? '']: _gone, ...adapters } = failed.adapters;
  const slots = to
    ? { ...failed.slots, [other]: { ...failed.slots[other]!, deployment: to.target.deployment, number: to.target.number } }
    : {};
  const back: UpdateRecord =
    stream === undefined
      ? { ...failed, active: to ? other : 'factory', slots }
      : { ...failed, adapters, unsettled: withStream(failed.unsettled, stream) };
  const subject: UpdateSubject =
    stream === undefined ? { deployment: from, kind: 'bundle' } : { deployment: from, kind: 'adapter', stream };
  return {
    machine: { ...machine, phase: 'rolledBack', rested: 'rolledBack', record: back, subject, astray: true, error },
    effects: [...effects, { kind: 'activate' }, { kind: 'collect' }],
  };
}

/** On to a step that is done with the update's files. */
function prepare(machine: UpdateMachine, kind: 'verify' | 'answers' | 'warmUp' | 'shadow'): Step {
  const { record } = machine;
  return { machine, effects: [{ kind, wanted: record.current!.wanted, slot: freeSlot(record) }] };
}

/** The slot is written over next: nothing may go back to it. */
function withoutFreeSlot(record: UpdateRecord): UpdateRecord {
  if (record.current!.wanted.target.kind === 'adapter') return record;
  return { ...record, slots: { ...record.slots, [freeSlot(record)]: undefined } };
}

function verified(machine: UpdateMachine, slot: Slot | undefined, replaces: string | undefined): Step {
  const current = { ...machine.record.current!, replaces, probing: true };
  const slots = slot ? { ...machine.record.slots, [freeSlot(machine.record)]: slot } : machine.record.slots;
  return prepare({ ...machine, phase: 'answers', record: { ...machine.record, slots, current } }, 'answers');
}

function passed(machine: UpdateMachine, check: () => void, then: (machine: UpdateMachine) => Step): Step {
  try {
    check();
  } catch (error) {
    if (!(error instanceof UpdateRefusalError)) throw error;
    return fail(machine, error.code, error.message);
  }
  return then(machine);
}

/** All is proved: from now on it decides, and a crash counts against it. */
function activate(machine: UpdateMachine): Step {
  const { current, active, adapters } = machine.record;
  const { target, sha256 } = current!.wanted;
  const { deployment, number } = target;
  const failed =
    current!.insteadOf === undefined
      ? machine.record
      : withFailed(machine.record, current!.insteadOf, UPDATE_REFUSALS['update/withdrawn'].meaning);
  const rest = { ...failed, current: undefined, boots: 0 };
  const record: UpdateRecord =
    target.kind === 'bundle'
      ? { ...rest, active: freeSlot(rest), trial: { kind: 'bundle', deployment, previous: active } }
      : {
          ...rest,
          adapters: { ...adapters, [target.stream]: { deployment, number, digest: sha256, base: target.base } },
          unsettled: withStream(rest.unsettled, target.stream),
          trial: { kind: 'adapter', deployment, stream: target.stream, previous: placeOf(machine.record, target) },
        };
  return { machine: { ...machine, phase: 'active', record }, effects: [{ kind: 'cancel' }, { kind: 'activate' }] };
}

/** The adapter whose place is taken: one that was pushed, or the gateway's own. */
function placeOf({ adapters, current }: UpdateRecord, { stream, base }: Extract<Target, { kind: 'adapter' }>): AdapterInUse | undefined {
  const pushed = adapters[stream];
  const digest = current!.replaces;
  return digest === undefined || digest === pushed?.digest ? pushed : { deployment: OWN, number: 0, digest, base };
}

function running(machine: UpdateMachine, now: Running, settled: readonly string[]): Step {
  const { active, slots, trial, unsettled } = machine.record;
  const record =
    settled.length === 0 ? machine.record : { ...machine.record, unsettled: unsettled.filter((one) => !settled.includes(one)) };
  const known = { ...machine, running: now, record, astray: false };
  if (machine.astray && machine.again && RESTING.has(machine.phase)) return look(known);
  if (machine.phase !== 'active' || !trial) return { machine: known, effects: [] };
  const expected = active === 'factory' ? undefined : slots[active]?.digest;
  if (expected !== undefined && expected !== now.bundle)
    return fail(
      known,
      'update/engine',
      `the inference process runs ${now.bundle.slice(0, 12)} where ${expected.slice(0, 12)} should decide`,
    );
  return { machine: known, effects: [{ kind: 'watch' }] };
}

function fail(machine: UpdateMachine, code: UpdateRefusalCode, message: string): Step {
  const error = `${code}: ${message}`;
  const { phase, record } = machine;
  const { final } = UPDATE_REFUSALS[code];
  if (phase === 'active' && record.trial) {
    const before = final ? revert(record, error) : setAside(record);
    const rolledBack: UpdateMachine = { ...machine, phase: 'rolledBack', rested: 'rolledBack', record: before, astray: true, error };
    const back: UpdateEffect[] = [{ kind: 'cancel' }, { kind: 'activate' }];
    // What is tried again with the next timestamp need not be fetched again.
    return { machine: rolledBack, effects: final ? [...back, { kind: 'collect' }] : back };
  }
  if (!PREPARING.has(phase)) return stay(machine);
  const { current } = record;
  const refused = { ...machine, phase: 'refused', rested: 'refused', error } as const;
  if (!final) {
    // What came so far stays, and what it cost: the next timestamp goes on from there.
    const kept = { ...record, boots: 0, current: { ...current!, probing: false } };
    return { machine: { ...refused, record: kept }, effects: [{ kind: 'cancel' }] };
  }
  const failed = withFailed({ ...record, boots: 0, current: undefined }, current!.wanted.target.deployment, error);
  return { machine: { ...refused, record: failed }, effects: [{ kind: 'cancel' }, { kind: 'collect' }] };
}

function subjectOf(of: { readonly deployment: string; readonly kind: 'bundle' | 'adapter'; readonly stream?: string }): UpdateSubject {
  const { deployment, kind } = of;
  return kind === 'bundle' ? { deployment, kind } : { deployment, kind, stream: of.stream };
}
