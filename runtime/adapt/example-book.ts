import type { LabelProvenance } from '../contracts/adaptation.ts';
import { type Label, labelledClass, TIERS } from '../contracts/label.ts';
import { joinWindows, type PlacedWindow, type RawWindows } from './raw-windows.ts';

/** Windows of a stream that are learned from at the most: their labels fit into an adapter's file, and they into 100 kB. */
export const LARGEST_EXAMPLES = 96;
/** Every so many labels of a class, one is held out. */
const HOLD_OUT_EVERY = 3;

/** A label with the windows that were found for it. */
export interface BookEntry {
  readonly label: Label;
  readonly windows: readonly PlacedWindow[];
}

export interface Examples extends RawWindows {
  /** Class index of each window, [count] */
  readonly labels: Int32Array;
  /** 1 where the window is for the guard alone, [count] */
  readonly heldOut: Uint8Array;
  /** 1 where more than one annotator stands behind it, [count] */
  readonly trusted: Uint8Array;
  /** Label of each window, as a row of `provenance`, [count] */
  readonly sources: Int32Array;
  readonly provenance: readonly LabelProvenance[];
  /** Classes that an annotator has called wrong where they were decided, [classes] */
  readonly rejected: readonly boolean[];
}

const rank = ({ tier }: Label): number => TIERS.indexOf(tier);
const placeOf = ({ epoch, endSequence }: PlacedWindow): string => `${epoch}/${endSequence}`;
const isSame = (a: Label, b: Label): boolean =>
  a.annotator === b.annotator && a.tier === b.tier && JSON.stringify(a.subject) === JSON.stringify(b.subject);

/**
 * What annotators have said of one stream. Where two speak of one window, the higher tier counts; where they are of one tier and disagree, the window is
 * learned from by neither until a higher one has spoken.
 */
export class ExampleBook {
  #entries: BookEntry[];

  constructor(entries: readonly BookEntry[] = []) {
    this.#entries = [...entries];
  }

  /** In the order in which they came. */
  get entries(): readonly BookEntry[] {
    return this.#entries;
  }

  has(id: string): boolean {
    return this.#entries.some(({ label }) => label.id === id);
  }

  /** Takes a label; the same annotator's earlier word on the same subject is forgotten. The oldest of the most frequent class goes when there are too many windows. */
  add(entry: BookEntry): void {
    this.#entries = [...this.#entries.filter(({ label }) => !isSame(label, entry.label)), entry];
    while (this.#entries.length > 1 && this.#entries.reduce((sum, { windows }) => sum + Math.max(1, windows.length), 0) > LARGEST_EXAMPLES)
      this.#dropOne();
  }

  forget(ids: readonly string[]): void {
    this.#entries = this.#entries.filter(({ label }) => !ids.includes(label.id));
  }

  #dropOne(): void {
    const counts = new Map<string | undefined, number>();
    for (const { label } of this.#entries) counts.set(labelledClass(label), (counts.get(labelledClass(label)) ?? 0) + 1);
    const most = Math.max(...counts.values());
    const index = this.#entries.findIndex(({ label }) => counts.get(labelledClass(label)) === most);
    this.#entries.splice(index, 1);
  }

  /** @param classes of the bundle; labels of others wait for a bundle that has them */
  examples(classes: readonly string[]): Examples {
    const settled = this.#settled();
    const used: { window: PlacedWindow; label: number; heldOut: boolean; trusted: boolean; source: number }[] = [];
    const provenance: LabelProvenance[] = [];
    const seen = new Map<number, number>();
    const rejected = classes.map(() => false);
    for (const { label, windows } of this.#entries) {
      if (label.verdict === 'reject' && classes.includes(label.class)) rejected[classes.indexOf(label.class)] = true;
      const name = labelledClass(label);
      const index = name === undefined ? -1 : classes.indexOf(name);
      if (index < 0) continue;
      const own = windows.filter((window) => settled.get(placeOf(window)) === label);
      if (own.length === 0) continue;
      const place = seen.get(index) ?? 0;
      seen.set(index, place + 1);
      const heldOut = place % HOLD_OUT_EVERY === HOLD_OUT_EVERY - 1;
      const source = provenance.length;
      for (const window of own) used.push({ window, label: index, heldOut, trusted: label.tier !== 'first', source });
      const { id, annotator, tier } = label;
      provenance.push({ id, annotator, tier, class: classes[index], windows: own.length });
    }
    return {
      ...joinWindows(used.map(({ window }) => window)),
      labels: Int32Array.from(used, ({ label }) => label),
      heldOut: Uint8Array.from(used, ({ heldOut }) => (heldOut ? 1 : 0)),
      trusted: Uint8Array.from(used, ({ trusted }) => (trusted ? 1 : 0)),
      sources: Int32Array.from(used, ({ source }) => source),
      provenance,
      rejected,
    };
  }

  /** The label that counts for each window, by place; none where those of the highest tier disagree. */
  #settled(): Map<string, Label | undefined> {
    const settled = new Map<string, Label | undefined>();
    const ranks = new Map<string, number>();
    for (const { label, windows } of this.#entries) {
      if (label.verdict === 'unsure') continue;
      for (const window of windows) {
        const place = placeOf(window);
        const [before, own] = [ranks.get(place) ?? -1, rank(label)];
        if (own < before) continue;
        const other = settled.get(place);
        // Of one tier: the first that said it stands for those who agree.
        if (own > before) settled.set(place, label);
        else if (other && !agree(other, label)) settled.set(place, undefined);
        else if (other?.verdict === 'reject') settled.set(place, label);
        ranks.set(place, own);
      }
    }
    return settled;
  }
}

/** Whether two labels of one window can both be right. */
function agree(a: Label, b: Label): boolean {
  if (a.verdict === 'unsure' || b.verdict === 'unsure') return true;
  if (a.verdict === 'reject' && b.verdict === 'reject') return true;
  if (a.verdict === 'reject' || b.verdict === 'reject') return a.class !== b.class;
  return a.class === b.class;
}
