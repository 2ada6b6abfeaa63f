import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Report } from '../../benchmarks/harness/report.ts';
import type { Row } from '../../benchmarks/harness/scenario.ts';
import { SCENARIOS } from '../../benchmarks/scenarios/index.ts';

/**
 * What the README claims of speed, size and accuracy. In prose a figure is followed at once by `<!-- bench ID -->`, the scenario that measured it, or by
 * `<!-- setting -->` where it is no claim but a number of the configuration; a block with output, not of commands alone, is followed by a paragraph "(Measured by `command`".
 */

const ROOT = new URL('../../', import.meta.url).pathname;
const FIGURE =
  /(?:(?<![\d.\w-])(?:\d[\d,]*(?:\.\d+)?|\.\d+)\s?(?:ms|µs|s|seconds?|minutes?|hours?|kB|MB|GB|kiB|MiB|%|x|times|dB|points?)(?![\w/])|(?<![\w.\d])\.\d\d+|\b(?:ten|twenty|thirty|half a|a tenth of a)\s(?:seconds?|minutes?|points?)\b)/g;
const MARK = /^\s?<!-- (?:bench ([a-z0-9.-]+)|setting) -->/;

interface Claim {
  readonly text: string;
  readonly line: number;
  /** Undefined: nothing says where it comes from. */
  readonly source: { readonly id?: string } | undefined;
}

/** Figures of a Markdown text outside code, and blocks of output that name no command. */
function claimsOf(markdown: string): { claims: Claim[]; unsigned: number[] } {
  const lines = markdown.split('\n');
  const claims: Claim[] = [];
  const unsigned: number[] = [];
  let fence = -1;
  let paragraphMeasured = false;
  for (const [index, line] of lines.entries()) {
    if (line.startsWith('```')) {
      if (fence < 0) fence = index;
      else {
        const shows = lines.slice(fence + 1, index).some((text) => !text.startsWith('npx ') && text.match(FIGURE));
        const next = lines.slice(index + 1).find((text) => text.trim() !== '') ?? '';
        if (shows && !next.startsWith('(Measured by `')) unsigned.push(fence + 1);
        fence = -1;
      }
      continue;
    }
    if (fence >= 0) continue;
    if (line.trim() === '') paragraphMeasured = false;
    if (line.startsWith('(Measured by `')) paragraphMeasured = true;
    if (paragraphMeasured) continue;
    const prose = line.replace(/`[^`]*`/g, (code) => ' '.repeat(code.length));
    for (const match of prose.matchAll(FIGURE)) {
      const mark = MARK.exec(prose.slice(match.index + match[0].length));
      claims.push({ text: match[0], line: index + 1, source: mark ? { id: mark[1] } : undefined });
    }
  }
  return { claims, unsigned };
}

const UNITS: Readonly<Record<string, number>> = {
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  kiB: 1024,
  MiB: 1 << 20,
  '%': 0.01,
  points: 0.01,
  point: 0.01,
};

/** Whether a claim says the figure, to the digits that it has. */
function says(text: string, { figure, unit }: Pick<Row, 'figure' | 'unit'>): boolean {
  const [, digits, name] = /^([\d,.]+)\s?(.*)$/.exec(text)!;
  const claimed = Number(digits.replaceAll(',', ''));
  const decimals = digits.split('.')[1]?.length ?? 0;
  const known =
    unit === 'bytes' || unit === ''
      ? UNITS[name]
      : name === 'times' || name === 'x'
        ? unit === 'x'
          ? 1
          : undefined
        : name === unit
          ? 1
          : undefined;
  return figure !== undefined && known !== undefined && Math.abs(figure / known - claimed) <= 0.5 * 10 ** -decimals + 1e-9;
}

/** Newest measured row of every scenario. */
function lastRows(): Map<string, Row> {
  const folder = `${ROOT}benchmarks/results/`;
  const reports = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(folder + name, 'utf8')) as Report)
    .sort((a, b) => (a.date < b.date ? -1 : 1));
  return new Map(
    reports.flatMap(({ rows }) => rows.filter(({ figure }) => figure !== undefined).map((row): [string, Row] => [row.id, row])),
  );
}

describe('claims of the README', () => {
  const { claims, unsigned } = claimsOf(readFileSync(`${ROOT}README.md`, 'utf8'));
  const rows = lastRows();

  it('each name the scenario that measured them', () => {
    expect(claims.length).toBeGreaterThan(0);
    expect(claims.filter(({ source }) => !source).map(({ text, line }) => `README.md:${line}: ${text}`)).toEqual([]);
    const ids = claims.flatMap(({ source }) => source?.id ?? []);
    expect(ids.filter((id) => !SCENARIOS.some((scenario) => scenario.id === id))).toEqual([]);
    expect(ids.filter((id) => !rows.has(id))).toEqual([]);
  });

  it('say its last figure', () => {
    const wrong = claims.filter(({ text, source }) => source?.id && !says(text, rows.get(source.id)!));
    expect(
      wrong.map(({ text, line, source }) => `README.md:${line}: ${text}, last ${rows.get(source!.id!)!.figure} (${source!.id})`),
    ).toEqual([]);
  });

  it('stand under output with the command that printed it', () => {
    expect(unsigned.map((line) => `README.md:${line}`)).toEqual([]);
  });
});

describe('the audit', () => {
  it('sees figures in prose and not in code', () => {
    const { claims } = claimsOf(
      'Takes 5 ms, 12.5 %<!-- bench a.b --> or .97 of it; `--seconds 5 s`; ten seconds; 512 samples, 64 MiB <!-- setting -->.',
    );
    expect(claims.map(({ text, source }) => [text, source?.id ?? source !== undefined])).toEqual([
      ['5 ms', false],
      ['12.5 %', 'a.b'],
      ['.97', false],
      ['ten seconds', false],
      ['64 MiB', true],
    ]);
  });

  it('wants a command below output', () => {
    expect(claimsOf('```\ntook 5 ms\n```\n\nNice.').unsigned).toEqual([1]);
    expect(claimsOf('```\ntook 5 ms\n```\n\n(Measured by `x` on y: 6 s.)')).toEqual({ claims: [], unsigned: [] });
  });

  it.each([
    ['27 MB', 27_400_000, 'bytes', true],
    ['27 MB', 27_600_000, 'bytes', false],
    ['1.5 times', 1.51, 'x', true],
    ['1.5 ms', 1.51, 'x', false],
    ['98.3 %', 0.98306, '', true],
    ['2.5 ms', 2.46, 'ms', true],
  ])('%s of %d %s: %s', (text, figure, unit, right) => {
    expect(says(text, { figure, unit })).toBe(right);
  });
});
