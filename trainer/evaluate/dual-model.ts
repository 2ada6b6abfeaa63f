import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { type DualSettings, initialDualState, nextDualState, otherModelShare } from '../../runtime/decide/dual-state.ts';
import { WindowShare } from '../../runtime/decide/window-share.ts';
import { argmaxRows } from './metrics.ts';

/** Squared length of an error vector below which its direction is rounding. */
const NO_ERROR = 1e-12;

export type DualFigures = NonNullable<Manifest['dual']>;

/**
 * How different two models are that shall not fail together.
 *
 * - `difference`: see {@link errorDifference}.
 * - `repeatedErrors`, `sharedErrors`: of the primary's errors, the share at which the back-up decides the same wrong class, and any wrong one.
 *   0 where the primary makes none.
 * - `falseSwitchRate`: switches a window of a gateway that runs these windows in a row while nothing is wrong with the primary.
 *
 * Is wrong when windows of a recording lie side by side, and a gateway's streams do not: a recording on which the models differ then counts as
 * persistent disagreement. Shuffle the windows for a gateway of many streams, leave them in order for one of a single stream.
 *
 * @param primary probabilities of the robustness test set, row-major [windows, classes]
 * @param backup likewise, of the same windows
 * @param labels class index of each window
 * @throws RangeError where there are no windows, or the two are not of the same ones
 */
export function dualFigures(primary: Float32Array, backup: Float32Array, labels: Int32Array, settings: DualSettings): DualFigures {
  const windows = labels.length;
  if (windows === 0) throw new RangeError('no windows to compare the two models on');
  if (primary.length !== backup.length || primary.length % windows !== 0)
    throw new RangeError(`${primary.length} and ${backup.length} probabilities of ${windows} windows`);
  const classes = primary.length / windows;
  const [own, other] = [argmaxRows(primary, classes), argmaxRows(backup, classes)];
  let [errors, repeated, shared] = [0, 0, 0];
  for (let row = 0; row < windows; row++) {
    if (own[row] === labels[row]) continue;
    errors++;
    if (other[row] === own[row]) repeated++;
    if (other[row] !== labels[row]) shared++;
  }
  return {
    windows,
    difference: errorDifference(primary, backup, labels),
    repeatedErrors: errors === 0 ? 0 : repeated / errors,
    sharedErrors: errors === 0 ? 0 : shared / errors,
    falseSwitchRate: countSwitches(own, other, settings) / windows,
    backupShare: settings.backupShare,
  };
}

/**
 * 1 - mean cosine of the error vectors p - one-hot of two models. Windows that either model answers without any error have no direction and are left
 * out; they would count as different. 0 where no window has two errors.
 *
 * Never above 1/2, for both vectors point away from the same true class; always 0 of two classes, where there is one wrong one to point to.
 *
 * @param primary, backup row-major [labels.length, classes]
 */
export function errorDifference(primary: Float32Array, backup: Float32Array, labels: Int32Array): number {
  const classes = primary.length / labels.length;
  let [sum, counted] = [0, 0];
  for (let row = 0; row < labels.length; row++) {
    let [dot, one, two] = [0, 0, 0];
    for (let column = 0; column < classes; column++) {
      const truth = column === labels[row] ? 1 : 0;
      const a = primary[row * classes + column] - truth;
      const b = backup[row * classes + column] - truth;
      dot += a * b;
      one += a * a;
      two += b * b;
    }
    if (one < NO_ERROR || two < NO_ERROR) continue;
    sum += dot / Math.sqrt(one * two);
    counted++;
  }
  // Rounding may push the cosine of equal vectors a little beyond 1.
  return counted === 0 ? 0 : Math.max(0, 1 - sum / counted);
}

/** What a back-up is demanded to differ by, where it can: {@link errorDifference}. */
const DEMANDED = 0.3;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** One line for people. */
export function dualNote({ difference, repeatedErrors, falseSwitchRate }: DualFigures, classes: number): string {
  const differs = classes > 2 ? `difference ${difference.toFixed(2)}` : 'no difference to measure in two classes';
  return `${differs}, repeats ${percent(repeatedErrors)} of the errors, ${percent(falseSwitchRate)} false switches`;
}

/** What stands against a back-up; undefined where it differs enough, or where two classes leave nothing to differ in. */
export function dualReason({ difference }: DualFigures, classes: number): string | undefined {
  if (classes <= 2 || difference > DEMANDED) return undefined;
  return `the back-up errs too much like the primary: difference ${difference.toFixed(3)}, more than ${DEMANDED} is demanded`;
}

/** Times that the primary is left by the gateway's own rules, one window a batch, with no fault but disagreement. own, other: classes of each window */
function countSwitches(own: Int32Array, other: Int32Array, settings: DualSettings): number {
  const share = new WindowShare();
  let state = initialDualState(settings);
  let switches = 0;
  const step = (event: Parameters<typeof nextDualState>[1]) => {
    const next = nextDualState(state, event, settings);
    if (next.mode === 'backup' && state.mode !== 'backup') switches++;
    state = next;
  };
  for (let row = 0; row < own.length; row++) {
    const byPrimary = state.mode !== 'backup';
    if (byPrimary) step({ kind: 'ran', windows: 1, notFinite: 0, runMs: 0 });
    if (!share.due(1, otherModelShare(state, settings))) continue;
    if (!byPrimary) step({ kind: 'ran', windows: 1, notFinite: 0, runMs: 0 });
    step({ kind: 'compared', windows: 1, differed: own[row] === other[row] ? 0 : 1 });
  }
  return switches;
}
