import { baselineName, capitalised, isNumber, percent, signedPoints } from '../format.ts';
import { html } from '../html.ts';
import { gauge, type Section, table } from '../parts.ts';
import type { ReportData, Scores } from '../report-data.ts';
import { gateMetric } from './verdict.ts';

export function baselines(data: ReportData): Section | undefined {
  const entries = Object.entries(data.baselines ?? {});
  if (entries.length === 0) return undefined;
  const { key, name } = gateMetric(data);
  const ours = { name: 'int8 student', scores: data.test as Scores, ours: true };
  const rows = [ours, ...entries.map(([baseline, scores]) => ({ name: capitalised(baselineName(baseline)), scores, ours: false }))].sort(
    (a, b) => (isNumber(b.scores[key]) ? b.scores[key] : -1) - (isNumber(a.scores[key]) ? a.scores[key] : -1),
  );
  type Row = (typeof rows)[number];
  const most = Math.max(0, ...rows.map(({ scores }) => 1 - scores.accuracy).filter(isNumber));
  const score = (title: string, of: keyof Scores) => ({ title, number: true, cell: ({ scores }: Row) => percent(scores[of]) });
  return {
    id: 'baselines',
    title: 'Baselines',
    body: html`<p class="lead">What simpler methods reach when they are trained and tested on the same recordings.</p>${table(
      `Same split, best ${name} first`,
      [
        { title: 'Method', head: true, cell: (row) => row.name },
        score('Accuracy', 'accuracy'),
        score('Balanced accuracy', 'balancedAccuracy'),
        score('Macro-F1', 'macroF1'),
        {
          title: 'Windows wrong',
          cell: ({ scores }) => gauge(percent(1 - scores.accuracy), (1 - scores.accuracy) / most, 'wrong'),
        },
        {
          title: `Student ahead in ${name} by`,
          number: true,
          cell: (row) => (row.ours ? '' : `${signedPoints(data.test[key] - row.scores[key])} points`),
        },
      ],
      rows,
      (row) => (row.ours ? 'ours' : ''),
    )}`,
  };
}
