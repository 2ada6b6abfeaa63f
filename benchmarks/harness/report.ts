import { digits } from './interleave.ts';
import type { Machine } from './machine.ts';
import type { Row, Target } from './scenario.ts';

/** One run of the harness, as kept in results/. */
export interface Report {
  readonly machine: Machine;
  /** ISO 8601, UTC. */
  readonly date: string;
  readonly rows: readonly Row[];
}

function withUnit(value: number, unit: string): string {
  if (unit === 'bytes') return `${Math.round(value).toLocaleString('en')} bytes`;
  return unit === 'x' ? `${digits(value)}x` : `${digits(value)}${unit && ` ${unit}`}`;
}

function targetText(target: Target | undefined, unit: string): string {
  if (!target) return '';
  if ('atMost' in target) return `at most ${withUnit(target.atMost, unit)}`;
  return `at least ${withUnit(target.atLeast, unit)}`;
}

function figureText({ figure, unit }: Row): string {
  return figure === undefined ? '' : withUnit(figure, unit);
}

function outcomeText({ reached, skipped, failed }: Row): string {
  if (failed !== undefined) return 'failed';
  if (skipped !== undefined) return 'skipped';
  return reached === undefined ? 'reported' : reached ? 'yes' : 'no';
}

function remarks({ details, skipped, failed, samples }: Row): string {
  if (failed !== undefined) return failed;
  if (skipped !== undefined) return skipped;
  const listed = Object.entries(details ?? {}).map(([name, value]) => `${name} ${value}`);
  return [...listed, `${samples} samples`].join('; ');
}

/** For a terminal: columns, with what else was seen in an indented line below. */
export function textTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [row.id, figureText(row), targetText(row.target, row.unit), outcomeText(row)]);
  const [head, ...lines] = columns([['id', 'figure', 'target', 'reached'], ...cells]);
  return [head, ...lines.flatMap((line, index) => [line, `    ${rows[index].what}`, `    ${remarks(rows[index])}`])].join('\n');
}

/** Rows as lines, each column as wide as its widest cell. */
export function columns(cells: readonly (readonly string[])[]): string[] {
  const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
}

function describe({ cpu, architecture, cores, memoryGiB, vectorUnits, node, onnxruntime, tfjs }: Machine): string {
  const units = vectorUnits && ` with ${vectorUnits}`;
  return `${cpu} (${architecture}, ${cores} cores, ${memoryGiB} GiB${units}), Node ${node}, onnxruntime ${onnxruntime}, tfjs ${tfjs}`;
}

const cell = (text: string) => text.replaceAll('|', '\\|');

/**
 * The page about all results: of every id its newest figure, under the machine and date of the run it came from. What was never
 * measured stands under the newest run that skipped it.
 *
 * @param reports in any order
 * @param known ids in the order in which they are to stand; figures of other ids are left out
 */
export function resultsPage(reports: readonly Report[], known: readonly string[]): string {
  const newestFirst = [...reports].sort((a, b) => (a.date < b.date ? 1 : -1));
  const source = new Map<string, Report>();
  for (const measured of [true, false]) {
    for (const report of newestFirst) {
      for (const { id, figure } of report.rows) {
        if ((figure !== undefined) === measured && !source.has(id)) source.set(id, report);
      }
    }
  }
  const sections = newestFirst.flatMap((report) => {
    const { machine, date, rows } = report;
    const fresh = rows
      .filter(({ id }) => known.includes(id) && source.get(id) === report)
      .sort((a, b) => known.indexOf(a.id) - known.indexOf(b.id));
    if (fresh.length === 0) return [];
    const lines = fresh.map((row) =>
      [
        cell(row.what),
        figureText(row),
        targetText(row.target, row.unit),
        outcomeText(row),
        `\`npm run bench -- ${row.id}\``,
        cell(remarks(row)),
      ].join(' | '),
    );
    return [
      [
        `## ${date.slice(0, 10)}, ${machine.cpu}`,
        '',
        `${describe(machine)}. ${date}.`,
        '',
        '| what | figure | target | reached | command | seen on the way |',
        '|---|---|---|---|---|---|',
        ...lines.map((line) => `| ${line} |`),
      ].join('\n'),
    ];
  });
  return sections.join('\n\n');
}
