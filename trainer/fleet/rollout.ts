import * as z from 'zod';
import { sha256Schema } from '../../models/checks/sha256.ts';
import { isTopicName } from '../../runtime/contracts/topics.ts';
import { thresholdsSchema, UPDATE_PHASES, type UpdatePhase, type UpdateState } from '../../runtime/contracts/update.ts';

const count = z.number().int().nonnegative();
const share = z.number().min(0).max(1);

/** What one gateway made of it so far. */
const deviceSchema = z.strictObject({
  /** `failed`: refused it, went back, or was silent too long. `recalled`: it was taken back from this gateway alone, by hand. */
  outcome: z.enum(['updating', 'confirmed', 'failed', 'recalled']),
  phase: z.enum(UPDATE_PHASES).optional(),
  error: z.string().optional(),
  /** Share of the objects' bytes that it has. */
  progress: share.optional(),
  /** What it said last besides how far it has come. */
  said: z.string(),
  /** The furthest that it has come: rank of the phase, bytes that it has, windows in shadow. */
  furthest: z.tuple([count, count, count]).optional(),
  /** When it last came further or said something else, milliseconds since 1970: who comes no further is silent. */
  heardMs: count,
  /** Whether it runs the target now, as its inference process proved. */
  runs: z.boolean(),
  /** Confirmed once: if it no longer runs the target, it fell back. */
  succeeded: z.boolean(),
  /** Since when the broker has not known it connected; since when it has not run what it had confirmed, though the rollout was over. */
  goneMs: count.optional(),
  lostMs: count.optional(),
});
export type Device = z.infer<typeof deviceSchema>;

/** All that is known of one push: written to disk whole whenever it changes. The signed metadata follow from these files alone. */
export const rolloutSchema = z.strictObject({
  formatVersion: z.literal(1),
  deployment: z.string().refine(isTopicName),
  /** Grows with each push of the repository. */
  number: z.number().int().positive(),
  createdAt: z.iso.datetime(),
  target: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('bundle'), sha256: sha256Schema, bytes: count, parts: z.array(z.enum(['core', 'adapt'])) }),
    z.strictObject({
      kind: z.literal('adapter'),
      sha256: sha256Schema,
      bytes: count,
      base: sha256Schema,
      stream: z.string().refine(isTopicName),
    }),
  ]),
  thresholds: thresholdsSchema,
  budgetBytes: z.number().int().positive(),
  platforms: z.array(z.string()),
  /** Everything that a gateway may ask for because of this push, and its bytes. */
  objects: z.record(sha256Schema, count),
  rules: z.strictObject({
    /** Share of a group that must have confirmed before the next begins. */
    success: share,
    /** Share of a group above which the whole rollout goes back. */
    error: share,
    /** A gateway that said nothing new of the update for so long has failed. */
    silentAfterMs: z.number().positive(),
    /** How long a group must have been successful and well before the next begins. */
    settleMs: z.number().nonnegative(),
  }),
  /** Gateways as `SITE/GATEWAY`, each in one group; groups begin one after the other. */
  groups: z.array(z.strictObject({ gateways: z.array(z.string()), beganMs: count.optional(), successfulMs: count.optional() })),
  devices: z.record(z.string(), deviceSchema),
  status: z.enum(['running', 'paused', 'finished', 'failed', 'aborted', 'rolledBack']),
  /** Its objects are no longer kept: it is history, and nobody is offered it again. */
  archived: z.literal(true).optional(),
  /** Why it is not running or finished, for people. */
  reason: z.string().optional(),
  endedMs: count.optional(),
});
export type Rollout = z.infer<typeof rolloutSchema>;
type Group = Rollout['groups'][number];

/** Nobody shall run it: gateways that do go back. */
export const isWithdrawn = ({ status }: Pick<Rollout, 'status'>): boolean =>
  status === 'failed' || status === 'aborted' || status === 'rolledBack';
export const isOpen = ({ status }: Pick<Rollout, 'status'>): boolean => status === 'running' || status === 'paused';

/** Gateways that it has reached: those that may run it by now, and those that it was taken back from since. */
export function reachedBy({ groups }: Pick<Rollout, 'groups'>): string[] {
  return groups.filter(({ beganMs }) => beganMs !== undefined).flatMap(({ gateways }) => gateways);
}

/** Sites that a rollout has reached or will reach. */
export function sitesOfRollout({ groups }: Pick<Rollout, 'groups'>): string[] {
  return [...new Set(groups.flatMap(({ gateways }) => gateways.map((name) => name.slice(0, name.indexOf('/')))))];
}

/** Whether a gateway that a rollout has reached shall not run it any more. */
export const isRecalled = ({ devices }: Pick<Rollout, 'devices'>, gateway: string): boolean => devices[gateway]?.outcome === 'recalled';

/** Gateways that may run it by now. */
export function releasedTo(rollout: Pick<Rollout, 'groups' | 'devices'>): string[] {
  return reachedBy(rollout).filter((gateway) => !isRecalled(rollout, gateway));
}

/**
 * Success of a group, exactly as hawkBit has it: at the threshold it is reached, and a group of nobody has succeeded.
 * Source: hawkBit, ThresholdRolloutGroupSuccessCondition; reference/edge.md.
 */
export function isSuccessful(finished: number, total: number, threshold: number): boolean {
  return total === 0 || finished / total >= threshold;
}

/** Error of a group, exactly as hawkBit has it: only above the threshold, and never in a group of nobody (ThresholdRolloutGroupErrorCondition). */
export function isErroneous(errors: number, total: number, threshold: number): boolean {
  return total > 0 && errors / total > threshold;
}

/** What is known of a gateway at the moment. */
export interface Sighting {
  readonly state: UpdateState | undefined;
  /** Its status says online. */
  readonly online: boolean;
}

const EMPTY: Device = { outcome: 'updating', said: '', heardMs: 0, runs: false, succeeded: false };

/**
 * Takes down what a gateway says. Installed is not running: confirmed is only who says so and whose inference process has proved the very digest that
 * was pushed. Who had confirmed and runs something else has fallen back, and counts as failed.
 *
 * @returns the same object where nothing is new
 */
export function observe(rollout: Rollout, gateway: string, { state, online }: Sighting, nowMs: number): Rollout {
  if (!reachedBy(rollout).includes(gateway)) return rollout;
  const before = rollout.devices[gateway] ?? { ...EMPTY, heardMs: nowMs };
  const goneMs = online ? undefined : (before.goneMs ?? nowMs);
  const device: Device = { ...(state ? afterState(rollout, before, state, nowMs) : before), goneMs };
  if (goneMs === undefined) delete device.goneMs;
  if (rollout.devices[gateway] && JSON.stringify(device) === JSON.stringify(before)) return rollout;
  return { ...rollout, devices: { ...rollout.devices, [gateway]: device } };
}

/** What a gateway reported that is not final. */
const TRIES_AGAIN = 'tries again: ';

/** Phases that lead somewhere, in their order. */
const WAY: readonly UpdatePhase[] = ['fetch', 'verify', 'answers', 'warmup', 'shadow', 'active', 'confirmed'];

type Point = NonNullable<Device['furthest']>;
const comparePoints = (one: Point, other: Point) => one[0] - other[0] || one[1] - other[1] || one[2] - other[2];

function afterState(rollout: Rollout, before: Device, state: UpdateState, nowMs: number): Device {
  const { deployment, target } = rollout;
  const { bundle, adapters } = state.running;
  const runs = (target.kind === 'bundle' ? bundle : adapters[target.stream]) === target.sha256;
  const ours = state.deployment === deployment;
  const confirmed = runs && state.confirmed.includes(deployment);
  // Only what is final: a gateway that lost its link, or whose disk was full, says so and tries again.
  const refusal = state.failed.find((one) => one.deployment === deployment)?.error;
  const { have, total } = (ours && state.progress) || {};
  const elsewhere = ours || !state.deployment ? [] : [state.deployment, state.phase, state.progress?.have, state.shadow?.windows];
  const said = [...elsewhere, runs, confirmed, refusal].join(' ');
  // Who starts again and again, and is stopped each time before he comes further than before, says nothing new.
  const point: Point = [ours ? WAY.indexOf(state.phase) + 1 : 0, have ?? 0, (ours && state.shadow?.windows) || 0];
  const isFurther = !before.furthest || comparePoints(point, before.furthest) > 0;
  const isNews = said !== before.said || isFurther;
  const next: Device = {
    outcome: before.outcome,
    ...(ours && { phase: state.phase }),
    ...(before.error !== undefined && { error: before.error }),
    ...(have !== undefined && total !== undefined && { progress: total === 0 ? 1 : Math.min(1, have / total) }),
    said,
    furthest: isFurther ? point : before.furthest,
    heardMs: isNews ? nowMs : before.heardMs,
    runs,
    succeeded: before.succeeded || confirmed,
  };
  // What became of it is decided: who leaves it now does as he is told.
  if (isWithdrawn(rollout) || before.outcome === 'recalled') return next;
  if (confirmed) {
    next.outcome = 'confirmed';
    delete next.error;
  } else if (rollout.status === 'finished' && before.outcome === 'confirmed' && refusal === undefined) {
    // On the way back from a later push that went wrong, it may run something else for a while.
    next.lostMs = before.lostMs ?? nowMs;
  } else if (refusal !== undefined || before.succeeded) {
    next.outcome = 'failed';
    next.error = before.succeeded ? `fell back after it had confirmed${refusal === undefined ? '' : `: ${refusal}`}` : refusal;
  } else {
    if (isNews) {
      // One that was given up for silent, and speaks again.
      next.outcome = 'updating';
      delete next.error;
    }
    const isStopped = state.phase === 'refused' || (ours && state.phase === 'rolledBack');
    if (isStopped && state.error !== undefined && next.outcome === 'updating') next.error = `${TRIES_AGAIN}${state.error}`;
  }
  return next;
}

/** How a group stands. */
export function countGroup({ devices }: Pick<Rollout, 'devices'>, { gateways }: Group) {
  const of = (outcome: Device['outcome']) => gateways.filter((gateway) => devices[gateway]?.outcome === outcome);
  const confirmed = of('confirmed');
  return {
    total: gateways.length - of('recalled').length,
    confirmed: confirmed.length,
    failed: of('failed').length,
    /** Confirmed, connected and running the target at this moment. */
    well: confirmed.filter((gateway) => devices[gateway].runs && devices[gateway].goneMs === undefined).length,
  };
}

/**
 * Applies the rules. Order: silence counts as failure; an error sends the whole fleet back, whatever groups it comes from, once; then the next group
 * begins if all before it are successful and well; then the end.
 *
 * @returns the same object where nothing changes, so that a rule that has fired does not fire again
 */
export function advance(before: Rollout, nowMs: number): Rollout {
  if (isWithdrawn(before)) return before;
  const rollout = before.status === 'finished' ? withLosses(before, nowMs) : withSilence(before, nowMs);
  const error = errorOf(rollout);
  if (error) return withdraw(rollout, 'failed', error, nowMs);
  return rollout.status === 'running' ? proceed(rollout, nowMs) : rollout;
}

/** Ends a rollout for all: whoever runs it goes back. */
export function withdraw(rollout: Rollout, status: 'failed' | 'aborted' | 'rolledBack', reason: string, nowMs: number): Rollout {
  return { ...rollout, status, reason, endedMs: nowMs };
}

/** Takes a rollout back from some of the gateways that it has reached; from the last of a finished one, from all. They go back like those of a withdrawn one. */
export function recall(rollout: Rollout, gateways: readonly string[], reason: string, nowMs: number): Rollout {
  const recalled = gateways.map((name): [string, Device] => {
    const before = rollout.devices[name] ?? { ...EMPTY, heardMs: nowMs };
    return [name, { ...before, outcome: 'recalled', error: reason }];
  });
  const next = { ...rollout, devices: { ...rollout.devices, ...Object.fromEntries(recalled) } };
  return rollout.status === 'finished' && releasedTo(next).length === 0 ? withdraw(next, 'rolledBack', reason, nowMs) : next;
}

/** The newest push that a gateway runs or is about to, which is what it can go back from. */
export function newestAt(rollouts: readonly Rollout[], gateway: string): Rollout | undefined {
  const isThere = ({ devices }: Rollout) => devices[gateway]?.runs || (devices[gateway]?.outcome ?? 'updating') === 'updating';
  return rollouts.filter((one) => !isWithdrawn(one) && releasedTo(one).includes(gateway) && isThere(one)).at(-1);
}

export function pause(rollout: Rollout, reason: string): Rollout {
  return { ...rollout, status: 'paused', reason };
}

export function resume(rollout: Rollout, nowMs: number): Rollout {
  const { reason: _, ...rest } = rollout;
  return { ...listenAgain(rest, nowMs), status: 'running' };
}

/** Nobody listened for a while, so nobody was silent: who is waited for has all of the time again. */
export function listenAgain(rollout: Rollout, nowMs: number): Rollout {
  const devices = Object.entries(rollout.devices).map(([name, device]) => [
    name,
    { ...device, heardMs: nowMs, ...(device.goneMs !== undefined && { goneMs: nowMs }) },
  ]);
  return { ...rollout, devices: Object.fromEntries(devices) };
}

const minutes = (ms: number) => (ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`);

function withSilence(rollout: Rollout, nowMs: number): Rollout {
  const { silentAfterMs } = rollout.rules;
  const devices = { ...rollout.devices };
  for (const { gateways, beganMs } of rollout.groups) {
    if (beganMs === undefined) continue;
    for (const gateway of gateways) {
      const device = devices[gateway] ?? { ...EMPTY, heardMs: beganMs };
      const since =
        device.outcome === 'updating' ? Math.max(device.heardMs, beganMs) : device.outcome === 'confirmed' ? device.goneMs : undefined;
      if (since === undefined || nowMs - since <= silentAfterMs) continue;
      const what = device.outcome === 'confirmed' ? 'gone after it had confirmed, for more than' : 'said nothing new of it for more than';
      const last = device.error?.startsWith(TRIES_AGAIN) ? `; it said last: ${device.error.slice(TRIES_AGAIN.length)}` : '';
      devices[gateway] = { ...device, outcome: 'failed', error: `silent: ${what} ${minutes(silentAfterMs)}${last}` };
    }
  }
  const isChanged = Object.keys(devices).some((gateway) => devices[gateway] !== rollout.devices[gateway]);
  return isChanged ? { ...rollout, devices } : rollout;
}

/** After the end, only who has left the target for good counts: gateways may be switched off. */
function withLosses(rollout: Rollout, nowMs: number): Rollout {
  const lost = Object.entries(rollout.devices).filter(
    ([, { outcome, lostMs }]) => outcome === 'confirmed' && lostMs !== undefined && nowMs - lostMs > rollout.rules.silentAfterMs,
  );
  if (lost.length === 0) return rollout;
  const failed = lost.map(([name, device]): [string, Device] => [
    name,
    { ...device, outcome: 'failed', error: 'fell back after it had confirmed' },
  ]);
  return { ...rollout, devices: { ...rollout.devices, ...Object.fromEntries(failed) } };
}

/** Why the error rule fires: the first group that it fires for. */
function errorOf(rollout: Rollout): string | undefined {
  for (const [index, group] of rollout.groups.entries()) {
    if (group.beganMs === undefined) continue;
    const { failed, total } = countGroup(rollout, group);
    if (!isErroneous(failed, total, rollout.rules.error)) continue;
    const gateway = group.gateways.find((name) => rollout.devices[name]?.outcome === 'failed')!;
    const limit = Math.round(1000 * rollout.rules.error) / 10;
    return `${failed} of ${total} gateways of group ${index + 1} failed, more than ${limit} %; ${gateway}: ${rollout.devices[gateway].error}`;
  }
  return undefined;
}

function proceed(before: Rollout, nowMs: number): Rollout {
  const { success, settleMs } = before.rules;
  let rollout = before;
  const change = (index: number, change: Partial<Group>) => {
    const groups = rollout.groups.map((group, at) => (at === index ? { ...group, ...change } : group));
    rollout = { ...rollout, groups };
  };
  for (let index = 0; index < rollout.groups.length; index++) {
    const group = rollout.groups[index];
    if (group.beganMs === undefined) change(index, { beganMs: nowMs });
    const { confirmed, failed, total, well } = countGroup(rollout, group);
    if (!isSuccessful(confirmed, total, success)) {
      if (group.successfulMs !== undefined) change(index, { successfulMs: undefined });
      if (confirmed + failed < total) return rollout;
      const needed = Math.ceil(success * total - 1e-9);
      return pause(
        rollout,
        `group ${index + 1} has nobody left to wait for: ${confirmed} of ${total} confirmed, ${needed} are needed; mend and resume, or abort`,
      );
    }
    if (group.successfulMs === undefined) change(index, { successfulMs: nowMs });
    const isSettled = total === 0 || nowMs - rollout.groups[index].successfulMs! >= settleMs;
    if (!isSettled || !isSuccessful(well, total, success)) return rollout;
  }
  const settled = rollout.groups.map((group) => countGroup(rollout, group));
  if (settled.some(({ confirmed, failed, total }) => confirmed + failed < total)) return rollout;
  return { ...rollout, status: 'finished', endedMs: nowMs };
}

/** Phases in which a gateway has nothing more to ask. */
const AT_REST: readonly (Device['phase'] | undefined)[] = [undefined, 'idle', 'confirmed', 'rolledBack', 'refused'];

/**
 * Gateways that had to stop on the way and look again with the next timestamp that they hear.
 *
 * @param state what a gateway said last
 */
export function waitingForTimestamp(rollout: Rollout, state: (gateway: string) => UpdateState | undefined): string[] {
  if (rollout.status !== 'running') return [];
  const stopped: readonly (UpdatePhase | undefined)[] = ['refused', 'rolledBack'];
  return releasedTo(rollout).filter(
    (gateway) => rollout.devices[gateway]?.outcome === 'updating' && stopped.includes(state(gateway)?.phase),
  );
}

/** Whether gateways have left a rollout that was taken back from them, as far as they can be asked; all whom it had reached where none are named. */
export function hasGoneBack(rollout: Rollout, gateways: readonly string[] = reachedBy(rollout)): boolean {
  return gateways.every((gateway) => {
    const device = rollout.devices[gateway];
    return !device || device.goneMs !== undefined || (!device.runs && AT_REST.includes(device.phase));
  });
}
