import type { DriftSignal } from '../../runtime/contracts/drift.ts';
import { type Label, labelledClass } from '../../runtime/contracts/label.ts';
import type { QueueItem } from './queue.ts';

/** A signal or label in a server's books. */
export interface BookEntry {
  readonly gateway: string;
  readonly stream: string;
  /** JSON. */
  readonly body: string;
}

/** A window that was sent as evidence or that somebody labelled. Marks name classes by their place in `classes`. */
export interface LabelItem extends QueueItem {
  readonly gateway: string;
  readonly stream: string;
  readonly epoch: number;
  readonly endSequence: number;
  /** Whether it came with a signal: only of those it is known how they were decided. */
  readonly evidence: boolean;
}

export interface LabelItems {
  readonly items: readonly LabelItem[];
  /** Classes that labels name. */
  readonly classes: readonly string[];
}

/** What a signal in the books still says of its windows. */
interface Evidence {
  readonly windows?: readonly {
    readonly epoch: number;
    readonly endSequence: number;
    readonly probabilities: readonly number[];
    readonly features?: readonly (number | null)[];
  }[];
}

/**
 * Windows with all that was said of them: those of signals, and those that labels name one by one. A label of a span or a signal is about each of the windows that
 * are known of it. Of one annotator's labels of a window the last counts.
 *
 * @param signals and labels of one site, oldest first
 */
export function labelItems(signals: readonly BookEntry[], labels: readonly BookEntry[]): LabelItems {
  const items = new Map<string, LabelItem & { marks: LabelItem['marks'][number][] }>();
  const bySignal = new Map<string, string[]>();
  const add = (
    at: Pick<LabelItem, 'gateway' | 'stream' | 'epoch' | 'endSequence'>,
    told?: Pick<QueueItem, 'probabilities' | 'embedding'>,
  ) => {
    const id = `${at.gateway}/${at.stream} ${at.epoch}:${at.endSequence}`;
    if (!items.has(id)) items.set(id, { id, ...at, probabilities: [], ...told, evidence: told !== undefined, marks: [] });
    return id;
  };
  for (const { gateway, stream, body } of signals) {
    const { id, evidence } = JSON.parse(body) as Pick<DriftSignal, 'id'> & { evidence: Evidence };
    const own = (evidence.windows ?? []).map(({ epoch, endSequence, probabilities, features }) => {
      const isWhole = features?.every((value) => value !== null);
      return add({ gateway, stream, epoch, endSequence }, { probabilities, ...(isWhole && { embedding: features as number[] }) });
    });
    bySignal.set(`${gateway}/${id}`, own);
  }
  const said = labels.map(({ gateway, stream, body }) => ({ gateway, stream, label: JSON.parse(body) as Label }));
  const classes = [...new Set(said.flatMap(({ label }) => labelledClass(label) ?? []))].sort();
  for (const { gateway, stream, label } of said) {
    const { subject, annotator, tier } = label;
    const named = labelledClass(label);
    const mark = { tier, annotator, label: named === undefined ? undefined : classes.indexOf(named) };
    for (const id of windowsOf(subject)) {
      const { marks } = items.get(id)!;
      const before = marks.findIndex((one) => one.annotator === annotator);
      if (before >= 0) marks.splice(before, 1);
      marks.push(mark);
    }

    function windowsOf(about: Label['subject']): string[] {
      if (about.kind === 'window') return [add({ gateway, stream, epoch: about.epoch, endSequence: about.endSequence })];
      if (about.kind === 'signal') return bySignal.get(`${gateway}/${about.signal}`) ?? [];
      const isWithin = (one: LabelItem) =>
        one.gateway === gateway &&
        one.stream === stream &&
        one.epoch === about.epoch &&
        one.endSequence >= about.fromSequence &&
        one.endSequence <= about.toSequence;
      return [...items.values()].filter(isWithin).map(({ id }) => id);
    }
  }
  return { items: [...items.values()], classes };
}
