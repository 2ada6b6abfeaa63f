import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import type { ColumnData, FileMetaData, SchemaElement } from 'hyparquet';
import { Refusal } from '../../refusal.ts';
import { BLOCK_ROWS, columnOf, LARGEST_HELD_BYTES, type SourceTable, unreadable } from './table.ts';

const NUMERIC = ['FLOAT', 'DOUBLE', 'INT32', 'INT64'];

/** Whether a column holds one number a row: not a list, not text, not a date. */
function isNumeric({ type, converted_type: converted, logical_type: logical, repetition_type: repetition }: SchemaElement): boolean {
  if (logical?.type === 'FLOAT16') return true;
  return type !== undefined && NUMERIC.includes(type) && repetition !== 'REPEATED' && converted !== 'DATE' && logical?.type !== 'DATE';
}

/** Times as seconds since 1970, finer than the milliseconds of a Date. */
const parsers = {
  timestampFromMilliseconds: (time: bigint) => Number(time) / 1e3,
  timestampFromMicroseconds: (time: bigint) => Number(time) / 1e6,
  timestampFromNanoseconds: (time: bigint) => Number(time) / 1e9,
};

/**
 * Opens a Parquet file (hyparquet). A flat column of numbers is a column here; it is read one row group at a time. Compressed by snappy,
 * gzip, brotli, zstd, lz4 or not at all.
 *
 * @throws Refusal import/parquet, import/too-large, import/file
 */
export async function openParquet(path: string): Promise<SourceTable> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetRead } = await import('hyparquet');
  const { compressors } = await import('hyparquet-compressors');
  // Node's own are several times as fast where it has them.
  const all = {
    ...compressors,
    GZIP: (bytes: Uint8Array) => gunzipSync(bytes),
    BROTLI: (bytes: Uint8Array) => brotliDecompressSync(bytes),
  };
  const refuse = (cause: unknown) =>
    cause instanceof Refusal
      ? cause
      : new Refusal('import/parquet', `${path} cannot be read as Parquet (${(cause as Error).message.split('\n')[0]})`, { cause });
  const file = await asyncBufferFromFile(path).catch((cause) => {
    throw unreadable(path, cause);
  });
  const metadata: FileMetaData = await parquetMetadataAsync(file).catch((cause) => {
    throw refuse(cause);
  });
  const [root, ...elements] = metadata.schema;
  if (elements.length !== root.num_children) {
    throw new Refusal('import/parquet', `${path} has nested columns; write it again with a flat column a channel`);
  }
  const columns = elements.map((element) => {
    const isTime = element.logical_type?.type === 'TIMESTAMP' || element.converted_type?.startsWith('TIMESTAMP');
    if (isTime) return { name: element.name, kind: 'time', secondsPerUnit: 1 } as const;
    return columnOf(element.name, isNumeric(element));
  });
  return {
    columns,
    async *blocks(wanted) {
      let first = 0;
      for (const { num_rows: count } of metadata.row_groups) {
        const rows = Number(count);
        if (8 * rows * wanted.length > LARGEST_HELD_BYTES) {
          throw new Refusal('import/too-large', `${path} has row groups of over 1 GiB; write it again with smaller ones`);
        }
        // Row-major at once: a column arrives in pieces, each with its place. What never arrives is missing.
        const group = new Float64Array(rows * wanted.length).fill(Number.NaN);
        for (const [at, column] of wanted.entries()) {
          const onChunk = ({ columnData, rowStart }: ColumnData) => {
            for (let index = 0; index < columnData.length; index++) {
              const value: unknown = columnData[index];
              // Number would make 0 of a missing value.
              if (value !== null && value !== undefined) group[(rowStart - first + index) * wanted.length + at] = Number(value);
            }
          };
          const range = { rowStart: first, rowEnd: first + rows };
          await parquetRead({ file, metadata, columns: [columns[column].name], ...range, parsers, compressors: all, onChunk }).catch(
            (cause) => {
              throw refuse(cause);
            },
          );
        }
        const piece = BLOCK_ROWS * wanted.length;
        for (let start = 0; start < group.length; start += piece) yield group.subarray(start, start + piece);
        first += rows;
      }
    },
  };
}
