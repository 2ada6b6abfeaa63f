import { count, isNumber, parameters, percent } from '../format.ts';
import { breakable, html, type Markup } from '../html.ts';
import { captionOf, gauge, type Section, scrollable, table } from '../parts.ts';
import type { ReportData } from '../report-data.ts';

/** Names longer than this together stand only at the rows; the columns have numbers. */
const HEADING_LETTERS = 48;
/** The longest bar of what is missed stands for at least so much: one window in a thousand is no full bar. */
const LEAST_SCALE = 0.05;
/** A longer name needs a wide column to break in. */
const LONG_NAME = 14;
const MOST_MIXUPS = 4;
/** Larger counts are rounded to fit a cell. */
const MOST_WHOLE = 10_000;

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

function matrix(classes: readonly string[], confusion: readonly (readonly number[])[]): Markup {
  const named = sum(classes.map((name) => name.length + 2)) <= HEADING_LETTERS;
  const heading = (name: string, index: number) =>
    named ? html`<th scope="col">${name}</th>` : html`<th scope="col" title="${name}" aria-label="${name}">${index + 1}</th>`;
  const cell = (value: number, total: number, diagonal: boolean) => {
    if (!(value > 0)) return html`<td class="none">0</td>`;
    const share = value / total;
    // Mistakes are rare where it matters: their tint grows with the root, so that one in a hundred can be seen.
    const tint = (100 * (diagonal ? share : 0.12 + 0.88 * Math.sqrt(share))).toFixed(0);
    return html`<td class="${diagonal ? 'right' : 'wrong'}" style="--share:${tint}%" title="${count(value)}, ${percent(share)} of the row">${value < MOST_WHOLE ? count(value) : parameters(value)}</td>`;
  };
  const caption = 'Test windows by true class (rows) and decided class (columns)';
  return html`<div class="matrix${classes.some((name) => name.length > LONG_NAME) ? ' long' : ''}">${scrollable(
    caption,
    html`<table>${captionOf(`${caption}. Blue: right. Orange: wrong.`)}<thead><tr><th scope="col">True class</th>${classes.map(heading)}</tr></thead><tbody>${classes.map(
      (name, row) =>
        html`<tr><th scope="row"><div class="name">${!named && html`<span class="index">${row + 1}</span>`}<span>${breakable(name)}</span></div></th>${classes.map(
          (_, column) => cell(confusion[row]?.[column] ?? 0, sum(confusion[row] ?? []), row === column),
        )}</tr>`,
    )}</tbody></table>`,
  )}</div>`;
}

function mixups(classes: readonly string[], confusion: readonly (readonly number[])[]): Markup {
  const found = confusion
    .flatMap((row, actual) => row.map((value, decided) => ({ value, actual, decided, share: value / sum(row) })))
    .filter(({ value, actual, decided }) => actual !== decided && value > 0)
    .sort((a, b) => b.value - a.value);
  if (found.length === 0) return html`<p>No test window was decided wrong.</p>`;
  return html`<ul class="bullets">${found
    .slice(0, MOST_MIXUPS)
    .map(
      ({ value, actual, decided, share }) =>
        html`<li><b>${classes[actual]}</b> taken for <b>${classes[decided]}</b>: ${count(value)} ${value === 1 ? 'window' : 'windows'}, ${percent(share)} of the class</li>`,
    )}</ul>`;
}

function classTable({ classes, recall = [], confusion }: ReportData): Markup {
  const rows = classes.map((name, index) => {
    const claimed = confusion && sum(confusion.map((row) => row[index] ?? 0));
    return {
      name,
      recall: recall[index] ?? null,
      windows: confusion && sum(confusion[index] ?? []),
      precision: claimed && confusion ? (confusion[index]?.[index] ?? 0) / claimed : undefined,
    };
  });
  type Row = (typeof rows)[number];
  const most = Math.max(LEAST_SCALE, ...rows.map((row) => (isNumber(row.recall) ? 1 - row.recall : 0)));
  const absent = html`<span class="muted">–</span>`;
  return table(
    'Found: share of the class that is decided right. Missed: the rest. Trusted: share of the decisions for the class that are right',
    [
      {
        title: 'Class',
        head: true,
        cell: ({ name, recall: found }) => html`${breakable(name)}${!isNumber(found) && html`<small>not in the test</small>`}`,
      },
      { title: 'Found (recall)', number: true, cell: ({ recall: found }: Row) => (isNumber(found) ? percent(found) : absent) },
      {
        title: 'Missed',
        cell: ({ recall: found }: Row) => (isNumber(found) ? gauge(percent(1 - found), (1 - found) / most, 'wrong') : absent),
      },
      ...(confusion
        ? [
            { title: 'Trusted (precision)', number: true, cell: ({ precision }: Row) => percent(precision) },
            { title: 'Test windows', number: true, cell: ({ windows }: Row) => count(windows) },
          ]
        : []),
    ],
    rows,
  );
}

export function classSection(data: ReportData): Section | undefined {
  const { classes, confusion, recall } = data;
  if (!confusion && !recall) return undefined;
  const shares = confusion?.map((row, index) => (sum(row) > 0 ? (row[index] ?? 0) / sum(row) : null));
  return {
    id: 'classes',
    title: 'Confusion and recall',
    body: html`<p class="lead">Which conditions are told apart, and which are taken for each other.</p>${
      confusion &&
      html`<div class="beside">${matrix(classes, confusion)}<div><h3>Most frequent mistakes</h3>${mixups(classes, confusion)}</div></div>`
    }<h3>Class by class</h3>${classTable({ ...data, recall: recall ?? shares })}`,
  };
}
