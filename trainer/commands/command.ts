import { type ParseArgsConfig, parseArgs } from 'node:util';
import { Refusal } from '../refusal.ts';

export type Options = NonNullable<ParseArgsConfig['options']>;

export interface ParsedArguments {
  readonly values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;
  readonly positionals: readonly string[];
}

/** One verb of the command line. */
export interface Command {
  readonly verb: string;
  /** One line for the list of verbs. */
  readonly summary: string;
  /** Usage, options and a working example. */
  readonly help: string;
  /** Help of what the arguments name, where the verb has such; without it or its answer `help` is printed. */
  helpOn?(args: ParsedArguments): Promise<string | undefined>;
  readonly options: Options;
  /** Largest number of positional arguments. */
  readonly positionals: number;
  /** Does the work; the object it returns is what `--json` prints as the last line of stdout. */
  run(args: ParsedArguments, signal: AbortSignal): Promise<Record<string, unknown>>;
}

/** @throws Refusal usage/arguments */
export function parseCommand({ verb, options, positionals }: Command, argv: readonly string[]): ParsedArguments {
  return parseWords(
    argv,
    { ...options, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    positionals,
    `tremolo ${verb} --help`,
  );
}

/**
 * @param positionals largest number of them
 * @param help command that tells what there is
 * @throws Refusal usage/arguments
 */
export function parseWords(argv: readonly string[], options: Options, positionals: number, help: string): ParsedArguments {
  try {
    const parsed = parseArgs({ args: joinNegatives(argv, options), options, allowPositionals: true, strict: true });
    if (parsed.positionals.length > positionals) {
      throw new Error(`${parsed.positionals.slice(positionals).join(' ')} is one argument too many`);
    }
    return parsed as ParsedArguments;
  } catch (cause) {
    throw new Refusal('usage/arguments', `${argumentMistake(cause as Error)}; see ${help}`, { cause });
  }
}

/** `--rate -5` as `--rate=-5`: parseArgs takes the number for an option, and the verb could not say what is wrong with it. */
function joinNegatives(argv: readonly string[], options: Options): string[] {
  const joined: string[] = [];
  for (const word of argv) {
    const before = joined.at(-1);
    const isValue = /^-\.?\d/.test(word) && before?.startsWith('--') && options[before.slice(2)]?.type === 'string';
    if (isValue) joined[joined.length - 1] = `${before}=${word}`;
    else joined.push(word);
  }
  return joined;
}

/** What parseArgs says, in our words: it names the option between quotes. */
function argumentMistake({ message, ...cause }: Error & { code?: string }): string {
  const option = /'(?:-\w, )?(-[^' ]*)/.exec(message)?.[1];
  if (cause.code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return `there is no option ${option}`;
  if (cause.code !== 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE') return message.split('\n')[0];
  return message.includes('does not take an argument') ? `${option} takes no value` : `${option} needs a value`;
}

/** A number option. @throws Refusal usage/number */
export function numberOption(
  args: ParsedArguments,
  name: string,
  fallback: number,
  { min = 0, max = Number.POSITIVE_INFINITY, whole = false } = {},
): number {
  const text = args.values[name];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isFinite(value) || text === '' || value < min || value > max || (whole && !Number.isSafeInteger(value))) {
    const upTo = max === Number.POSITIVE_INFINITY ? 'on' : `to ${max}`;
    throw new Refusal('usage/number', `--${name} is "${text}"; give a ${whole ? 'whole ' : ''}number from ${min} ${upTo}`);
  }
  return value;
}

export function textOption(args: ParsedArguments, name: string): string | undefined {
  return args.values[name] as string | undefined;
}

export function listOption(args: ParsedArguments, name: string): string[] {
  return (args.values[name] as string[] | undefined) ?? [];
}

/** One of some words, the first where absent. @throws Refusal usage/choice */
export function choiceOption<T extends string>(args: ParsedArguments, name: string, choices: readonly T[]): T {
  const text = textOption(args, name) ?? choices[0];
  const choice = choices.find((other) => other === text);
  if (!choice) throw new Refusal('usage/choice', `--${name} is "${text}"; choose ${choices.join(' or ')}`);
  return choice;
}
