import { createReadStream } from 'node:fs';
import { Refusal } from '../../refusal.ts';
import { BLOCK_ROWS, columnOf, distinctNames, readBytes, type SourceColumn, type SourceTable, unreadable } from './table.ts';

/** What is stated about a text table; whatever is absent is detected. */
export interface CsvOptions {
  /** One character; ` ` stands for any run of blanks. */
  readonly delimiter?: string;
  /** Whether a line names the columns. */
  readonly header?: boolean;
  readonly decimal?: '.' | ',';
  /** Lines before the header, or before the numbers where there is no header. */
  readonly skipLines?: number;
}

/** Bytes from which the layout of a file is judged, and the longest line there may be. */
const SAMPLE_BYTES = 1 << 16;
/** Lines at the end of the sample from which columns are judged: far from titles and headers. */
const JUDGED_LINES = 50;
const DELIMITERS = [',', ';', '\t', '|', ' '];
const COMMENT = /^\s*(#|%|\/\/)/;
const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/;

interface Layout {
  readonly delimiter: string;
  readonly decimalComma: boolean;
  readonly columns: readonly SourceColumn[];
  /** Lines of the file before the first row of numbers. */
  readonly firstLine: number;
}

/** The fields of a line. A field may stand in quotes, which then may hold the delimiter. */
function fieldsOf(line: string, delimiter: string): string[] {
  if (delimiter === ' ') return line.trim().split(/\s+/);
  if (!line.includes('"')) return line.split(delimiter);
  const fields: string[] = [];
  let [field, quoted] = ['', false];
  for (let at = 0; at < line.length; at++) {
    const character = line[at];
    if (character === '"') {
      if (quoted && line[at + 1] === '"') field += line[at++];
      else quoted = !quoted;
    } else if (character === delimiter && !quoted) {
      fields.push(field);
      field = '';
    } else field += character;
  }
  return [...fields, field];
}

function numberOf(field: string, decimalComma: boolean): number {
  const text = decimalComma ? field.trim().replace(',', '.') : field.trim();
  return NUMBER.test(text) ? Number(text) : Number.NaN;
}

function isContent(line: string): boolean {
  return line.trim() !== '' && !COMMENT.test(line);
}

interface Reading {
  readonly delimiter: string;
  readonly decimalComma: boolean;
  /** Fields of a line. */
  readonly width: number;
  readonly numeric: readonly boolean[];
  readonly share: number;
}

/** How the judged lines look when they are read with one delimiter and one decimal sign; undefined where they disagree on the width. */
function readingOf(lines: readonly string[], delimiter: string, decimalComma: boolean): Reading | undefined {
  const rows = lines.map((line) => fieldsOf(line, delimiter));
  const width = rows.at(-1)!.length;
  const regular = rows.filter(({ length }) => length === width);
  if (regular.length < 0.8 * rows.length) return undefined;
  const numeric = Array.from({ length: width }, (_, column) => {
    const count = regular.filter((row) => Number.isFinite(numberOf(row[column], decimalComma))).length;
    return 2 * count >= regular.length;
  });
  // An empty last field is a delimiter at the end of the line: it says nothing against the reading.
  const filled = numeric.filter((_, column) => regular.some((row) => row[column].trim() !== '')).length;
  return { delimiter, decimalComma, width, numeric, share: numeric.filter(Boolean).length / Math.max(1, filled) };
}

/**
 * Finds delimiter, decimal sign, header and first row of a text table from its beginning. The reading counts under which most fields are
 * numbers, then the one with most columns; a column is a number where most of its fields are, so that one bad value is found and not the
 * whole column dropped.
 */
function detect(path: string, text: string, options: CsvOptions): Layout {
  const refuse = (why: string) => new Refusal('import/csv', `${path} ${why}`);
  const lines = text.split(/\r?\n/);
  const places = lines.flatMap((line, index) => (index >= (options.skipLines ?? 0) && isContent(line) ? [index] : []));
  const judged = places.slice(Math.max(Math.ceil(places.length / 2), places.length - JUDGED_LINES)).map((index) => lines[index]);
  if (judged.length === 0) {
    throw refuse(
      text === '' || places.length > 0
        ? 'has one line only, or a line longer than 64 kB; a sample needs a line'
        : 'has no lines but comments',
    );
  }
  const readings = (options.delimiter === undefined ? DELIMITERS : [options.delimiter])
    .flatMap((delimiter) =>
      (options.decimal === undefined ? [false, delimiter !== ','] : [options.decimal === ',']).map((comma) =>
        readingOf(judged, delimiter, comma),
      ),
    )
    .filter((reading) => reading !== undefined)
    .filter(({ numeric }) => numeric.includes(true))
    .sort((a, b) => b.share - a.share || b.numeric.filter(Boolean).length - a.numeric.filter(Boolean).length);
  const [best] = readings;
  if (!best) throw refuse('has no columns of numbers; state --delimiter, or csv: {skipLines, decimal} in a mapping file');
  const { width, numeric } = best;
  const fields = (place: number) => fieldsOf(lines[places[place]], best.delimiter).map((field) => field.trim());
  // Half of the numbers make a row: a missing value in the first row must be refused, not taken for a header.
  const isRow = (row: readonly string[]) => {
    const found = row.filter((field, column) => numeric[column] && !Number.isNaN(numberOf(field, best.decimalComma))).length;
    return row.length === width && 2 * found >= numeric.filter(Boolean).length;
  };
  const start = places.findIndex((_, place) => isRow(fields(place)));
  // pandas names nameless columns 0, 1, 2 ..., after an empty name where it writes row numbers: digits, but no sample.
  const counted = fields(start).slice(fields(start)[0] === '' ? 1 : 0);
  const isCounted = counted.length > 1 && start < places.length - 1 && counted.every((field, index) => field === String(index));
  const above = options.skipLines !== undefined && start > 0 ? 0 : start - 1;
  let header: number | undefined;
  if (options.header !== false && start > 0 && fields(above).length === width) header = above;
  else if (options.header === true || (options.header === undefined && start === 0 && isCounted)) header = start;
  const names = distinctNames(header === undefined ? Array.from({ length: width }, () => '') : fields(header), header === undefined);
  const columns = names.map((name, index) => columnOf(name, numeric[index]));
  const first = header === start ? start + 1 : start;
  return { delimiter: best.delimiter, decimalComma: best.decimalComma, columns, firstLine: places[first] };
}

/** Lines of a text file with their numbers, counted from 1, without their ends. */
async function* linesOf(path: string, encoding: string): AsyncGenerator<readonly [string[], number]> {
  const decoder = new TextDecoder(encoding);
  let [rest, line] = ['', 1];
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 1 << 18 })) {
      const lines = (rest + decoder.decode(piece as Buffer, { stream: true })).split('\n');
      rest = lines.pop()!;
      if (rest.length > SAMPLE_BYTES) throw new Refusal('import/csv', `${path}, line ${line + lines.length} is longer than 64 kB`);
      yield [lines, line];
      line += lines.length;
    }
  } catch (cause) {
    throw unreadable(path, cause);
  }
  rest += decoder.decode();
  if (rest !== '') yield [[rest], line];
}

/**
 * Opens a table of numbers in text: comma, semicolon, tab, bar or blanks between fields, decimal point or comma, UTF-8 or UTF-16, with or
 * without a header, with titles and comments (`#`, `%`, `//`) before it. It is read by pieces. Every row must have every wanted number.
 *
 * @throws Refusal import/csv with the line, import/file
 */
export async function openCsv(path: string, size: number, options: CsvOptions = {}): Promise<SourceTable> {
  const head = await readBytes(path, 0, SAMPLE_BYTES);
  const encoding = head[0] === 0xff && head[1] === 0xfe ? 'utf-16le' : 'utf-8';
  // Of a long file the last line of the sample is cut off somewhere.
  const text = new TextDecoder(encoding).decode(head);
  const whole = size > head.length ? text.slice(0, text.lastIndexOf('\n') + 1) : text;
  if (text.includes('\0')) throw new Refusal('import/csv', `${path} is not text; is its extension wrong? state --format`);
  const { delimiter, decimalComma, columns, firstLine } = detect(path, whole, options);
  return {
    columns,
    async *blocks(wanted) {
      const block = new Float64Array(BLOCK_ROWS * wanted.length);
      let filled = 0;
      for await (const [lines, number] of linesOf(path, encoding)) {
        for (let index = Math.max(0, firstLine + 1 - number); index < lines.length; index++) {
          const line = lines[index].endsWith('\r') ? lines[index].slice(0, -1) : lines[index];
          if (!isContent(line)) continue;
          const fields = fieldsOf(line, delimiter);
          if (fields.length !== columns.length) {
            throw new Refusal(
              'import/csv',
              `${path}, line ${number + index} has ${fields.length} fields where the others have ${columns.length}`,
            );
          }
          for (const column of wanted) {
            const value = numberOf(fields[column], decimalComma);
            if (!Number.isFinite(value)) {
              throw new Refusal(
                'import/not-finite',
                `${path}, line ${number + index}, column ${columns[column].name}: "${fields[column]}" is not a number`,
              );
            }
            block[filled++] = value;
          }
          if (filled === block.length) {
            yield block.slice();
            filled = 0;
          }
        }
      }
      if (filled > 0) yield block.slice(0, filled);
    },
  };
}
