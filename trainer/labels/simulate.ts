import { Random } from '../../models/networks/random.ts';
import { krippendorffAlpha } from './agreement.ts';
import { accuracyOfAgreement, type TierMark, tierState } from './tiers.ts';

export interface TierSimulation {
  /** Share of items on which the first two agreed. */
  readonly agreement: number;
  /** Share of items whose first label was true, and whose final one is. */
  readonly first: number;
  readonly final: number;
  /** Share of items that an expert had to see. */
  readonly expertShare: number;
  /** Krippendorff's, of the first two. */
  readonly alpha: number;
}

/**
 * Annotators who err independently, evenly over the wrong classes, through the three tiers.
 *
 * @param agreement share of items on which two of them agree; their accuracy follows
 * @param expert accuracy of the expert
 */
export function simulateTiers({
  items,
  classes,
  agreement,
  expert,
  seed,
}: {
  readonly items: number;
  readonly classes: number;
  readonly agreement: number;
  readonly expert: number;
  readonly seed: number;
}): TierSimulation {
  const random = new Random(seed);
  const accuracy = accuracyOfAgreement(agreement, classes);
  const say = (truth: number, right: number) => (random.uniform() < right ? truth : (truth + 1 + random.below(classes - 1)) % classes);
  let [agreed, first, final, experts] = [0, 0, 0, 0];
  const pairs: number[][] = [];
  for (let item = 0; item < items; item++) {
    const truth = random.below(classes);
    const marks: TierMark[] = [];
    let state = tierState(marks);
    while ('next' in state) {
      const { next } = state;
      marks.push({ tier: next, annotator: `annotator-${marks.length}`, label: say(truth, next === 'expert' ? expert : accuracy) });
      state = tierState(marks);
    }
    const [a, b] = [marks[0].label!, marks[1].label!];
    pairs.push([a, b]);
    if (a === b) agreed++;
    if (a === truth) first++;
    if (state.label === truth) final++;
    if (state.by === 'expert') experts++;
  }
  return {
    agreement: agreed / items,
    first: first / items,
    final: final / items,
    expertShare: experts / items,
    alpha: krippendorffAlpha(pairs),
  };
}
