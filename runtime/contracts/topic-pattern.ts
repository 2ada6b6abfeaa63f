import { isTopicName } from './topics.ts';

/** What a topic level may hold that a stream's name may not. */
const FOREIGN_CHARACTERS = /[^A-Za-z0-9._-]+/g;
const PLACE = /\{(\d+)\}/g;

/**
 * Streams found by their topics: a pattern such as `hall/+/vibration/+` and a name such as `{1}-{2}`, whose places take the levels that stand for
 * the pattern's pluses, counted from 1. Characters that no stream's name may have become `-`.
 */
export class TopicPattern {
  readonly pattern: string;
  readonly #levels: readonly string[];
  readonly #name: string;

  /** @throws RangeError where pattern and name do not make one stream of each topic */
  constructor(pattern: string, name: string) {
    this.pattern = pattern;
    this.#levels = pattern.split('/');
    this.#name = name;
    const fault = patternFault(pattern, name);
    if (fault) throw new RangeError(fault);
  }

  /** The stream's name; undefined where the topic does not fit the pattern, or gives no name. */
  match(topic: string): string | undefined {
    const levels = topic.split('/');
    if (levels.length !== this.#levels.length) return undefined;
    const found: string[] = [];
    for (const [at, wanted] of this.#levels.entries()) {
      if (wanted === '+') found.push(levels[at].replace(FOREIGN_CHARACTERS, '-'));
      else if (wanted !== levels[at]) return undefined;
    }
    const name = this.#name.replace(PLACE, (_, place) => found[Number(place) - 1]);
    return isTopicName(name) ? name : undefined;
  }
}

/** What is wrong with a pattern and a name; undefined where nothing is. */
export function patternFault(pattern: string, name: string): string | undefined {
  const levels = pattern.split('/');
  if (pattern === '' || levels.some((level) => level !== '+' && /[+#\0]/.test(level)))
    return 'a topic has whole levels or + for one level; # is not possible, since each topic must give one stream';
  const pluses = levels.filter((level) => level === '+').length;
  const places = new Set([...name.matchAll(PLACE)].map(([, place]) => Number(place)));
  for (const place of places) if (place < 1 || place > pluses) return `{${place}} stands for no + of the topic ${pattern}`;
  if (places.size < pluses)
    return `the topic ${pattern} has ${pluses} +, so the stream's name needs {1}${pluses > 1 ? ` to {${pluses}}` : ''}: streams must not share a name`;
  if (!isTopicName(name.replace(PLACE, 'x'))) return 'must be letters, digits, ".", "_" or "-", at most 64, and places such as {1}';
  return undefined;
}
