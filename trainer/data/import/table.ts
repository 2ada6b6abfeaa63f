import { open } from 'node:fs/promises';
import { Refusal } from '../../refusal.ts';

/** Rows that a reader yields at a time, about. */
export const BLOCK_ROWS = 16_384;

/** Largest number of bytes of one file that a reader may hold at once, where the format forces it to hold a part. */
export const LARGEST_HELD_BYTES = 1 << 30;

/** What a column is for, by its name: only `channel` columns are taken unless others are asked for by name. */
export type ColumnKind =
  | 'channel'
  /** Time since the start, or since 1970; gives the rate where nothing else does. */
  | 'time'
  /** The row's number, as pandas writes it. */
  | 'index'
  /** A label or another answer: a network that saw it would learn nothing else. */
  | 'label'
  | 'text';

export interface SourceColumn {
  readonly name: string;
  readonly kind: ColumnKind;
  /** Of a time column whose name says its unit. */
  readonly secondsPerUnit?: number;
}

/** A source file seen as a table: a row a sample, a column a channel. */
export interface SourceTable {
  readonly columns: readonly SourceColumn[];
  /** Where the file itself states it. */
  readonly sampleRateHz?: number;
  /** Where every value is a whole number of at most 16 bits times this: it can be stored as int16 without loss. */
  readonly int16Step?: number;
  /** Single numbers that lie beside the samples, by name: possible conditions. */
  readonly scalars?: Readonly<Record<string, number>>;
  /** What lies in the file and cannot be a column, for people. */
  readonly leftOut?: readonly string[];
  /**
   * The samples, from the start, as often as asked for; a few thousand rows at a time.
   *
   * @param columns indexes of the columns to read
   * @returns blocks, each row-major [rows, columns]
   */
  blocks(columns: readonly number[]): AsyncIterable<Float64Array>;
}

const SECONDS: Readonly<Record<string, number>> = {
  s: 1,
  sec: 1,
  seconds: 1,
  ms: 1e-3,
  us: 1e-6,
  µs: 1e-6,
  ns: 1e-9,
};
const TIME =
  /^(?:elapsed[ _]?)?(?:[Tt]ime(?:[ _]?stamp)?|TIME|t|[Zz]eit|[Ss]econds|[Dd]ate[ _]?[Tt]ime|[Dd]ate)(?:[ _]*[[(]?([a-zµ]+)[\])]?)?$/;
const INDEX = /^(|unnamed: 0|index|__index_level_0__)$/i;
const LABEL = /^(label|class|target)$/i;

/** What a column is for, judged by its name and by whether it holds numbers. */
export function columnOf(name: string, numeric: boolean): SourceColumn {
  if (!numeric) return { name, kind: 'text' };
  const time = TIME.exec(name);
  if (time && (time[1] === undefined || time[1] in SECONDS)) return { name, kind: 'time', secondsPerUnit: SECONDS[time[1]] };
  if (INDEX.test(name)) return { name, kind: 'index' };
  return { name, kind: LABEL.test(name) ? 'label' : 'channel' };
}

/**
 * Names without repetition: the second `x` becomes `x_2`, an empty name `ch` and its place. Only the first of several may stay empty where
 * the file names the others: that is how pandas marks row numbers.
 */
export function distinctNames(names: readonly string[], unnamed = false): string[] {
  const seen = new Map<string, number>();
  return names.map((given, index) => {
    const name = given || (!unnamed && index === 0 && names.length > 1 ? '' : `ch${index}`);
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return count === 1 ? name : `${name}_${count}`;
  });
}

/** A file that cannot be read, as a refusal. */
export function unreadable(path: string, cause: unknown): Refusal {
  if (cause instanceof Refusal) return cause;
  return new Refusal('import/file', `${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message})`, {
    cause,
  });
}

/** Bytes of a file from `start`, fewer at its end. @throws Refusal import/file */
export async function readBytes(path: string, start: number, length: number): Promise<Buffer> {
  try {
    const file = await open(path);
    try {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await file.read(bytes, 0, length, start);
      return bytes.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw unreadable(path, cause);
  }
}
