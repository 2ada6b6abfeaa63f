import { STAGES } from './cleaning.ts';
import { NEAR_DUPLICATE_SPACE } from './near-duplicates.ts';
import type { CleaningReport } from './survey.ts';

/** Findings of a stage that are shown; the rest is in --json. */
const SHOWN = 4;

const percent = (part: number, whole: number) => `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`;

/** A survey for people: a table of classes and stages, the first rows of each stage, and what was held back. */
export function renderCleaning({ name, window, recordings, summary, findings, heldBack, judged }: CleaningReport): string[] {
  const width = Math.max(10, ...summary.map(({ label }) => label.length));
  const columns = (label: string, windows: string, removed: readonly string[], kept: string) =>
    `  ${label.padEnd(width)} ${windows.padStart(8)} ${removed.map((text) => text.padStart(16)).join('')} ${kept.padStart(8)}`;
  const total = (of: (one: CleaningReport['summary'][number]) => number) => summary.reduce((sum, one) => sum + of(one), 0);
  const windows = total((one) => one.windows);
  const cell = (removed: number, all: number) => (removed === 0 ? '-' : `${removed} (${percent(removed, all)})`);
  const rows = STAGES.flatMap((stage) => {
    const own = findings.filter((finding) => finding.stage === stage);
    if (own.length === 0) return [];
    const shown = own.slice(0, SHOWN).map(({ file, start, why }) => `  ${file}${start === null ? '' : ` from sample ${start}`}: ${why}`);
    return [`${stage}:`, ...shown, ...(own.length > SHOWN ? [`  and ${own.length - SHOWN} more; --json lists them all`] : [])];
  });
  const held = heldBack.map(({ label, stage, windows: count, share }) =>
    stage === 'ambiguous'
      ? `  ${label}: ${count} windows (${percent(share, 1)}) resemble other classes more: too many for wrong labels, all kept`
      : `  ${label}: ${count} windows (${percent(share, 1)}) resemble earlier ones: this class repeats itself, all kept`,
  );
  return [
    `${name}: ${recordings} recordings in windows of ${window} samples; near-duplicates by ${NEAR_DUPLICATE_SPACE} > 0.85`,
    columns('class', 'windows', STAGES, 'kept'),
    ...summary.map((one) =>
      columns(
        one.label,
        `${one.windows}`,
        STAGES.map((stage) => cell(one.removed[stage], one.windows)),
        `${one.kept}`,
      ),
    ),
    ...(summary.length > 1
      ? [
          columns(
            'all',
            `${windows}`,
            STAGES.map((stage) =>
              cell(
                total((one) => one.removed[stage]),
                windows,
              ),
            ),
            `${total((one) => one.kept)}`,
          ),
        ]
      : []),
    ...rows,
    ...(judged.windows < judged.of && judged.windows > 0
      ? [`labels judged by neighbours: a sample of ${judged.windows} of ${judged.of} labelled windows`]
      : []),
    ...(held.length > 0 ? ['held back:', ...held] : []),
  ];
}
