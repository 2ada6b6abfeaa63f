import { readFile } from 'node:fs/promises';
import { Refusal } from '../trainer/refusal.ts';
import { digits } from './harness/interleave.ts';
import { columns } from './harness/report.ts';
import { type BenchVerb, parseVerb, print } from './verb.ts';

const HELP = `usage: tremolo bench --compare A.json B.json

Puts two results of the same measurement side by side: every figure of A and B, and how many times A's B's is. A file is what a verb printed with
--json (its last line is taken), or what --json FILE wrote for scenarios. A disturbed run says so above its figures.

example: tremolo bench engine --seconds 5 --json > before.json
         tremolo bench engine --seconds 5 --json > after.json
         tremolo bench --compare before.json after.json
`;

/** A figure with the path that names it. */
type Figures = ReadonlyMap<string, number>;

/** Names that tell one entry of a list from another; without one of them a list is data for pictures. */
const KEYS = ['id', 'engine', 'precision', 'threads', 'batch', 'streams', 'name'] as const;

/** Every number of a result by its path. Lists of rows go by what names the row, other lists are left out. */
export function figuresOf(value: unknown, path = ''): Map<string, number> {
  const found = new Map<string, number>();
  if (typeof value === 'number' && Number.isFinite(value)) return found.set(path, value);
  if (typeof value !== 'object' || value === null) return found;
  const entries: [string, unknown][] = Array.isArray(value)
    ? value.flatMap((entry: Record<string, unknown> | null): [string, unknown][] => {
        const names = typeof entry === 'object' && entry !== null ? KEYS.flatMap((key) => (key in entry ? [String(entry[key])] : [])) : [];
        return names.length === 0 ? [] : [[names.join(' '), entry]];
      })
    : Object.entries(value);
  for (const [key, entry] of entries) {
    for (const [name, figure] of figuresOf(entry, path === '' ? key : `${path}.${key}`)) found.set(name, figure);
  }
  return found;
}

async function readResult(path: string): Promise<Record<string, unknown>> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('bench/compare', `${path} cannot be read (${cause.code}); name two results`, { cause });
  });
  for (const candidate of [text, text.trimEnd().split('\n').at(-1) ?? '']) {
    try {
      const value: unknown = JSON.parse(candidate);
      if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
    } catch {
      // The table stands before it: then the last line is the result.
    }
  }
  throw new Refusal('bench/compare', `${path} is not a result; make one with --json`);
}

export interface Comparison {
  readonly name: string;
  readonly a: number;
  readonly b: number;
  /** How many times `a` `b` is; null where `a` is 0. */
  readonly times: number | null;
}

/** Figures that both have, in the order of the first. */
export function compareFigures(a: Figures, b: Figures): Comparison[] {
  return [...a].flatMap(([name, value]) => {
    const other = b.get(name);
    return other === undefined ? [] : [{ name, a: value, b: other, times: value === 0 ? null : other / value }];
  });
}

const reasonsOf = (result: Record<string, unknown>) => (result.disturbance as { reasons?: string[] } | undefined)?.reasons ?? [];

export const compareVerb: BenchVerb = {
  name: '--compare',
  summary: 'two results side by side',
  help: HELP,
  async run(argv) {
    const { positionals } = parseVerb('--compare', argv, {}, 2);
    if (positionals.length !== 2) throw new Refusal('usage/arguments', 'name two results: tremolo bench --compare A.json B.json');
    const [a, b] = await Promise.all(positionals.map(readResult));
    const rows = compareFigures(figuresOf(a), figuresOf(b));
    if (rows.length === 0)
      throw new Refusal('bench/compare', 'the two results have no figure in common; compare two runs of the same measurement');
    for (const [index, result] of [a, b].entries()) {
      const reasons = reasonsOf(result);
      if (reasons.length > 0) print(`DISTURBED ${positionals[index]}: ${reasons.join('; ')}\n`);
    }
    const line = ({ name, a, b, times }: Comparison) => [name, digits(a), digits(b), times === null ? '-' : `${digits(times)}x`];
    print(`${columns([['figure', 'A', 'B', 'B/A'], ...rows.map(line)]).join('\n')}\n`);
    return { a: positionals[0], b: positionals[1], disturbed: { a: reasonsOf(a), b: reasonsOf(b) }, rows };
  },
};
