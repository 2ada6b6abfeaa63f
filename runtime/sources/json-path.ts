/** One step of a path: a member's name, an element's place, or every element. */
export type PathStep = { readonly name: string } | { readonly index: number } | 'every';

const STEP = /^(?:\.([A-Za-z_][\w-]*)|\[(?:'([^']*)'|"([^"]*)"|(\d+)|(\*))\])/;

/**
 * Parses a path into a JSON document: `$`, then `.name`, `['any name']`, `[3]` or `[*]`. The part of RFC 9535 (JSONPath) that picks samples; no
 * filters, slices or descent.
 *
 * @throws SyntaxError that says where the path cannot be read
 */
export function parseJsonPath(text: string): PathStep[] {
  if (!text.startsWith('$')) throw new SyntaxError(`a path begins with $: ${text}`);
  const steps: PathStep[] = [];
  let at = 1;
  while (at < text.length) {
    const match = STEP.exec(text.slice(at));
    if (!match) throw new SyntaxError(`the path ${text} cannot be read from "${text.slice(at)}"; use .name, ['name'], [0] or [*]`);
    const [whole, name, single, double, index] = match;
    if (index !== undefined) steps.push({ index: Number(index) });
    else if (name ?? single ?? double) steps.push({ name: (name ?? single ?? double) as string });
    else steps.push('every');
    at += whole.length;
  }
  return steps;
}

/** What lies at the path: one value, or those below `[*]` in order. `undefined` stands for each that is not there; `[*]` of an empty array is none. */
export function selectByPath(document: unknown, steps: readonly PathStep[]): unknown[] {
  const found: unknown[] = [];
  follow(document, steps, 0, found);
  return found;
}

function follow(value: unknown, steps: readonly PathStep[], at: number, found: unknown[]): void {
  if (at === steps.length) {
    found.push(value);
    return;
  }
  const step = steps[at];
  if (step === 'every') {
    if (Array.isArray(value)) for (const element of value) follow(element, steps, at + 1, found);
    else found.push(undefined);
    return;
  }
  const key = 'name' in step ? step.name : step.index;
  // Own members only: no document may lead to a prototype's.
  const isThere = typeof value === 'object' && value !== null && Array.isArray(value) === 'index' in step && Object.hasOwn(value, key);
  if (isThere) follow((value as Record<string | number, unknown>)[key], steps, at + 1, found);
  else found.push(undefined);
}
