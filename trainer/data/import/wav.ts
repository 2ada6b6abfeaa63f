import { open } from 'node:fs/promises';
import { Refusal } from '../../refusal.ts';
import { BLOCK_ROWS, columnOf, readBytes, type SourceTable, unreadable } from './table.ts';

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;
/** Sizes that a recorder leaves when it could not go back to write the true one. */
const UNKNOWN_SIZES = [0, 0xffffffff];

interface Layout {
  readonly format: number;
  readonly channels: number;
  readonly rate: number;
  readonly bits: number;
  /** Bytes of a row. */
  readonly align: number;
  readonly start: number;
  readonly bytes: number;
}

/** Walks the chunks of a RIFF or RF64 file (EBU Tech 3306) up to its samples. */
async function readLayout(path: string, size: number): Promise<Layout> {
  const refuse = (why: string) => new Refusal('import/wav', `${path} ${why}`);
  const head = await readBytes(path, 0, 12);
  const kind = head.toString('latin1', 0, 4);
  if (head.length < 12 || !['RIFF', 'RF64'].includes(kind) || head.toString('latin1', 8, 12) !== 'WAVE') {
    throw refuse('is not a WAV file: it does not begin with RIFF and WAVE');
  }
  let format: Omit<Layout, 'start' | 'bytes'> | undefined;
  let longBytes: number | undefined;
  for (let at = 12; at + 8 <= size; ) {
    const chunk = await readBytes(path, at, 8 + 40);
    const name = chunk.toString('latin1', 0, 4);
    const stated = chunk.readUInt32LE(4);
    if (name === 'ds64' && chunk.length >= 24) longBytes = Number(chunk.readBigUInt64LE(16));
    if (name === 'fmt ' && chunk.length >= 24) {
      const tag = chunk.readUInt16LE(8);
      // The first two bytes of the extensible format's GUID are the tag that it stands for.
      if (tag === EXTENSIBLE && chunk.length < 34) throw refuse('has a format chunk that is cut short');
      format = {
        format: tag === EXTENSIBLE ? chunk.readUInt16LE(32) : tag,
        channels: chunk.readUInt16LE(10),
        rate: chunk.readUInt32LE(12),
        align: chunk.readUInt16LE(20),
        bits: chunk.readUInt16LE(22),
      };
    }
    if (name === 'data') {
      if (!format) throw refuse('has no format before its samples');
      const rest = size - at - 8;
      const long = kind === 'RF64' && stated === 0xffffffff ? longBytes : undefined;
      const bytes = long ?? (UNKNOWN_SIZES.includes(stated) ? rest - (rest % Math.max(1, format.align)) : stated);
      if (bytes > rest) throw refuse(`is cut short: it promises ${bytes} bytes of samples and has ${rest}`);
      return { ...format, start: at + 8, bytes };
    }
    at += 8 + stated + (stated % 2);
  }
  throw refuse('has no samples (no data chunk)');
}

/** How to read one stored value. Integers become -1 to 1 of full scale. */
function decoderOf(path: string, { format, bits }: Layout): (view: DataView, at: number) => number {
  if (format === PCM && bits === 8) return (view, at) => (view.getUint8(at) - 128) / 128;
  if (format === PCM && bits === 16) return (view, at) => view.getInt16(at, true) / 2 ** 15;
  if (format === PCM && bits === 24) return (view, at) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 2 ** 23;
  if (format === PCM && bits === 32) return (view, at) => view.getInt32(at, true) / 2 ** 31;
  if (format === FLOAT && bits === 32) return (view, at) => view.getFloat32(at, true);
  if (format === FLOAT && bits === 64) return (view, at) => view.getFloat64(at, true);
  throw new Refusal(
    'import/wav',
    `${path} holds ${bits}-bit samples of format ${format}; save it as PCM of 16, 24 or 32 bits or as 32-bit float`,
  );
}

/**
 * Opens a WAV file: PCM of 8, 16, 24 or 32 bits, float of 32 or 64, plain, extensible or RF64, any number of channels. Columns are called
 * `ch0`, `ch1` ...; integers are in shares of full scale (-1 to 1).
 *
 * @throws Refusal import/wav, import/file
 */
export async function openWav(path: string, size: number): Promise<SourceTable> {
  const layout = await readLayout(path, size);
  const decode = decoderOf(path, layout);
  const { channels, align, bits, rate, bytes, start } = layout;
  if (channels < 1 || rate < 1 || align !== (channels * bits) / 8) {
    throw new Refusal(
      'import/wav',
      `${path} has a format that contradicts itself: ${channels} channels, ${bits} bits, ${align} bytes a row`,
    );
  }
  const rows = Math.floor(bytes / align);
  return {
    columns: Array.from({ length: channels }, (_, index) => columnOf(`ch${index}`, true)),
    sampleRateHz: rate,
    ...(layout.format === PCM && bits <= 16 && { int16Step: bits === 8 ? 1 / 128 : 2 ** -15 }),
    async *blocks(columns) {
      const file = await open(path).catch((cause) => {
        throw unreadable(path, cause);
      });
      try {
        const piece = Buffer.alloc(Math.min(rows, BLOCK_ROWS) * align);
        const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
        for (let row = 0; row < rows; row += BLOCK_ROWS) {
          const count = Math.min(BLOCK_ROWS, rows - row);
          const { bytesRead } = await file.read(piece, 0, count * align, start + row * align);
          if (bytesRead < count * align) throw new Refusal('import/wav', `${path} became shorter while it was read`);
          const block = new Float64Array(count * columns.length);
          for (let at = 0; at < count; at++) {
            for (let column = 0; column < columns.length; column++) {
              block[at * columns.length + column] = decode(view, at * align + (columns[column] * bits) / 8);
            }
          }
          yield block;
        }
      } finally {
        await file.close();
      }
    },
  };
}
