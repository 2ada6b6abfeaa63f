import { Refusal } from '../refusal.ts';
import type { RecordingSet } from './recording-set.ts';

/** Recordings whose label matches `pattern` get the label `label`. */
export interface RelabelRule {
  /** A glob over the whole label: `*` is any run of characters, `?` any one. */
  readonly pattern: string;
  readonly label: string;
}

/** `PATTERN=CLASS`, as `--relabel 'IR*=inner_race'`. @throws Refusal usage/relabel */
export function parseRelabel(text: string): RelabelRule {
  const at = text.lastIndexOf('=');
  if (at < 1 || at === text.length - 1) {
    throw new Refusal('usage/relabel', `"${text}" is not PATTERN=CLASS; write for instance "IR*=inner_race"`);
  }
  return { pattern: text.slice(0, at), label: text.slice(at + 1) };
}

/** The expression that a glob stands for: `*` any run of characters, `/` too, `?` any one, everything else itself. Matches the whole text. */
export function globToRegExp(glob: string): RegExp {
  const body = glob
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${body}$`, 's');
}

/**
 * A set with coarser classes. For every recording the first rule whose pattern matches its label counts; a label that no rule matches stays,
 * and a recording without a label stays without. The label as recorded remains in the field `recorded_label`, so that a split by it is
 * still possible: `--relabel 'IR*=inner' --test recorded_label=IR014`.
 *
 * @returns the same set where there are no rules
 * @throws Refusal data/relabel where a rule matches no label: it would be a typing error that nobody sees
 */
export function relabelSet(set: RecordingSet, rules: readonly RelabelRule[]): RecordingSet {
  if (rules.length === 0) return set;
  const compiled = rules.map(({ pattern, label }) => ({ pattern: globToRegExp(pattern), label }));
  const labels = [...new Set(set.recordings.flatMap(({ label }) => (label === null ? [] : [label])))].sort();
  for (const [index, { pattern }] of compiled.entries()) {
    if (!labels.some((label) => pattern.test(label))) {
      throw new Refusal(
        'data/relabel',
        `no label of ${set.name} matches "${rules[index].pattern}"; there are ${labels.join(', ') || 'none'}`,
      );
    }
  }
  const renamed = new Map(labels.map((label) => [label, compiled.find(({ pattern }) => pattern.test(label))?.label ?? label]));
  const recordings = set.recordings.map((entry) => ({
    ...entry,
    recorded_label: entry.recorded_label ?? entry.label,
    label: entry.label === null ? null : renamed.get(entry.label)!,
  }));
  return { ...set, recordings };
}
