import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { afterAll } from 'vitest';
import type { SourceTable } from '../../../trainer/data/import/table.ts';

export const FIXTURES = new URL('./fixtures/', import.meta.url).pathname;

const made: string[] = [];

afterAll(async () => {
  for (const folder of made) await rm(folder, { recursive: true, force: true });
});

/** A folder of its own, which is removed after the last test of the file, with these files in it, by path. */
export async function folderWith(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-data-'));
  made.push(folder, `${folder}-set`);
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return folder;
}

/** Every row of some columns of a table. */
export async function rowsOf(table: SourceTable, columns = table.columns.map((_, index) => index)): Promise<number[][]> {
  const rows: number[][] = [];
  for await (const block of table.blocks(columns)) {
    for (let at = 0; at < block.length; at += columns.length) rows.push([...block.subarray(at, at + columns.length)]);
  }
  return rows;
}

export interface WavOptions {
  readonly rate?: number;
  readonly bits?: 8 | 16 | 24 | 32 | 64;
  readonly float?: boolean;
  readonly extensible?: boolean;
  /** Another chunk, of odd length, before the samples. */
  readonly extraChunk?: boolean;
  /** Size that the data chunk states, where it is not the true one. */
  readonly statedBytes?: number;
}

/** A WAV file. rows: [samples][channels], whole numbers for PCM. */
export function wavBytes(rows: readonly (readonly number[])[], options: WavOptions = {}): Buffer {
  const { rate = 8000, bits = 16, float = false, extensible = false, extraChunk = false, statedBytes } = options;
  const channels = rows[0]?.length ?? 1;
  const width = bits / 8;
  const samples = Buffer.alloc(rows.length * channels * width);
  rows.flat().forEach((value, index) => {
    const at = index * width;
    if (float) bits === 64 ? samples.writeDoubleLE(value, at) : samples.writeFloatLE(value, at);
    else if (bits === 8) samples.writeUInt8(value + 128, at);
    else samples.writeIntLE(value, at, width);
  });
  const format = Buffer.alloc(extensible ? 40 : 16);
  const tag = float ? 3 : 1;
  format.writeUInt16LE(extensible ? 0xfffe : tag, 0);
  format.writeUInt16LE(channels, 2);
  format.writeUInt32LE(rate, 4);
  format.writeUInt32LE(rate * channels * width, 8);
  format.writeUInt16LE(channels * width, 12);
  format.writeUInt16LE(bits, 14);
  if (extensible) {
    format.writeUInt16LE(22, 16);
    format.writeUInt16LE(bits, 18);
    format.writeUInt16LE(tag, 24);
    Buffer.from('000000001000800000aa00389b71', 'hex').copy(format, 26);
  }
  const chunk = (name: string, body: Buffer, stated = body.length) => {
    const head = Buffer.alloc(8);
    head.write(name, 'latin1');
    head.writeUInt32LE(stated, 4);
    return Buffer.concat([head, body, Buffer.alloc(body.length % 2)]);
  };
  const extra = extraChunk ? [chunk('LIST', Buffer.from('odd'))] : [];
  const body = Buffer.concat([Buffer.from('WAVE'), chunk('fmt ', format), ...extra, chunk('data', samples, statedBytes)]);
  return Buffer.concat([chunk('RIFF', body)]);
}

/** How MATLAB may store the numbers of a double matrix: whole ones in fewer bytes. */
export type MatStorage = 'double' | 'int16' | 'uint8';

export interface MatVariable {
  readonly name: string;
  /** [rows][columns] */
  readonly rows: readonly (readonly number[])[];
  readonly storage?: MatStorage;
}

function matElement(type: number, body: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body, Buffer.alloc((8 - (body.length % 8)) % 8)]);
}

/** An element of at most four bytes, as MATLAB packs it: length and type share a word with the data beside it. */
function smallElement(type: number, body: Buffer): Buffer {
  if (body.length > 4) return matElement(type, body);
  const head = Buffer.alloc(8);
  head.writeUInt16LE(type, 0);
  head.writeUInt16LE(body.length, 2);
  body.copy(head, 4);
  return head;
}

/** A level 5 MAT-file with matrices of class double. */
export function matBytes(variables: readonly MatVariable[], { compressed = false } = {}): Buffer {
  const head = Buffer.alloc(128, ' ');
  head.write('MATLAB 5.0 MAT-file, made by a test', 'latin1');
  head.writeUInt16LE(0x0100, 124);
  head.write('IM', 126, 'latin1');
  const elements = variables.map(({ name, rows, storage = 'double' }) => {
    const [height, width] = [rows.length, rows[0].length];
    const columnMajor = Array.from({ length: height * width }, (_, at) => rows[at % height][Math.floor(at / height)]);
    const stored = {
      double: [9, Float64Array.from(columnMajor)],
      int16: [3, Int16Array.from(columnMajor)],
      uint8: [2, Uint8Array.from(columnMajor)],
    } as const;
    const [type, numbers] = stored[storage];
    const body = Buffer.concat([
      matElement(6, Buffer.from(Uint32Array.from([6, 0]).buffer)),
      matElement(5, Buffer.from(Int32Array.from([height, width]).buffer)),
      smallElement(1, Buffer.from(name, 'latin1')),
      smallElement(type, Buffer.from(numbers.buffer)),
    ]);
    const matrix = matElement(14, body);
    if (!compressed) return matrix;
    const packed = deflateSync(matrix);
    const tag = Buffer.alloc(8);
    tag.writeUInt32LE(15, 0);
    tag.writeUInt32LE(packed.length, 4);
    return Buffer.concat([tag, packed]);
  });
  return Buffer.concat([head, ...elements]);
}
