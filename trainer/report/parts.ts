import { isNumber } from './format.ts';
import { type Content, html, type Markup } from './html.ts';

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => Content;
  /** Numbers stand at the right. */
  readonly number?: boolean;
  /** Names the row. */
  readonly head?: boolean;
}

/** A table with a caption; one that is too wide scrolls in its own box, which the keyboard reaches. */
export function table<Row>(
  caption: string,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  rowClass: (row: Row) => string = () => '',
): Markup {
  const cell = ({ head, number, cell }: Column<Row>, row: Row) => {
    const attributes = number ? html` class="number"` : html``;
    return head ? html`<th scope="row"${attributes}>${cell(row)}</th>` : html`<td${attributes}>${cell(row)}</td>`;
  };
  return scrollable(
    caption,
    html`<table>${captionOf(caption)}<thead><tr>${columns.map(
      ({ title, number }) => html`<th scope="col"${number ? html` class="number"` : html``}>${title}</th>`,
    )}</tr></thead><tbody>${rows.map((row) => html`<tr class="${rowClass(row)}">${columns.map((column) => cell(column, row))}</tr>`)}</tbody></table>`,
  );
}

/** Stays in view while a wide table scrolls below it. */
export const captionOf = (text: string): Markup => html`<caption><span>${text}</span></caption>`;

export const scrollable = (label: string, content: Markup): Markup =>
  html`<div class="scroll" role="group" aria-label="${label}" tabindex="0">${content}</div>`;

/** A bar as long as its share of the room; the number beside it says the same. */
export const bar = (share: number | null | undefined, look = ''): Markup =>
  html`<span class="bar" aria-hidden="true"><i class="${look}" style="width:${isNumber(share) ? (100 * Math.max(0, Math.min(1, share))).toFixed(1) : 0}%"></i></span>`;

/** A number with its bar beside it. */
export const gauge = (text: string, share: number | null | undefined, look = ''): Markup =>
  html`<span class="gauge"><span>${text}</span>${bar(share, look)}</span>`;

/** The numbers of a picture, folded away. */
export const numbers = (content: Markup): Markup => html`<details><summary>Numbers</summary>${content}</details>`;

export interface Section {
  readonly id: string;
  readonly title: string;
  readonly body: Markup;
}

export const figure = (caption: Content, content: Markup): Markup => html`<figure><figcaption>${caption}</figcaption>${content}</figure>`;
