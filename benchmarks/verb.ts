import { constants } from 'node:fs';
import { access, stat, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { readManifest } from '../models/bundle/bundle.ts';
import { type Options, parseWords } from '../trainer/commands/command.ts';
import { Refusal } from '../trainer/refusal.ts';

export interface VerbContext {
  /** The package's root folder, with a closing slash. */
  readonly root: string;
  /** Folder of the built programs. */
  readonly programs: URL;
  readonly signal?: AbortSignal;
}

/** One measurement with options of its own, as `tremolo bench NAME`. */
export interface BenchVerb {
  readonly name: string;
  readonly summary: string;
  readonly help: string;
  /**
   * Measures, and prints what people read.
   *
   * @returns what `--json` prints as the last line
   * @throws Refusal for wrong usage
   */
  run(argv: readonly string[], context: VerbContext): Promise<object>;
}

/** A text option is text where it was given or has a default, a flag is true where it was given. */
type Values<T extends Options> = { readonly [K in keyof T]?: T[K] extends { type: 'boolean' } ? boolean : string };

/** Options of a verb, or without a name those of scenarios. @throws Refusal usage/arguments */
export function parseVerb<T extends Options>(
  name: string | undefined,
  argv: readonly string[],
  options: T,
  positionals = 0,
): { readonly values: Values<T>; readonly positionals: readonly string[] } {
  const parsed = parseWords(argv, options, positionals, `tremolo bench${name === undefined ? '' : ` ${name}`} --help`);
  return { values: parsed.values as Values<T>, positionals: parsed.positionals };
}

/** @throws Refusal usage/number */
export function numberIn(name: string, text: string, least: number, most: number, whole = false): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= least && value <= most && (!whole || Number.isInteger(value))) return value;
  throw new Refusal('usage/number', `--${name} is "${text}"; give a ${whole ? 'whole ' : ''}number from ${least} to ${most}`);
}

/** Folder of the bundle that is measured: by default the one shipped with Tremolo. @throws BundleRefusal where it is none */
export async function bundleFolder({ root }: VerbContext, path: string | undefined): Promise<string> {
  const folder = path === undefined ? `${root}models/shipped/plant` : resolve(path);
  await readManifest(folder);
  return folder;
}

/**
 * Asked before anything is measured: a minute's work must not be lost for a folder that is not there.
 *
 * @returns writes a page into the file, if one was asked for
 * @throws Refusal bench/html where it could not be written
 */
export async function pageFile(path: string | undefined): Promise<(page: () => Promise<string>) => Promise<void>> {
  if (path === undefined) return async () => {};
  const file = resolve(path);
  const isFolder = await stat(file).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isFolder) throw new Refusal('bench/html', `${path} is a folder; name a file in it`);
  await access(dirname(file), constants.W_OK).catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('bench/html', `${path} cannot be written (${cause.code}); make its folder`, { cause });
  });
  return async (page) => writeFile(file, await page());
}

export function print(text: string): void {
  process.stdout.write(text);
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Runs a verb: the JSON line, the help and refusals are the same for all. @returns the exit code */
export async function runVerb(verb: BenchVerb, argv: readonly string[], context: VerbContext): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    print(verb.help);
    return 0;
  }
  const controller = new AbortController();
  const stop = () => controller.abort();
  for (const signal of SIGNALS) process.once(signal, stop);
  try {
    const result = await verb.run(
      argv.filter((argument) => argument !== '--json'),
      { ...context, signal: controller.signal },
    );
    if (argv.includes('--json')) print(`${JSON.stringify(result)}\n`);
    return 0;
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    // Refusals of all rooms have a code with their room's name.
    const refused = typeof code === 'string' && code.includes('/');
    process.stderr.write(`${refused ? `${code}: ` : ''}${message}\n`);
    return refused ? 2 : 1;
  } finally {
    for (const signal of SIGNALS) process.removeListener(signal, stop);
  }
}
