import { constants, inflateSync } from 'node:zlib';
import { Refusal } from '../../refusal.ts';
import { BLOCK_ROWS, columnOf, LARGEST_HELD_BYTES, readBytes, type SourceTable } from './table.ts';

// Level 5 MAT-files, little-endian: MathWorks, "MAT-File Format" (R2023b), chapter 1. Numbers below are from its tables 1-1 to 1-3.
const MATRIX = 14;
const COMPRESSED = 15;
const CELL = 1;
const STRUCT = 2;
const DOUBLE = 6;
const UINT64 = 15;
const COMPLEX = 0x08;
/** Enough of an element for flags, dimensions and name. */
const PEEK_BYTES = 512;
const DEEPEST = 8;

type Numbers = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array | BigInt64Array;

/** How numbers are stored, by the type in their tag. MATLAB stores doubles that are whole and small in fewer bytes. */
const STORED: Readonly<Record<number, { bytes: number; view: (data: ArrayBuffer) => Numbers | BigUint64Array }>> = {
  1: { bytes: 1, view: (data) => new Int8Array(data) },
  2: { bytes: 1, view: (data) => new Uint8Array(data) },
  3: { bytes: 2, view: (data) => new Int16Array(data) },
  4: { bytes: 2, view: (data) => new Uint16Array(data) },
  5: { bytes: 4, view: (data) => new Int32Array(data) },
  6: { bytes: 4, view: (data) => new Uint32Array(data) },
  7: { bytes: 4, view: (data) => new Float32Array(data) },
  9: { bytes: 8, view: (data) => new Float64Array(data) },
  12: { bytes: 8, view: (data) => new BigInt64Array(data) },
  13: { bytes: 8, view: (data) => new BigUint64Array(data) },
};

/** A real matrix of numbers, column by column as MATLAB has it. */
export interface MatlabMatrix {
  /** `name`, and for what lies in structures and cells `name.field`, `name.field(2).other`, `name{3}`. */
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** Column-major [columns, rows]. */
  readonly values: Numbers | BigUint64Array;
}

interface Tag {
  readonly type: number;
  readonly bytes: number;
  /** Where the data begin, and where the next element does. */
  readonly data: number;
  readonly next: number;
}

interface Header {
  readonly complex: boolean;
  readonly dimensions: readonly number[];
  readonly name: string;
  readonly body: number;
}

class Elements {
  readonly #bytes: Buffer;
  readonly #refuse: (why: string) => Refusal;

  constructor(bytes: Buffer, refuse: (why: string) => Refusal) {
    this.#bytes = bytes;
    this.#refuse = refuse;
  }

  tag(at: number): Tag {
    if (at + 8 > this.#bytes.length) throw this.#refuse('is cut short within a variable');
    const word = this.#bytes.readUInt32LE(at);
    // A small element has its length in the upper half of the first word, and its data in the second.
    if (word >>> 16 !== 0) return { type: word & 0xffff, bytes: word >>> 16, data: at + 4, next: at + 8 };
    const bytes = this.#bytes.readUInt32LE(at + 4);
    return { type: word, bytes, data: at + 8, next: at + 8 + 8 * Math.ceil(bytes / 8) };
  }

  text({ data, bytes }: Tag): string {
    return this.#bytes.toString('latin1', data, data + bytes);
  }

  numbers({ type, data, bytes }: Tag): Numbers | BigUint64Array {
    const stored = STORED[type];
    if (!stored) throw this.#refuse(`holds numbers of type ${type}, which the format does not have`);
    if (data + bytes > this.#bytes.length || bytes % stored.bytes !== 0) throw this.#refuse('is cut short within a variable');
    const copy = new ArrayBuffer(bytes);
    new Uint8Array(copy).set(this.#bytes.subarray(data, data + bytes));
    return stored.view(copy);
  }

  /** Class of the matrix whose tag is at `at`; 0 where there is none. */
  #kind(at: number): number {
    const { type, bytes } = this.tag(at);
    return type === MATRIX && bytes > 0 ? this.#bytes[this.tag(at + 8).data] : 0;
  }

  isNested(at: number): boolean {
    return [STRUCT, CELL].includes(this.#kind(at));
  }

  /** Whether that is a matrix of real numbers. */
  isNumeric(at: number): boolean {
    const kind = this.#kind(at);
    if (kind < DOUBLE || kind > UINT64) return false;
    const { complex, dimensions } = this.header(at);
    return !complex && dimensions.length === 2;
  }

  /** Flags, dimensions and name of a matrix; `body` is where its contents begin. */
  header(at: number): Header {
    const flags = this.tag(at + 8);
    const dimensions = this.tag(flags.next);
    const name = this.tag(dimensions.next);
    return {
      complex: (this.#bytes[flags.data + 1] & COMPLEX) !== 0,
      dimensions: Array.from(this.numbers(dimensions), Number),
      name: this.text(name),
      body: name.next,
    };
  }

  /** Every real numeric matrix at `at`, or within the structure or cell array there. */
  *matrices(at: number, prefix: string | undefined, depth = 0): Generator<MatlabMatrix> {
    const isNumeric = this.isNumeric(at);
    if (!isNumeric && !(this.isNested(at) && depth < DEEPEST)) return;
    const { dimensions, name: own, body } = this.header(at);
    const name = prefix ?? own;
    const count = dimensions.reduce((product, size) => product * size, 1);
    if (isNumeric) {
      const values = this.numbers(this.tag(body));
      if (values.length !== count)
        throw this.#refuse(`has ${values.length} numbers in ${name} where it promises ${dimensions.join(' x ')}`);
      yield { name, rows: dimensions[0], columns: dimensions[1], values };
    } else {
      const isStructure = this.#kind(at) === STRUCT;
      let [next, fields] = [body, ['']];
      if (isStructure) {
        const width = Number(this.numbers(this.tag(body))[0]);
        const names = this.tag(this.tag(body).next);
        const text = this.text(names);
        fields = Array.from({ length: width > 0 ? names.bytes / width : 0 }, (_, index) => {
          return `.${text.slice(index * width, (index + 1) * width).split('\0')[0]}`;
        });
        if (fields.length === 0) return;
        next = names.next;
      }
      for (let index = 1; index <= count; index++) {
        const place = isStructure ? (count > 1 ? `(${index})` : '') : `{${index}}`;
        for (const field of fields) {
          yield* this.matrices(next, `${name}${place}${field}`, depth + 1);
          next = this.tag(next).next;
        }
      }
    }
  }
}

function isWanted(
  { name, dimensions: [rows, columns] }: Header,
  wanted: (name: string, rows: number, columns: number) => boolean,
): boolean {
  // MATLAB keeps the insides of its objects in a variable without a name.
  return name !== '' && wanted(name, rows, columns);
}

/**
 * Reads the real numeric matrices of a level 5 MAT-file, compressed or not, also those within structures and cells. Text, sparse and complex
 * matrices and those of more than two dimensions are passed over. One variable is held at a time while it is unpacked.
 *
 * @param wanted whether to keep a variable, judged by its name and size before it is read; structures and cells are always read
 * @throws Refusal import/matlab where it is another kind of file, import/too-large, import/file
 */
export async function readMatlab(
  path: string,
  size: number,
  wanted: (name: string, rows: number, columns: number) => boolean = () => true,
): Promise<MatlabMatrix[]> {
  const refuse = (why: string) => new Refusal('import/matlab', `${path} ${why}`);
  const head = await readBytes(path, 0, 128);
  const title = head.toString('latin1', 0, 10);
  if (title === 'MATLAB 7.3' || head.toString('latin1', 1, 4) === 'HDF') {
    throw refuse("is a MATLAB v7.3 file, which is HDF5; in MATLAB save it again with save(name, '-v7')");
  }
  if (head.length < 128 || !['IM', 'MI'].includes(head.toString('latin1', 126, 128))) {
    throw refuse("is not a MATLAB v5 file; in MATLAB save it again with save(name, '-v7')");
  }
  if (head.toString('latin1', 126, 128) === 'MI') throw refuse('is big-endian, from an old workstation; save it again on a PC');
  const matrices: MatlabMatrix[] = [];
  let held = 0;
  for (let at = 128; at + 8 <= size; ) {
    const tag = await readBytes(path, at, 8);
    const [type, bytes] = [tag.readUInt32LE(0), tag.readUInt32LE(4)];
    if (at + 8 + bytes > size) throw refuse(`is cut short: a variable promises ${bytes} bytes, ${size - at - 8} are there`);
    const next = at + 8 + (type === COMPRESSED ? bytes : 8 * Math.ceil(bytes / 8));
    if (type === MATRIX || type === COMPRESSED) {
      const peek = new Elements(await readVariable(path, at, type, bytes, PEEK_BYTES, refuse), refuse);
      const isNested = peek.isNested(0);
      if (isNested || (peek.isNumeric(0) && isWanted(peek.header(0), wanted))) {
        const whole = new Elements(await readVariable(path, at, type, bytes, undefined, refuse), refuse);
        for (const matrix of whole.matrices(0, undefined)) {
          if (!wanted(matrix.name, matrix.rows, matrix.columns)) continue;
          held += matrix.values.byteLength;
          if (held > LARGEST_HELD_BYTES) throw tooLarge(path);
          matrices.push(matrix);
        }
      }
    }
    at = next;
  }
  return matrices;
}

function tooLarge(path: string): Refusal {
  return new Refusal(
    'import/too-large',
    `${path} has over 1 GiB of numbers, which a MAT-file does not allow to read by pieces; save it in parts`,
  );
}

/** A variable's element with its tag, unpacked; only its first bytes where `first` is given. */
async function readVariable(
  path: string,
  at: number,
  type: number,
  bytes: number,
  first: number | undefined,
  refuse: (why: string) => Refusal,
): Promise<Buffer> {
  if (bytes > LARGEST_HELD_BYTES && first === undefined) throw tooLarge(path);
  if (type === MATRIX) return await readBytes(path, at, 8 + Math.min(bytes, first ?? bytes));
  const packed = await readBytes(path, at + 8, Math.min(bytes, first ?? bytes));
  try {
    // A sync flush unpacks what the beginning of a stream holds and does not mind that the end is missing.
    const finishFlush = first === undefined ? constants.Z_FINISH : constants.Z_SYNC_FLUSH;
    return inflateSync(packed, { finishFlush, maxOutputLength: LARGEST_HELD_BYTES + 8 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(path);
    throw refuse(`has a damaged variable (${(cause as Error).message})`);
  }
}

/** Names of the signals in a matrix: one for a vector, otherwise one for each place along its shorter side. */
function signalNames(name: string, rows: number, columns: number): string[] {
  const count = Math.min(rows, columns);
  return count === 1 ? [name] : Array.from({ length: count }, (_, index) => `${name}_${index + 1}`);
}

/**
 * Opens a MAT-file as a table. Vectors of one length are a channel each, called by their variable; a matrix gives a channel for each of its
 * columns (of its rows, where it is wider than high), called `name_1`, `name_2` ... Single numbers become scalars. Where lengths differ the
 * longest count: a shorter one is a list of settings, or another rate.
 *
 * @param asked patterns of names; then only these are read, and the longest of these count
 * @throws Refusal import/matlab, import/too-large, import/file
 */
export async function openMatlab(path: string, size: number, asked?: readonly RegExp[]): Promise<SourceTable> {
  const isAsked = (name: string) => asked === undefined || asked.some((pattern) => pattern.test(name));
  const matrices = await readMatlab(
    path,
    size,
    (name, rows, columns) => rows * columns === 1 || signalNames(name, rows, columns).some(isAsked),
  );
  const scalars: Record<string, number> = {};
  const signals: { name: string; length: number; value: (row: number) => number }[] = [];
  for (const { name, rows, columns, values } of matrices) {
    if (rows * columns === 1) scalars[name] = Number(values[0]);
    if (rows * columns <= 1) continue;
    const upright = rows >= columns;
    signalNames(name, rows, columns).forEach((signal, index) => {
      if (!isAsked(signal)) return;
      const value = (row: number) => Number(values[upright ? index * rows + row : row * rows + index]);
      signals.push({ name: signal, length: Math.max(rows, columns), value });
    });
  }
  const length = signals.reduce((longest, signal) => Math.max(longest, signal.length), 0);
  if (length === 0) {
    const there = (await readMatlab(path, size)).map(({ name, rows, columns }) => `${name} [${rows} x ${columns}]`).join(', ');
    throw new Refusal('import/matlab', `${path} has no such matrix of numbers; it has ${there || 'none at all'}`);
  }
  const even = signals.filter((signal) => signal.length === length);
  const odd = signals.filter((signal) => signal.length !== length);
  return {
    columns: even.map(({ name }) => columnOf(name, true)),
    scalars,
    leftOut: odd.map((signal) => `${signal.name} (${signal.length} samples where others have ${length})`),
    async *blocks(columns) {
      for (let start = 0; start < length; start += BLOCK_ROWS) {
        const rows = Math.min(BLOCK_ROWS, length - start);
        const block = new Float64Array(rows * columns.length);
        columns.forEach((column, at) => {
          const { value } = even[column];
          for (let row = 0; row < rows; row++) block[row * columns.length + at] = value(start + row);
        });
        yield block;
      }
    },
  };
}
