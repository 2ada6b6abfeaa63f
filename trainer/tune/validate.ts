import { type LabelledFeatures, rowsByClass, takeRows } from '../../runtime/adapt/labelled-features.ts';
import { deploy } from './measure.ts';
import type { TuneContext, TuneMethod } from './method.ts';

const MOST_FOLDS = 3;

/** What a candidate learns from and what it is judged on, none of which it has seen. */
export interface ValidationFold {
  readonly shots: LabelledFeatures;
  readonly replay: LabelledFeatures;
  readonly heldTarget: LabelledFeatures;
  readonly heldReplay: LabelledFeatures;
}

/** Accuracy on held-out windows, and how many there were. */
export interface Validation {
  readonly target: number;
  readonly source: number;
  readonly windows: number;
}

/** Rows whose place within their class leaves `fold` when divided by `of`, and the others. */
function deal(examples: LabelledFeatures, fold: number, of: number): { kept: LabelledFeatures; held: LabelledFeatures } {
  const held = rowsByClass(examples.labels).flatMap((rows) => rows.filter((_, place) => place % of === fold));
  const out = new Set(held);
  const kept = Array.from(examples.labels.keys()).filter((row) => !out.has(row));
  return { kept: takeRows(examples, kept), held: takeRows(examples, held) };
}

/**
 * How `auto` judges without touching what is measured in the end. With two or more shots a class: up to three folds over shots and replay windows. With one:
 * a single fold that learns from the shots and half of replay, and is judged on the shots under augmentation and the other half.
 *
 * @param augmented the shots under augmentation
 */
export function validationFolds(
  shots: LabelledFeatures,
  augmented: LabelledFeatures,
  replay: LabelledFeatures,
  perClass: number,
): ValidationFold[] {
  if (perClass === 1) {
    const { kept, held } = deal(replay, 1, 2);
    return [{ shots, replay: kept, heldTarget: augmented, heldReplay: held }];
  }
  const folds = Math.min(perClass, MOST_FOLDS);
  return Array.from({ length: folds }, (_, fold) => {
    const [target, known] = [deal(shots, fold, folds), deal(replay, fold, folds)];
    return { shots: target.kept, replay: known.kept, heldTarget: target.held, heldReplay: known.held };
  });
}

/** Mean accuracy of a method over the folds; of the bundle as it is where no method is given. */
export async function validate(
  context: TuneContext,
  method: Pick<TuneMethod, 'tune'> | undefined,
  folds: readonly ValidationFold[],
): Promise<Validation> {
  let [target, source, windows] = [0, 0, 0];
  for (const { shots, replay, heldTarget, heldReplay } of folds) {
    const made = await deploy(context, replay, await method?.tune(context, shots, replay));
    target += (await made.measure(heldTarget)).accuracy / folds.length;
    source += (await made.measure(heldReplay)).accuracy / folds.length;
    windows += heldTarget.labels.length + heldReplay.labels.length;
    await made.release();
  }
  return { target, source, windows };
}

export interface Candidate {
  readonly validation: Validation;
  readonly inBank: boolean;
  /** Whether the method is safe under a condition only. */
  readonly conditional: boolean;
  readonly adapterBytes: number;
}

/** Mean of both accuracies. */
export const scoreOf = ({ target, source }: Validation): number => (target + source) / 2;

/**
 * The candidate with the best mean of both accuracies. Those within one held-out window of it count as equal: of them one that is a row of the bank goes
 * before one that needs a bundle of its own, one that is safe anywhere before one that is safe under a condition, then the one with fewer bytes.
 */
export function chooseCandidate<T extends Candidate>(candidates: readonly T[]): T {
  const best = Math.max(...candidates.map(({ validation }) => scoreOf(validation)));
  const equal = candidates.filter(({ validation }) => best - scoreOf(validation) <= 1 / validation.windows);
  const [first] = [...equal].sort(
    (a, b) => Number(b.inBank) - Number(a.inBank) || Number(a.conditional) - Number(b.conditional) || a.adapterBytes - b.adapterBytes,
  );
  return first;
}
