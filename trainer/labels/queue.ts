import type { Tier } from '../../runtime/contracts/label.ts';
import { type TierMark, tierState } from './tiers.ts';

/** A window that waits for a word. */
export interface QueueItem {
  readonly id: string;
  /** Of the model that decided it, [classes]. */
  readonly probabilities: readonly number[];
  /** Where the window lies, [E]; items that lie together say the same. Absent where it is not known. */
  readonly embedding?: readonly number[];
  readonly marks: readonly TierMark[];
}

export interface QueuedItem {
  readonly id: string;
  readonly tier: Tier;
  /** Nats that a label is expected to tell; of items alike, later ones tell less. */
  readonly information: number;
}

/** Shannon entropy, nats. */
export function entropy(probabilities: readonly number[]): number {
  return probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
}

const TIER_ORDER: readonly Tier[] = ['expert', 'crossCheck', 'first'];

/**
 * What an annotator is asked next: items that only an expert can settle first (two have worked on them already), then by information. Information is the entropy
 * of the model's decision, weighted by how far the item lies from those that are asked before it, so that ten windows of one minute are not asked ten times
 * (a greedy form of batch-mode uncertainty sampling; Settles 2009, 5.3).
 *
 * @param annotator whose queue it is: nobody is asked twice about one item
 * @param isExpert only experts are asked what needs an expert, and nothing else
 * @param largest items that are put in order; the others are left out
 */
export function labelQueue(
  items: readonly QueueItem[],
  { annotator, isExpert, largest = 50 }: { readonly annotator: string; readonly isExpert: boolean; readonly largest?: number },
): QueuedItem[] {
  const open = items.flatMap((item) => {
    const state = tierState(item.marks);
    if (!('next' in state) || (state.next === 'expert') !== isExpert || state.not.includes(annotator)) return [];
    return [{ item, tier: state.next, novelty: 1 }];
  });
  const spread = spreadOf(open.flatMap(({ item: { embedding } }) => (embedding ? [embedding] : [])));
  const queue: QueuedItem[] = [];
  const informationOf = ({ item, novelty }: (typeof open)[number]) => entropy(item.probabilities) * novelty;
  while (open.length > 0 && queue.length < largest) {
    let best = 0;
    open.forEach((one, index) => {
      const [a, b] = [TIER_ORDER.indexOf(one.tier), TIER_ORDER.indexOf(open[best].tier)];
      if (a < b || (a === b && informationOf(one) > informationOf(open[best]))) best = index;
    });
    const [taken] = open.splice(best, 1);
    queue.push({ id: taken.item.id, tier: taken.tier, information: informationOf(taken) });
    for (const one of open) one.novelty = Math.min(one.novelty, noveltyOf(one.item, taken.item, spread));
  }
  return queue;
}

/** 0 for the same place, towards 1 far away. */
function noveltyOf({ embedding: a }: QueueItem, { embedding: b }: QueueItem, spread: number): number {
  if (!a || !b || spread === 0) return 1;
  return 1 - Math.exp(-squaredDistance(a, b) / spread);
}

/** Mean squared distance of a place from the mean of all. */
function spreadOf(places: readonly (readonly number[])[]): number {
  if (places.length < 2) return 0;
  const mean = places[0].map((_, column) => places.reduce((sum, place) => sum + place[column], 0) / places.length);
  return places.reduce((sum, place) => sum + squaredDistance(place, mean), 0) / places.length;
}

function squaredDistance(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, column) => sum + (value - b[column]) ** 2, 0);
}
