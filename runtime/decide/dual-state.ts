/**
 * Which of two models decides. `suspect`: the primary still decides, but the back-up runs on every window, so that persistent disagreement shows
 * within one hop.
 */
export type DualMode = 'primary' | 'suspect' | 'backup';

export const SWITCH_CAUSES = ['threw', 'notFinite', 'slow', 'disagreed'] as const;
export type SwitchCause = (typeof SWITCH_CAUSES)[number];

export interface DualSettings {
  /** Share of windows on which the back-up runs while the primary is well. */
  readonly backupShare: number;
  /** Share of windows on which the primary is tried while the back-up decides. */
  readonly trialShare: number;
  /** Longest run of the primary, milliseconds, and the runs in a row above it that are too many. */
  readonly latencyBudgetMs: number;
  readonly slowRuns: number;
  /** Share of windows without a number, of about the last 8, above which the primary is left. */
  readonly notFiniteAbove: number;
  /** Shares of about the last 32 compared windows on which the models differ: above which the primary is watched, and left; below which it may return. */
  readonly suspectAbove: number;
  readonly switchAbove: number;
  readonly returnBelow: number;
  /** Windows in a row that the primary must pass before it decides again. Doubled where it fails again soon after, up to 64 times. */
  readonly recoveryWindows: number;
}

/** A run that is no longer is late because of the operating system's scheduler, not of the model: nothing is lost by it within a few hops. */
const SCHEDULER_MS = 50;
const SCHEDULER_HOPS = 4;

/** @param hopMs time between two windows of a stream: two runs at the budget fill one, where that is not too short to tell */
export function dualSettings(hopMs: number): DualSettings {
  return {
    backupShare: 1 / 16,
    trialShare: 1 / 4,
    latencyBudgetMs: Math.max(hopMs / 2, Math.min(SCHEDULER_MS, SCHEDULER_HOPS * hopMs)),
    slowRuns: 2,
    notFiniteAbove: 0.5,
    suspectAbove: 0.4,
    switchAbove: 0.75,
    returnBelow: 0.4,
    recoveryWindows: 128,
  };
}

export interface DualState {
  readonly mode: DualMode;
  /** Why the primary was left last. */
  readonly cause: SwitchCause | undefined;
  /** Share of late windows on which the models differ, and on which the primary gave no number: exponentially weighted means. */
  readonly disagreement: number;
  readonly notFinite: number;
  /** Runs in a row above the budget. */
  readonly slow: number;
  /** Windows in a row that the primary has passed while the back-up decides, and how many are demanded. */
  readonly passed: number;
  readonly demanded: number;
  /** Windows that the primary has decided since it returned. */
  readonly steady: number;
  /** Each failed trial halves how often the primary is tried: a slow primary must not slow the back-up down. */
  readonly failedTrials: number;
}

export type DualEvent =
  /** A run of the primary threw. */
  | { readonly kind: 'threw' }
  /** The primary answered `windows`, of which `notFinite` were no numbers. */
  | { readonly kind: 'ran'; readonly windows: number; readonly notFinite: number; readonly runMs: number }
  /** Both answered the same windows, of which so many can be compared. */
  | { readonly kind: 'compared'; readonly windows: number; readonly differed: number }
  /** A run of the back-up threw while it decided. */
  | { readonly kind: 'backup-threw' };

/** Windows that the two means look back over. */
const DISAGREEMENT_MEMORY = 32;
const NOT_FINITE_MEMORY = 8;
/** A switch within so many times the recovery after the last return counts as the same trouble. */
const SOON = 16;
const MOST_DEMANDED = 64;
const MOST_FAILED_TRIALS = 8;

export function initialDualState({ recoveryWindows }: Pick<DualSettings, 'recoveryWindows'>): DualState {
  return {
    mode: 'primary',
    cause: undefined,
    disagreement: 0,
    notFinite: 0,
    slow: 0,
    passed: 0,
    demanded: recoveryWindows,
    steady: Number.POSITIVE_INFINITY,
    failedTrials: 0,
  };
}

/** Share of windows on which the model that does not decide runs too. */
export function otherModelShare({ mode, failedTrials }: DualState, { backupShare, trialShare }: DualSettings): number {
  if (mode === 'primary') return backupShare;
  return mode === 'suspect' ? 1 : trialShare * 2 ** -failedTrials;
}

/** The state after something happened. */
export function nextDualState(state: DualState, event: DualEvent, settings: DualSettings): DualState {
  if (event.kind === 'backup-threw') return { ...state, mode: 'primary', passed: 0, steady: 0, disagreement: 0, notFinite: 0, slow: 0 };
  return state.mode === 'backup' ? whileBackup(state, event, settings) : whilePrimary(state, event, settings);
}

type PrimaryEvent = Exclude<DualEvent, { kind: 'backup-threw' }>;

function whilePrimary(state: DualState, event: PrimaryEvent, settings: DualSettings): DualState {
  if (event.kind === 'threw') return leave(state, 'threw', settings);
  const next = measured(state, event, settings);
  if (event.kind === 'ran') {
    if (next.notFinite > settings.notFiniteAbove) return leave(next, 'notFinite', settings);
    if (next.slow >= settings.slowRuns) return leave(next, 'slow', settings);
    return { ...next, steady: state.steady + event.windows };
  }
  const { disagreement } = next;
  if (disagreement > settings.switchAbove) return leave(next, 'disagreed', settings);
  if (disagreement > settings.suspectAbove) return { ...next, mode: 'suspect' };
  // Half the way back: at one and the same threshold the mode would flutter.
  return disagreement < settings.suspectAbove / 2 ? { ...next, mode: 'primary' } : next;
}

function whileBackup(state: DualState, event: PrimaryEvent, settings: DualSettings): DualState {
  if (event.kind === 'threw') return failedTrial(state);
  const next = measured(state, event, settings);
  if (event.kind === 'ran')
    return event.notFinite > 0 || next.slow > 0 ? failedTrial(next) : { ...next, passed: state.passed + event.windows };
  // Where nothing can be compared, what was seen before says nothing of the streams of now.
  if (event.windows > 0 && next.disagreement >= settings.returnBelow) return { ...next, passed: 0 };
  if (next.passed < state.demanded) return next;
  // Nothing of the old trouble is counted against the streams of now: one window could send the primary away again.
  return { ...next, mode: 'primary', passed: 0, steady: 0, disagreement: 0, notFinite: 0, slow: 0, failedTrials: 0 };
}

/** The running figures after the primary ran or was compared. */
function measured(state: DualState, event: Exclude<PrimaryEvent, { kind: 'threw' }>, { latencyBudgetMs }: DualSettings): DualState {
  if (event.kind === 'compared')
    return { ...state, disagreement: blend(state.disagreement, event.differed, event.windows, DISAGREEMENT_MEMORY) };
  return {
    ...state,
    notFinite: blend(state.notFinite, event.notFinite, event.windows, NOT_FINITE_MEMORY),
    slow: event.runMs > latencyBudgetMs ? state.slow + 1 : 0,
  };
}

/** An exponentially weighted mean of hits after `windows` more, spread evenly over them. */
function blend(mean: number, hits: number, windows: number, memory: number): number {
  if (windows === 0) return mean;
  const kept = (1 - 1 / memory) ** windows;
  return kept * mean + (1 - kept) * (hits / windows);
}

function leave(state: DualState, cause: SwitchCause, { recoveryWindows }: DualSettings): DualState {
  const again = state.steady < SOON * state.demanded;
  const demanded = again ? Math.min(2 * state.demanded, MOST_DEMANDED * recoveryWindows) : recoveryWindows;
  return { ...state, mode: 'backup', cause, passed: 0, demanded, failedTrials: 0 };
}

function failedTrial(state: DualState): DualState {
  return { ...state, passed: 0, failedTrials: Math.min(state.failedTrials + 1, MOST_FAILED_TRIALS) };
}
