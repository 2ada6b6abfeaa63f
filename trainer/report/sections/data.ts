import { capitalised, count, isNumber, percent, sideWords } from '../format.ts';
import { breakable, html, type Markup } from '../html.ts';
import { type Section, table } from '../parts.ts';
import type { ReportData } from '../report-data.ts';

type Sides = NonNullable<ReportData['data']>[number];
type Cleaned = NonNullable<ReportData['cleaning']>[number];

function recordings(data: readonly Sides[]): Markup {
  const total = (key: 'train' | 'validation' | 'test') => data.reduce((sum, row) => sum + row[key], 0);
  const all = { label: 'all', train: total('train'), validation: total('validation'), test: total('test') };
  const side = (title: string, key: 'train' | 'validation' | 'test') => ({ title, number: true, cell: (row: Sides) => count(row[key]) });
  return table(
    'Recordings of each class and side of the split',
    [
      { title: 'Class', head: true, cell: ({ label }) => breakable(label) },
      side('Training', 'train'),
      side('Validation', 'validation'),
      side('Test', 'test'),
    ],
    [...data, all],
    (row) => (row === all ? 'ours' : ''),
  );
}

function cleaned(rows: readonly Cleaned[]): Markup {
  const labels = [...new Set(rows.map(({ label }) => label))];
  const stages = [...new Set(rows.map(({ stage }) => stage))];
  const cell = (label: string, stage: string) => {
    const found = rows.find((row) => row.label === label && row.stage === stage);
    return found && found.windows > 0 ? html`${count(found.windows)}<small>${percent(found.share)}</small>` : '0';
  };
  return table(
    'Windows left out by cleaning, and their share of the class',
    [
      { title: 'Class', head: true, cell: (label: string) => breakable(label) },
      ...stages.map((stage) => ({ title: capitalised(stage), number: true, cell: (label: string) => cell(label, stage) })),
    ],
    labels,
  );
}

export function dataSection({
  data = [],
  cleaning,
  split,
  validation,
}: Pick<ReportData, 'data' | 'cleaning' | 'split' | 'validation'>): Section | undefined {
  if (data.length === 0 && !cleaning) return undefined;
  const out = (cleaning ?? []).reduce((sum, { windows }) => sum + (isNumber(windows) ? windows : 0), 0);
  return {
    id: 'data',
    title: 'Data and cleaning',
    body: html`${(split || validation) && html`<p class="lead">${split && `Test: ${sideWords(split)}. `}${validation && `Validation: ${sideWords(validation)}.`}</p>`}${
      data.length > 0 && recordings(data)
    }${cleaning && html`<h3>Cleaning</h3>${out > 0 ? cleaned(cleaning) : html`<p>Nothing was left out.</p>`}`}`,
  };
}
