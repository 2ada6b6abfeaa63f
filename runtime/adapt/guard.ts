import type { GuardFigures } from '../contracts/adaptation.ts';

/**
 * Growth of the mean cross-entropy on known windows that is allowed, nats. Accuracy on the few windows that a bundle carries moves in steps of some
 * percent; the loss moves first.
 */
const LARGEST_LOSS_GROWTH = 0.05;
/** A decision that is so probable is one that the model is sure of. */
export const SURE_FROM = 0.9;
/** Share of the sure decisions of a stream that a candidate must keep, apart from classes that a label spoke against. */
const LEAST_KEPT = 0.95;
/** Fall of the mean probability of what is decided that is allowed: an estimate of accuracy that needs no label (CBPE). */
const LARGEST_CONFIDENCE_FALL = 0.02;

/** How some decisions compare with the truth. */
export interface Score {
  readonly windows: number;
  readonly accuracy: number;
  /** Mean, nats. */
  readonly crossEntropy: number;
}

export interface GuardScores {
  /** Held-out replay windows by the base, by what decides now, by the candidate. */
  readonly known: { readonly base: Score; readonly before: Score; readonly after: Score };
  readonly local: { readonly before: Score; readonly after: Score };
  /** What was learned from. */
  readonly learned: { readonly before: Score; readonly after: Score };
  readonly answers: GuardFigures['answers'];
}

export function scoreOf(probabilities: Float32Array, labels: ArrayLike<number>): Score {
  const windows = labels.length;
  const classes = windows === 0 ? 0 : probabilities.length / windows;
  let [right, loss] = [0, 0];
  for (let row = 0; row < windows; row++) {
    const own = probabilities.subarray(row * classes, (row + 1) * classes);
    if (indexOfLargest(own) === labels[row]) right++;
    loss -= Math.log(Math.max(1e-9, own[labels[row]]));
  }
  return { windows, accuracy: windows === 0 ? 0 : right / windows, crossEntropy: windows === 0 ? 0 : loss / windows };
}

export function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index] > values[best]) best = index;
  return best;
}

/**
 * Whether a candidate may go on to the shadow. It is held against the base and not against its predecessor alone: a thousand small losses would add up.
 *
 * @returns why not; undefined where it may
 */
export function guardRefusal({ known, local, learned, answers }: GuardScores): string | undefined {
  if (answers.kept < answers.windows)
    return `${answers.windows - answers.kept} of ${answers.windows} known answers would be decided otherwise`;
  if (known.after.accuracy < known.base.accuracy) return `known windows: ${change(known.base, known.after)}`;
  if (!(known.after.crossEntropy <= known.base.crossEntropy + LARGEST_LOSS_GROWTH))
    return `known windows: cross-entropy ${known.base.crossEntropy.toFixed(3)} -> ${known.after.crossEntropy.toFixed(3)}`;
  if (local.after.accuracy < local.before.accuracy) return `held-out labels: ${change(local.before, local.after)}`;
  if (learned.after.accuracy < learned.before.accuracy) return `labels that it learned from: ${change(learned.before, learned.after)}`;
  if (!(learned.after.crossEntropy < learned.before.crossEntropy)) return 'nothing was gained';
  return undefined;
}

const change = (before: Score, after: Score): string => `accuracy ${before.accuracy.toFixed(3)} -> ${after.accuracy.toFixed(3)}`;

export function guardFigures({ known, local, answers }: GuardScores): GuardFigures {
  return {
    known: {
      windows: known.base.windows,
      base: known.base.accuracy,
      before: known.before.accuracy,
      after: known.after.accuracy,
    },
    local: { windows: local.before.windows, before: local.before.accuracy, after: local.after.accuracy },
    answers,
  };
}

/** Live windows that both have decided. */
export interface ShadowFigures {
  readonly windows: number;
  /** Share decided alike. */
  readonly agreement: number;
  /** Mean probability of what was decided. */
  readonly before: number;
  readonly after: number;
  /** Windows of which what decides is sure, of classes that no label spoke against; and those of them that the candidate decides alike. */
  readonly sure: number;
  readonly kept: number;
}

/**
 * @param before probabilities [windows, classes] by what decides now; @param after by the candidate
 * @param contested classes that a label spoke against where they were decided: there the candidate is expected to differ
 */
export function compareShadow(before: Float32Array, after: Float32Array, contested: readonly boolean[]): ShadowFigures {
  const classes = contested.length;
  const windows = before.length / classes;
  const sums = { alike: 0, before: 0, after: 0, sure: 0, kept: 0 };
  for (let row = 0; row < windows; row++) {
    const [a, b] = [before, after].map((all) => all.subarray(row * classes, (row + 1) * classes));
    const [old, fresh] = [indexOfLargest(a), indexOfLargest(b)];
    sums.before += a[old];
    sums.after += b[fresh];
    if (old === fresh) sums.alike++;
    if (a[old] < SURE_FROM || contested[old]) continue;
    sums.sure++;
    if (old === fresh) sums.kept++;
  }
  const mean = (sum: number) => (windows === 0 ? 0 : sum / windows);
  return { windows, agreement: mean(sums.alike), before: mean(sums.before), after: mean(sums.after), sure: sums.sure, kept: sums.kept };
}

/** @returns why the candidate must not decide; undefined where it may */
export function shadowRefusal({ before, after, sure, kept }: ShadowFigures): string | undefined {
  // Written so that NaN refuses.
  if (!(after >= before - LARGEST_CONFIDENCE_FALL)) return `mean confidence ${before.toFixed(3)} -> ${after.toFixed(3)}`;
  if (kept < LEAST_KEPT * sure) return `${sure - kept} of ${sure} sure decisions would be others, which no label asks for`;
  return undefined;
}
