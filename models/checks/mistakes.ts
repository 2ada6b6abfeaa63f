import type { z } from 'zod';

/** One mistake in a value: where, as keys from the top, and what must be there instead. */
export interface Mistake {
  readonly at: readonly PropertyKey[];
  readonly message: string;
}

/** A value that was checked: what it is, or every mistake at once. */
export type Checked<T> = { readonly data: T } | { readonly mistakes: readonly Mistake[] };

/** Checks a value that a person has written. Messages say what is allowed; those that a schema brings itself go before. */
export function check<T>(schema: z.ZodType<T>, value: unknown): Checked<T> {
  const parsed = schema.safeParse(value, { error: wording });
  return parsed.success ? { data: parsed.data } : { mistakes: parsed.error.issues.flatMap(mistakesOf) };
}

/** `broker.url: is missing; …; threads: …`. @param top what the value as a whole is called */
export function mistakesLine(mistakes: readonly Mistake[], top: string): string {
  return mistakes.map(({ at, message }) => `${at.join('.') || top}: ${message}`).join('; ');
}

/** The same of what was put together from options of a command line. */
export function optionMistakes(mistakes: readonly Mistake[]): string {
  return mistakes.map(({ at, message }) => `--${at.join('.')} ${message}`).join('; ');
}

function mistakesOf(issue: z.core.$ZodIssue): Mistake[] {
  const below = (inner: readonly z.core.$ZodIssue[]) =>
    inner.flatMap(mistakesOf).map(({ at, message }) => ({ at: [...issue.path, ...at], message }));
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => ({ at: [...issue.path, key], message: issue.message }));
  if (issue.code === 'invalid_key') return below(issue.issues);
  if (issue.code === 'invalid_union') {
    // The member that was meant is the one whose kind of value is there; where there is none, the union says what may be.
    const meant = issue.errors.find((member) => member.length > 0 && !member.some(isAnotherKind));
    if (meant) return below(meant);
  }
  return [{ at: issue.path, message: issue.message }];
}

function isAnotherKind({ code, path }: z.core.$ZodIssue): boolean {
  return path.length === 0 && (code === 'invalid_type' || code === 'invalid_value' || code === 'invalid_union');
}

function wording(issue: z.core.$ZodRawIssue): string {
  const { input } = issue;
  const schema = (issue.schema ?? issue.inst) as z.core.$ZodType | undefined;
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = schema && namesOf(schema);
      return `is no key here${known ? `; there are ${known.join(', ')}` : ''}`;
    }
    case 'too_small':
    case 'too_big':
      if (issue.origin === 'string' || issue.origin === 'array') return sizeWording(issue);
      return mustBe(schema, input);
    case 'invalid_union':
      if (issue.discriminator)
        return `must be ${alternatives((issue.options ?? []) as unknown[])}, not ${shown(valueAt(input, issue.discriminator))}`;
      return mustBe(schema, input);
    case 'invalid_format':
      return issue.format === 'regex'
        ? `${shown(input)} does not match ${issue.pattern}`
        : `must be of the form ${issue.format}, not ${shown(input)}`;
    default:
      return mustBe(schema, input);
  }
}

function mustBe(schema: z.core.$ZodType | undefined, input: unknown): string {
  const allowed = schema ? allowedBy(schema) : 'something else';
  if (input === undefined) return `is missing; must be ${allowed}`;
  return input === null ? `is empty; must be ${allowed}` : `must be ${allowed}, not ${shown(input)}`;
}

function sizeWording(issue: z.core.$ZodRawIssue<z.core.$ZodIssueTooSmall> | z.core.$ZodRawIssue<z.core.$ZodIssueTooBig>): string {
  const size = Number(issue.code === 'too_small' ? issue.minimum : issue.maximum);
  const [one, many] = issue.origin === 'string' ? ['character', 'characters'] : ['entry', 'entries'];
  const unit = size === 1 ? one : many;
  if (issue.exact) return `must have exactly ${size} ${unit}, not ${shown(issue.input)}`;
  if (issue.code === 'too_small') return size === 1 ? 'must not be empty' : `must have at least ${size} ${unit}`;
  return `must have at most ${size} ${unit}`;
}

/** What a schema takes, in words. */
function allowedBy(schema: z.core.$ZodType): string {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case 'string':
      return 'text';
    case 'number':
      return numberWords(def.checks ?? []);
    case 'boolean':
      return 'true or false';
    case 'enum':
      return alternatives(Object.values(def.entries));
    case 'literal':
      return alternatives(def.values);
    case 'array':
      return 'a list, as in [a, b]';
    case 'object':
      return 'keys with values';
    case 'record':
      return 'names with values';
    case 'union':
      return [...new Set(def.options.map(allowedBy))].join(' or ');
    case 'pipe':
      return allowedBy(def.in);
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
      return allowedBy(def.innerType);
    default:
      return 'something else';
  }
}

/** A number's limits as its schema states them, such as `a whole number from 1 to 64`. */
function numberWords(checks: readonly z.core.$ZodCheck[]): string {
  let whole = false;
  let lower = '';
  let upper = '';
  for (const { _zod } of checks) {
    const { def } = _zod as z.core.$ZodChecks['_zod'];
    if (def.check === 'number_format') whole = true;
    else if (def.check === 'greater_than') lower = def.inclusive ? `from ${def.value}` : `above ${def.value}`;
    else if (def.check === 'less_than') upper = `${def.inclusive ? (lower.startsWith('from') ? 'to' : 'at most') : 'below'} ${def.value}`;
  }
  const isOpen = lower.startsWith('from') && upper === '';
  const limits = isOpen ? `${lower} on` : [lower, upper].filter((part) => part !== '').join(lower.startsWith('above') ? ' and ' : ' ');
  return `a ${whole ? 'whole ' : ''}number${limits && ` ${limits}`}`;
}

/** The keys of a mapping. */
function namesOf(schema: z.core.$ZodType): string[] | undefined {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  return def.type === 'object' ? Object.keys(def.shape) : undefined;
}

function valueAt(input: unknown, key: string): unknown {
  return typeof input === 'object' && input !== null ? (input as Record<string, unknown>)[key] : undefined;
}

/** `a, b or c`. */
function alternatives(values: readonly unknown[]): string {
  const words = values.map(String);
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words[words.length - 1]}`;
}

/** Characters of a wrong value that a message repeats. */
const SHOWN_CHARACTERS = 40;

function shown(input: unknown): string {
  if (Array.isArray(input)) return 'a list';
  if (typeof input === 'object' && input !== null) return 'keys with values';
  if (input === undefined || input === null) return 'nothing';
  const text = JSON.stringify(input) ?? String(input);
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}
