import type { StageRow } from '../train/stage-rows.ts';

export const percent = (value: number | undefined) => (value === undefined ? '' : `${(100 * value).toFixed(2)} %`);
export const kilobytes = (value: number | undefined) => (value === undefined ? '' : `${(value / 1000).toFixed(1)} kB`);

/** What every stage took and gave, for people. */
export function stageTable(stages: readonly StageRow[]): string[] {
  const cells = ({ name, seconds, accuracy, balancedAccuracy, params, bytes, latencyMs, status, note }: StageRow) => [
    name,
    `${seconds.toFixed(1)} s`,
    percent(accuracy),
    percent(balancedAccuracy),
    params?.toLocaleString('en-US') ?? '',
    kilobytes(bytes),
    latencyMs === undefined ? '' : `${latencyMs.toFixed(2)} ms`,
    [status === 'done' ? '' : status, note ?? ''].filter(Boolean).join(', '),
  ];
  const header = ['stage', 'time', 'accuracy', 'balanced', 'parameters', 'bytes', 'a window', ''];
  const table = [header, ...stages.map(cells)];
  // A column that no stage fills is not shown.
  const shown = header.map((_, column) => column).filter((column) => table.slice(1).some((row) => row[column] !== ''));
  const last = header.length - 1;
  const width = (column: number) => Math.max(...table.map((row) => row[column].length));
  const padded = (row: readonly string[], column: number) =>
    column === 0 || column === last ? row[column].padEnd(width(column)) : row[column].padStart(width(column));
  return table.map((row) => `  ${shown.map((column) => padded(row, column)).join('  ')}`.trimEnd());
}
