import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, extname, join, relative, sep } from 'node:path';
import { Refusal } from '../../refusal.ts';
import { globToRegExp } from '../relabel.ts';
import type { FileRules, Mapping } from './mapping.ts';
import { unreadable } from './table.ts';

type Format = NonNullable<FileRules['format']>;

const FORMATS: Readonly<Record<string, Format>> = {
  '.csv': 'csv',
  '.tsv': 'csv',
  '.txt': 'csv',
  '.asc': 'csv',
  '.wav': 'wav',
  '.wave': 'wav',
  '.parquet': 'parquet',
  '.pq': 'parquet',
  '.mat': 'matlab',
};

/** A source file and all that is known of it before it is opened. */
export interface PlannedFile {
  readonly path: string;
  /** Path below the source, with `/` on every system. */
  readonly name: string;
  readonly bytes: number;
  readonly format: Format;
  readonly label: string | null;
  readonly rules: FileRules;
  /** Conditions that need no look into the file. */
  readonly conditions: Readonly<Record<string, string | number | boolean>>;
}

export interface LeftOut {
  readonly file: string;
  readonly reason: string;
}

export interface Plan {
  readonly files: readonly PlannedFile[];
  readonly leftOut: readonly LeftOut[];
}

const order = new Intl.Collator('en', { numeric: true });

/** File 2 before file 10, since neighbours by number often are neighbours in time; ties by code unit, so that the order is one. */
export function byNumber(a: string, b: string): number {
  return order.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

/** Every file below a folder, hidden ones left out, links followed once. */
async function filesBelow(folder: string, seen = new Set<string>()): Promise<string[]> {
  const real = await realpath(folder);
  if (seen.has(real)) return [];
  seen.add(real);
  const files: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    const isFolder = entry.isDirectory() || (entry.isSymbolicLink() && (await stat(path).catch(() => undefined))?.isDirectory());
    if (isFolder) files.push(...(await filesBelow(path, seen)));
    else files.push(path);
  }
  return files;
}

/** A number where the text is how that number is written, so that `--where load=3` finds it either way. */
function numberOrText(text: string): string | number {
  return String(Number(text)) === text ? Number(text) : text;
}

function few(names: readonly string[]): string {
  return names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
}

/**
 * Decides what every file of a source is: its format by its extension, its label by rule, else by pattern, else by the first folder below the
 * source. Nothing is opened yet.
 *
 * @param source a file or a folder, which is searched at all depths
 * @throws Refusal import/source, import/empty, import/extension, import/empty-file, import/pattern, import/label, import/map
 */
export async function planImport(source: string, mapping: Mapping): Promise<Plan> {
  const found = await stat(source).catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('import/source', `${source} cannot be read (${cause.code}); name a file or a folder of recordings`, { cause });
  });
  const isFolder = found.isDirectory();
  const paths = isFolder
    ? await filesBelow(source).catch((cause) => {
        throw unreadable(source, cause);
      })
    : [source];
  const named = paths.map((path) => ({ path, name: isFolder ? relative(source, path).split(sep).join('/') : basename(path) }));
  named.sort((a, b) => byNumber(a.name, b.name));

  const { files: _, pattern: __, ...rulesOfAll } = mapping;
  const exceptions = (mapping.files ?? []).map((rule) => ({ rule, glob: globToRegExp(rule.match), used: false }));
  const [files, leftOut]: [PlannedFile[], LeftOut[]] = [[], []];
  const [unmatched, unlabelled]: string[][] = [[], []];
  for (const { path, name } of named) {
    const matching = exceptions.filter(({ glob }) => glob.test(name));
    for (const exception of matching) exception.used = true;
    const skip = matching.findLast(({ rule }) => rule.skip)?.rule.skip;
    if (skip) {
      leftOut.push({ file: name, reason: skip === true ? 'by the mapping file' : skip });
      continue;
    }
    let rules: FileRules = rulesOfAll;
    for (const { rule } of matching) {
      rules = { ...rules, ...rule, csv: { ...rules.csv, ...rule.csv }, conditions: { ...rules.conditions, ...rule.conditions } };
    }
    const format = rules.format ?? FORMATS[extname(name).toLowerCase()];
    if (!format) {
      leftOut.push({ file: name, reason: `unknown extension "${extname(name)}"` });
      continue;
    }
    const groups = mapping.pattern?.map((pattern) => pattern.exec(name)).find((match) => match !== null)?.groups;
    if (mapping.pattern && !groups) unmatched.push(name);
    const { label: labelGroup, ...others } = groups ?? {};
    const folder = name.includes('/') ? name.slice(0, name.indexOf('/')) : undefined;
    const raw = rules.label !== undefined ? rules.label : (labelGroup ?? folder);
    if (raw === undefined) unlabelled.push(name);
    const { size } = await stat(path).catch((cause) => {
      throw unreadable(path, cause);
    });
    const fromPattern = Object.entries(others).flatMap(([key, text]) => (text === undefined ? [] : [[key, numberOrText(text)] as const]));
    const stated = Object.entries(rules.conditions ?? {}).flatMap(([key, value]) =>
      typeof value === 'object' ? [] : [[key, value] as const],
    );
    const conditions = Object.fromEntries([...fromPattern, ...stated]);
    files.push({ path, name, bytes: size, format, label: raw ?? null, rules, conditions });
  }
  if (!isFolder && files.length === 0) {
    throw new Refusal(
      'import/extension',
      `${source} has none of the extensions ${Object.keys(FORMATS).join(' ')}; state --format csv, wav, parquet or matlab`,
    );
  }
  if (files.length === 0) {
    throw new Refusal(
      'import/empty',
      `${source} holds no recording${leftOut.length > 0 ? ` (left out: ${few(leftOut.map(({ file }) => file))})` : ''}; extensions are ${Object.keys(FORMATS).join(' ')}, or state --format`,
    );
  }
  if (unmatched.length > 0) {
    throw new Refusal('import/pattern', `no pattern matches ${few(unmatched)}; patterns are searched in the path below ${source}`);
  }
  if (unlabelled.length > 0) {
    throw new Refusal(
      'import/label',
      `nothing gives ${few(unlabelled)} a label; put the files of a class into a folder of its name, or say --label, --pattern or --unlabelled`,
    );
  }
  const unused = exceptions.filter(({ used }) => !used).map(({ rule }) => rule.match);
  if (unused.length > 0) throw new Refusal('import/map', `files: no file below ${source} matches ${few(unused)}`);
  return { files: rename(files, mapping.labels ?? {}), leftOut };
}

function rename(files: readonly PlannedFile[], labels: Readonly<Record<string, string>>): PlannedFile[] {
  const rules = Object.entries(labels).map(([pattern, label]) => ({ pattern, glob: globToRegExp(pattern), label }));
  const idle = rules.filter(({ glob }) => !files.some(({ label }) => label !== null && glob.test(label)));
  if (idle.length > 0) {
    const there = [...new Set(files.map(({ label }) => label ?? '(none)'))];
    throw new Refusal('import/map', `labels: nothing is called ${few(idle.map(({ pattern }) => pattern))}; there are ${there.join(', ')}`);
  }
  return files.map((file) => {
    const rule = file.label === null ? undefined : rules.find(({ glob }) => glob.test(file.label!));
    return rule ? { ...file, label: rule.label } : file;
  });
}
