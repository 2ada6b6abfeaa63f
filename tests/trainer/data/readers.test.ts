import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CsvOptions, openCsv } from '../../../trainer/data/import/csv.ts';
import { openMatlab, readMatlab } from '../../../trainer/data/import/matlab.ts';
import { openParquet } from '../../../trainer/data/import/parquet.ts';
import { openWav } from '../../../trainer/data/import/wav.ts';
import { FIXTURES, folderWith, matBytes, rowsOf, type WavOptions, wavBytes } from './files.ts';

const sizeOf = async (path: string) => (await stat(path)).size;

async function csv(content: string | Uint8Array, options?: CsvOptions) {
  const path = join(await folderWith({ 'a.csv': content }), 'a.csv');
  return openCsv(path, await sizeOf(path), options);
}

const shape = (table: Awaited<ReturnType<typeof csv>>) => table.columns.map(({ name, kind }) => `${name}:${kind}`);

describe('a text table', () => {
  const rows = '0.5|-1\n1.5|-2\n2.5|-3e2\n';
  const read = [
    [0.5, -1],
    [1.5, -2],
    [2.5, -300],
  ];

  it.each([
    [',', false],
    [';', false],
    ['\t', false],
    ['|', false],
    [' ', false],
    [';', true],
    ['\t', true],
    [' ', true],
  ])('is read with delimiter "%s" and decimal comma %s, with and without a header', async (delimiter, comma) => {
    const text = rows.replaceAll('|', delimiter).replaceAll('.', comma ? ',' : '.');
    const bare = await csv(text);
    expect(shape(bare)).toEqual(['ch0:channel', 'ch1:channel']);
    expect(await rowsOf(bare)).toEqual(read);
    const named = await csv(`x${delimiter}y\r\n${text.replaceAll('\n', '\r\n')}`);
    expect(shape(named)).toEqual(['x:channel', 'y:channel']);
    expect(await rowsOf(named)).toEqual(read);
  });

  it('may begin with titles, comments and blank lines, and end without a line feed', async () => {
    const table = await csv('Logger 7\n# serial 12\n\nSensor,hall 3\nNote: see below\nx,y\n1,2\n# pause\n\n3,4\n5,6');
    expect(shape(table)).toEqual(['x:channel', 'y:channel']);
    expect(await rowsOf(table)).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
  });

  it('tells channels from time, row numbers, labels and text', async () => {
    const table = await csv('"",Time [ms],x,x,label,state\n0,0,1,2,1,on\n1,1,3,4,1,on\n2,2,5,6,1,"on, hot"\n');
    expect(shape(table)).toEqual([':index', 'Time [ms]:time', 'x:channel', 'x_2:channel', 'label:label', 'state:text']);
    expect(table.columns[1].secondsPerUnit).toBe(1e-3);
    expect(await rowsOf(table, [1, 3])).toEqual([
      [0, 2],
      [1, 4],
      [2, 6],
    ]);
  });

  it('takes the digits that pandas writes over nameless columns for a header', async () => {
    expect(await rowsOf(await csv('0,1\n0.5,1.5\n2.5,3.5\n'))).toHaveLength(2);
    const table = await csv(',0,1\n0,0.5,1.5\n1,2.5,3.5\n2,2.5,3.5\n');
    expect(shape(table)).toEqual([':index', '0:channel', '1:channel']);
    expect(await rowsOf(table, [1])).toEqual([[0.5], [2.5], [2.5]]);
  });

  it('is what is stated, where something is', async () => {
    expect(await rowsOf(await csv('1,2\n3,4\n', { header: true }))).toEqual([[3, 4]]);
    expect(await rowsOf(await csv('x,y\n1,2\n3,4\n', { header: false }))).toHaveLength(2);
    expect(await rowsOf(await csv('1,5\n2,5\n', { delimiter: ';', decimal: ',' }))).toEqual([[1.5], [2.5]]);
    const skipped = await csv('9,9\n8,8\nx,y\ns,g\n1,2\n3,4\n', { skipLines: 2 });
    expect(shape(skipped)).toEqual(['x:channel', 'y:channel']);
    expect(await rowsOf(skipped)).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });

  it('may be UTF-16, as some loggers write it', async () => {
    const table = await csv(Buffer.from('\ufeffx\ty\r\n1\t2\r\n3\t4\r\n', 'utf16le'));
    expect(shape(table)).toEqual(['x:channel', 'y:channel']);
    expect(await rowsOf(table)).toHaveLength(2);
    expect(shape(await csv('\ufeffx,y\n1,2\n3,4\n'))).toEqual(['x:channel', 'y:channel']);
  });

  it('that is longer than every buffer comes whole and in order', async () => {
    const count = 60_000;
    const text = Array.from({ length: count }, (_, row) => `${row},${(row * 0.25).toFixed(2)},µ`).join('\n');
    const table = await csv(text);
    expect(shape(table)).toEqual(['ch0:channel', 'ch1:channel', 'ch2:text']);
    const all = await rowsOf(table, [1, 0]);
    expect(all).toHaveLength(count);
    expect(all.every(([quarter, row], at) => row === at && quarter === at / 4)).toBe(true);
    // A second reading begins at the start again.
    expect(await rowsOf(table, [0])).toHaveLength(count);
  });

  it('gives back any numbers that were written', async () => {
    const value = fc.double({ noNaN: true, noDefaultInfinity: true });
    const table = fc
      .integer({ min: 1, max: 5 })
      .chain((width) => fc.array(fc.array(value, { minLength: width, maxLength: width }), { minLength: 2, maxLength: 30 }));
    await fc.assert(
      fc.asyncProperty(table, fc.constantFrom(',', ';', '\t'), async (written, delimiter) => {
        // -0 is written as 0.
        const plain = written.map((row) => row.map((one) => one + 0));
        const text = `${plain[0].map((_, index) => `c${index}`).join(delimiter)}\n${plain.map((row) => row.join(delimiter)).join('\n')}\n`;
        expect(await rowsOf(await csv(text))).toEqual(plain);
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ['x,y\n1,2\n3,oops\n5,6\n7,8\n', /line 3, column y: "oops" is not a number/],
    ['x,y\n1,2\n3,\n5,6\n7,8\n', /line 3, column y: "" is not a number/],
    ['x,y\nNaN,2\n3,4\n5,6\n', /line 2, column x: "NaN" is not a number/],
    ['x,y\n1,2\n3\n5,6\n7,8\n9,1\n2,3\n', /line 3 has 1 fields where the others have 2/],
  ])('with a bad row is refused with its line: %j', async (text, message) => {
    await expect(rowsOf(await csv(text))).rejects.toThrow(message);
  });

  it.each([
    ['words only\nnothing else\nat all\n', /no columns of numbers/],
    ['# nothing\n# at all\n', /no lines but comments/],
    [`${'1,'.repeat(60_000)}1\n`, /longer than 64 kB/],
    [Buffer.from([1, 2, 0, 10, 4, 0, 10]), /is not text/],
  ])('that is none is refused', async (text, message) => {
    await expect(csv(text)).rejects.toThrow(message);
  });
});

describe('a WAV file', () => {
  async function wav(rows: number[][], options?: WavOptions) {
    const path = join(await folderWith({ 'a.wav': wavBytes(rows, options) }), 'a.wav');
    return openWav(path, await sizeOf(path));
  }

  it.each([8, 16, 24, 32] as const)('of %i-bit integers is read in shares of full scale, plain and extensible', async (bits) => {
    const top = 2 ** (bits - 1);
    const codes = [
      [0, 1, -1],
      [top - 1, -top, 5],
    ];
    for (const extensible of [false, true]) {
      const table = await wav(codes, { bits, extensible, rate: 44_100 });
      expect(table.sampleRateHz).toBe(44_100);
      expect(table.columns.map(({ name }) => name)).toEqual(['ch0', 'ch1', 'ch2']);
      expect(await rowsOf(table)).toEqual(codes.map((row) => row.map((code) => code / top)));
      expect(await rowsOf(table, [2])).toEqual([[-1 / top], [5 / top]]);
    }
  });

  it.each([32, 64] as const)('of %i-bit floats is read as it is', async (bits) => {
    const values = [[0.5], [-3.25], [Math.fround(1e-3)]];
    for (const extensible of [false, true]) expect(await rowsOf(await wav(values, { bits, float: true, extensible }))).toEqual(values);
  });

  it('may have other chunks before the samples, and a size that its recorder never filled in', async () => {
    expect(await rowsOf(await wav([[1], [2]], { extraChunk: true }))).toHaveLength(2);
    expect(await rowsOf(await wav([[1], [2]], { statedBytes: 0xffffffff }))).toHaveLength(2);
  });

  it('longer than a block comes whole', async () => {
    const rows = Array.from({ length: 40_000 }, (_, at) => [at % 1000, (at % 777) - 1000]);
    expect(await rowsOf(await wav(rows))).toEqual(rows.map((row) => row.map((code) => code / 32_768)));
  });

  it('that is cut short, of another kind or none at all is refused', async () => {
    await expect(wav([[1]], { statedBytes: 400 })).rejects.toThrow(/cut short: it promises 400 bytes of samples and has 2/);
    const folder = await folderWith({
      'a.wav': 'RIFFxxxxAVI something',
      'b.wav': wavBytes([[1]]).fill(7, 20, 22),
      'c.wav': wavBytes([[1]]).subarray(0, 36),
    });
    const open = async (name: string) => openWav(join(folder, name), await sizeOf(join(folder, name)));
    await expect(open('a.wav')).rejects.toThrow(/is not a WAV file/);
    await expect(open('b.wav')).rejects.toThrow(/16-bit samples of format 1799/);
    await expect(open('c.wav')).rejects.toThrow(/no data chunk/);
  });
});

describe('a MATLAB v5 file', () => {
  const path = (name: string) => join(FIXTURES, name);

  it.each(['scipy-plain.mat', 'scipy-compressed.mat'])(
    '%s gives the matrices that scipy wrote, also out of structures and cells',
    async (name) => {
      const matrices = await readMatlab(path(name), await sizeOf(path(name)));
      expect(matrices.map(({ name, rows, columns }) => `${name} ${rows}x${columns}`)).toEqual([
        'X105_DE_time 40x1',
        'X105_FE_time 40x1',
        'X105RPM 1x1',
        'run.data 3x40',
        'run.rate 1x1',
        'parts{1} 1x3',
        'parts{2} 1x1',
      ]);
      expect([...matrices[0].values]).toEqual(Array.from({ length: 40 }, (_, k) => k / 8));
      expect([...matrices[5].values]).toEqual([1, 2, 3]);
      const table = await openMatlab(path(name), await sizeOf(path(name)));
      expect(table.scalars).toEqual({ X105RPM: 1797, 'run.rate': 12_000, 'parts{2}': 7.5 });
      expect(table.leftOut).toEqual(['parts{1} (3 samples where others have 40)']);
      const rows = await rowsOf(table);
      expect(table.columns.map((column) => column.name)).toEqual([
        'X105_DE_time',
        'X105_FE_time',
        'run.data_1',
        'run.data_2',
        'run.data_3',
      ]);
      expect(rows).toEqual(
        Array.from({ length: 40 }, (_, k) => [k / 8, -k / 4 + 0, k * 0.5, -k * 0.25 + 0, k % 3]).map((row) => row.map((one) => one + 0)),
      );
    },
  );

  it('reads any matrix that was written, however MATLAB packs it', async () => {
    const whole = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 })).chain(([rows, columns]) =>
      fc.array(fc.array(fc.integer({ min: 0, max: 255 }), { minLength: columns, maxLength: columns }), {
        minLength: rows,
        maxLength: rows,
      }),
    );
    const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,30}$/);
    const variables = fc.uniqueArray(fc.record({ name, rows: whole, storage: fc.constantFrom('double', 'int16', 'uint8') }), {
      selector: (variable) => variable.name,
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(variables, fc.boolean(), async (written, compressed) => {
        const folder = await folderWith({ 'a.mat': matBytes(written, { compressed }) });
        const read = await readMatlab(join(folder, 'a.mat'), await sizeOf(join(folder, 'a.mat')));
        expect(
          read.map(({ name, rows, columns, values }) => ({
            name,
            rows: Array.from({ length: rows }, (_, row) =>
              Array.from({ length: columns }, (_, column) => Number(values[column * rows + row])),
            ),
          })),
        ).toEqual(written.map(({ name, rows }) => ({ name, rows })));
      }),
      { numRuns: 60 },
    );
  });

  it('reads only what is asked for', async () => {
    const table = await openMatlab(path('scipy-compressed.mat'), await sizeOf(path('scipy-compressed.mat')), [/^run\.data_2$/]);
    expect(table.columns.map(({ name }) => name)).toEqual(['run.data_2']);
    expect((await rowsOf(table)).at(-1)).toEqual([-9.75]);
    await expect(openMatlab(path('scipy-plain.mat'), await sizeOf(path('scipy-plain.mat')), [/^none$/])).rejects.toThrow(
      /no such matrix of numbers; it has X105_DE_time \[40 x 1\]/,
    );
  });

  it('of another version, byte order or kind is refused with what to do', async () => {
    const good = matBytes([{ name: 'x', rows: [[1], [2]] }]);
    const hdf = Buffer.concat([good]);
    hdf.write('MATLAB 7.3', 'latin1');
    const big = Buffer.concat([good]);
    big.write('MI', 126, 'latin1');
    const files = { 'hdf.mat': hdf, 'big.mat': big, 'none.mat': Buffer.alloc(300), 'short.mat': good.subarray(0, 170) };
    const folder = await folderWith(files);
    const open = async (name: string) => openMatlab(join(folder, name), await sizeOf(join(folder, name)));
    await expect(open('hdf.mat')).rejects.toThrow(/v7\.3 file, which is HDF5; in MATLAB save it again/);
    await expect(open('big.mat')).rejects.toThrow(/big-endian/);
    await expect(open('none.mat')).rejects.toThrow(/is not a MATLAB v5 file/);
    await expect(open('short.mat')).rejects.toThrow(/cut short/);
  });

  it('with any byte damaged is read or refused, never a crash', async () => {
    const good = matBytes(
      [
        { name: 'x', rows: [[1], [2], [3]] },
        { name: 'rpm', rows: [[1797]], storage: 'int16' },
      ],
      { compressed: true },
    );
    const plain = await readFile(path('scipy-plain.mat'));
    const folder = await folderWith({});
    const damaged = fc
      .constantFrom(good, plain)
      .chain((bytes) => fc.tuple(fc.constant(bytes), fc.integer({ min: 0, max: bytes.length - 1 }), fc.integer({ min: 0, max: 255 })));
    await fc.assert(
      fc.asyncProperty(damaged, async ([bytes, at, value]) => {
        const copy = Buffer.from(bytes);
        copy[at] = value;
        await writeFile(join(folder, 'a.mat'), copy);
        const outcome = await openMatlab(join(folder, 'a.mat'), copy.length).then(
          () => 'read',
          (cause) => cause.name,
        );
        expect(['read', 'Refusal']).toContain(outcome);
      }),
      { numRuns: 300 },
    );
  });
});

describe('a Parquet file', () => {
  it('gives the columns that pyarrow wrote, each compressed in another way, over several row groups', async () => {
    const table = await openParquet(join(FIXTURES, 'pyarrow.parquet'));
    expect(table.columns.map(({ name, kind }) => `${name}:${kind}`)).toEqual([
      'time:time',
      'x:channel',
      'y:channel',
      'z:channel',
      'w:channel',
      'v:channel',
      'state:text',
    ]);
    const rows = await rowsOf(table, [1, 2, 3, 4, 5]);
    expect(rows).toEqual(Array.from({ length: 40 }, (_, k) => [k * 0.5, -k + 0, k * 0.25, k * 10, k * 2].map((one) => one + 0)));
    const times = await rowsOf(table, [0]);
    expect(times[39][0] - times[0][0]).toBeCloseTo(39 * 500e-6, 6);
  });

  it('shows a missing value as one, not as zero', async () => {
    expect(await rowsOf(await openParquet(join(FIXTURES, 'missing.parquet')))).toEqual([[1], [Number.NaN], [3]]);
  });

  it('that is none is refused', async () => {
    const folder = await folderWith({ 'a.parquet': 'not at all a parquet file' });
    await expect(openParquet(join(folder, 'a.parquet'))).rejects.toThrow(/cannot be read as Parquet/);
  });
});
