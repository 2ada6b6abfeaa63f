import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ForeignHealth, foreignFormatSchema, LARGEST_BLOCK, LARGEST_MESSAGE_BYTES } from '../../../runtime/sources/index.ts';
import { bytesOf, recorder } from './recorder.ts';

const base = { channels: 2, sampleRateHz: 1_000, range: 100 };
const rows = { ...base, format: 'json', path: '$.data.values[*]' };
const columns = { ...base, format: 'json', path: ['$.x', '$.y'] };
const csv = { ...base, format: 'csv' };
const german = { ...base, format: 'csv', delimiter: ';', decimal: ',', columns: [3, 1] };
const int16 = { channels: 2, sampleRateHz: 1_000, format: 'int16' };
const int32 = { ...base, format: 'int32' };
const float32 = { ...base, format: 'float32' };

const raw = (list: Int16Array | Int32Array | Float32Array) => new Uint8Array(list.buffer);

/** Counters that a message moves, besides `bytes`. */
function moved(health: ForeignHealth): Partial<ForeignHealth> {
  return Object.fromEntries(Object.entries(health).filter(([name, value]) => name !== 'bytes' && value !== 0));
}

/** What a message is in a format: its samples, and the counters. */
const messages: [string, unknown, Uint8Array, number[][], Partial<ForeignHealth>][] = [
  [
    'JSON rows',
    rows,
    bytesOf('{"data":{"values":[[1,2],[3,-4.5]]}}'),
    [
      [1, 2],
      [3, -4.5],
    ],
    { samples: 2 },
  ],
  [
    'JSON numbers one after the other',
    rows,
    bytesOf('{"data":{"values":[1,2,3,4]}}'),
    [
      [1, 2],
      [3, 4],
    ],
    { samples: 2 },
  ],
  ['JSON with text beyond ASCII', rows, bytesOf('{"ort":"Straße","data":{"values":[[1,2]]}}'), [[1, 2]], { samples: 1 }],
  ['an empty JSON array', rows, bytesOf('{"data":{"values":[]}}'), [], {}],
  ['one JSON sample by a path a channel', columns, bytesOf('{"y":2,"x":1}'), [[1, 2]], { samples: 1 }],
  [
    'JSON arrays by channel',
    { ...columns, path: ['$.x[*]', '$.y[*]'] },
    bytesOf('{"x":[1,2],"y":[3,4]}'),
    [
      [1, 3],
      [2, 4],
    ],
    { samples: 2 },
  ],
  [
    'JSON objects',
    { ...columns, path: ['$[*].x', '$[*].y'] },
    bytesOf('[{"x":1,"y":2},{"x":3,"y":4}]'),
    [
      [1, 2],
      [3, 4],
    ],
    { samples: 2 },
  ],
  ['one JSON array as a sample', { ...columns, path: '$.v' }, bytesOf('{"v":[1,2]}'), [[1, 2]], { samples: 1 }],
  ['a JSON number as a sample', { ...base, channels: 1, format: 'json', path: '$' }, bytesOf('7'), [[7]], { samples: 1 }],
  ['a JSON row with a number less', rows, bytesOf('{"data":{"values":[[1],[3,4]]}}'), [[3, 4]], { samples: 1, wrongChannels: 1 }],
  ['a JSON row with text', rows, bytesOf('{"data":{"values":[[1,2],["3",4]]}}'), [[1, 2]], { samples: 1, malformed: 1 }],
  ['a JSON row with null', rows, bytesOf('{"data":{"values":[[1,null],[3,4]]}}'), [[3, 4]], { samples: 1, notFinite: 1 }],
  ['a JSON number beyond float32', rows, bytesOf('{"data":{"values":[[1,1e39]]}}'), [], { notFinite: 1 }],
  ['an odd count of JSON numbers', rows, bytesOf('{"data":{"values":[1,2,3]}}'), [], { wrongChannels: 1 }],
  [
    'JSON columns that differ in length',
    { ...columns, path: ['$.x[*]', '$.y[*]'] },
    bytesOf('{"x":[1,2],"y":[3]}'),
    [],
    { wrongChannels: 1 },
  ],
  ['JSON without the path', rows, bytesOf('{"data":{"other":[[1,2]]}}'), [], { malformed: 1 }],
  ['JSON without one of the channels', columns, bytesOf('{"x":1}'), [], { wrongChannels: 1 }],
  ['JSON without any channel', columns, bytesOf('{"z":1}'), [], { malformed: 1 }],
  ['a document that is no JSON', rows, bytesOf('{"data":'), [], { malformed: 1 }],
  ['bytes that are no UTF-8', rows, Uint8Array.of(0x22, 0xff, 0x22), [], { malformed: 1 }],
  [
    'CSV lines',
    csv,
    bytesOf('1,2\n3,-4.5\n'),
    [
      [1, 2],
      [3, -4.5],
    ],
    { samples: 2 },
  ],
  [
    'CSV with CR LF, spaces, a blank line and no last end',
    csv,
    bytesOf('1, 2\r\n\r\n 3 ,4'),
    [
      [1, 2],
      [3, 4],
    ],
    { samples: 2 },
  ],
  ['CSV columns out of order with decimal commas', german, bytesOf('t;1,5;x;2,5;rest\n'), [[2.5, 1.5]], { samples: 1 }],
  ['a CSV line with a column less', csv, bytesOf('1\n3,4\n'), [[3, 4]], { samples: 1, wrongChannels: 1 }],
  ['a CSV line with a column more', csv, bytesOf('1,2,3\n3,4\n'), [[3, 4]], { samples: 1, wrongChannels: 1 }],
  ['a CSV line that lacks a wanted column', german, bytesOf('t;1,5;x\n'), [], { wrongChannels: 1 }],
  ['a CSV header', csv, bytesOf('x,y\n3,4\n'), [[3, 4]], { samples: 1, malformed: 1 }],
  ['CSV without a value', csv, bytesOf('1,\n3,NaN\n-inf,2\n3,4\n'), [[3, 4]], { samples: 1, notFinite: 3 }],
  ['a CSV number beyond float32', csv, bytesOf('1e39,2\n'), [], { notFinite: 1 }],
  ['a CSV line beyond the limit', csv, bytesOf(`${'1'.repeat(5_000)},2\n3,4\n`), [[3, 4]], { samples: 1, tooLong: 1, skippedBytes: 5_002 }],
  [
    'int16',
    int16,
    raw(Int16Array.of(1, -2, 32_767, -32_768)),
    [
      [1, -2],
      [32_767, -32_768],
    ],
    { samples: 2 },
  ],
  [
    'int32',
    int32,
    raw(Int32Array.of(1, -2, 2 ** 30, -(2 ** 31))),
    [
      [1, -2],
      [2 ** 30, -(2 ** 31)],
    ],
    { samples: 2 },
  ],
  [
    'float32',
    float32,
    raw(Float32Array.of(1.5, -2, 3e38, 0)),
    [
      [1.5, -2],
      [Math.fround(3e38), 0],
    ],
    { samples: 2 },
  ],
  ['float32 that is no number', float32, raw(Float32Array.of(1, Number.NaN, 3, 4)), [[3, 4]], { samples: 1, notFinite: 1 }],
  ['half an int16 sample', int16, raw(Int16Array.of(1, 2, 3)), [], { malformed: 1, skippedBytes: 6 }],
  [
    'a message beyond the limit',
    rows,
    new Uint8Array(LARGEST_MESSAGE_BYTES + 1),
    [],
    { tooLong: 1, skippedBytes: LARGEST_MESSAGE_BYTES + 1 },
  ],
];

describe('a message with', () => {
  it.each(messages)('%s', (_name, format, payload, samples, health) => {
    const { decoder, samples: got } = recorder(format);
    decoder.message(payload);
    expect(got.map(({ values }) => values)).toEqual(samples);
    expect(decoder.health.bytes).toBe(payload.length);
    expect(moved(decoder.health)).toEqual(health);
    expect(decoder.pendingBytes).toBe(0);
  });

  it.each(messages)('%s leaves the decoder in order for the next', (_name, format, payload, samples) => {
    const { decoder, samples: got } = recorder(format);
    decoder.message(payload);
    decoder.message(payload);
    expect(got.map(({ values }) => values)).toEqual([...samples, ...samples]);
  });
});

describe('what is refused', () => {
  it('is a gap before the next sample, of as many samples as lines were refused', () => {
    const { decoder, samples } = recorder(csv);
    decoder.message(bytesOf('1,2\nx\ny\n3,4\n5,6\nz\n'));
    decoder.message(bytesOf('7,8\n'));
    expect(samples.map(({ lostBefore }) => lostBefore)).toEqual([0, 2, 0, 1]);
  });

  it('is a gap as long as the last good message where a message cannot be read', () => {
    const { decoder, samples } = recorder(rows);
    decoder.message(bytesOf('broken'));
    decoder.message(bytesOf('{"data":{"values":[[1,2],[3,4],[5,6]]}}'));
    decoder.message(bytesOf('broken'));
    decoder.message(bytesOf('{"data":{"values":[]}}'));
    decoder.message(bytesOf('broken'));
    decoder.message(bytesOf('{"data":{"values":[[7,8]]}}'));
    expect(samples.map(({ lostBefore }) => lostBefore)).toEqual([1, 0, 0, 4]);
  });
});

describe('a stream', () => {
  /** Lines and samples of each format, some of them bad, as one run of bytes. */
  const number = fc.oneof(fc.integer({ min: -999, max: 999 }), fc.float({ noNaN: true, noDefaultInfinity: true })).map(String);
  const csvLine = fc.oneof(
    { weight: 8, arbitrary: fc.tuple(number, number).map((row) => row.join(',')) },
    fc.constantFrom('', 'x,y', '1', '1,2,3', ',', '1,nan', '7'.repeat(5_000)),
  );
  const jsonLine = fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .array(fc.tuple(number, number), { maxLength: 5 })
        .map((list) => `{"data":{"values":[${list.map((row) => `[${row}]`)}]}}`),
    },
    fc.constantFrom('', '{', '{"data":{"values":[[1]]}}', '{"data":{"values":[[1,null],[2,3]]}}', '[]', 'ü'),
  );
  const lines = (line: fc.Arbitrary<string>) =>
    fc.array(line, { maxLength: 30 }).map((list) => bytesOf(`begin\n${list.map((one) => `${one}\n`).join('')}`));
  const anyBytes = fc.uint8Array({ maxLength: 200 });
  const syncedBytes = fc
    .array(
      fc.oneof(
        { weight: 5, arbitrary: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((row) => [0xaa, 0x55, ...row]) },
        fc.uint8Array({ maxLength: 5 }).map((noise) => [...noise]),
      ),
      { maxLength: 40 },
    )
    .map((parts) => Uint8Array.from(parts.flat()));
  const formats: [string, unknown, fc.Arbitrary<Uint8Array>][] = [
    ['CSV', csv, lines(csvLine)],
    ['JSON', rows, lines(jsonLine)],
    ['int16', int16, anyBytes],
    ['int16 with sync bytes', { ...int16, sync: 'aa55' }, syncedBytes],
    ['int32', int32, anyBytes],
    ['float32', float32, anyBytes],
    ['random bytes as CSV', csv, fc.uint8Array({ maxLength: 300 })],
    ['random bytes as JSON', rows, fc.uint8Array({ maxLength: 300 })],
  ];

  it.each(formats)('of %s gives the same samples, gaps and counters wherever it is cut', (_name, format, stream) => {
    fc.assert(
      fc.property(stream, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (bytes, cuts) => {
        const whole = recorder(format);
        whole.decoder.push(bytes);
        const cut = recorder(format);
        for (let at = 0, n = 0; at < bytes.length; at += cuts[n++ % cuts.length])
          cut.decoder.push(bytes.slice(at, at + cuts[n % cuts.length]));
        expect(cut.samples).toEqual(whole.samples);
        expect(cut.decoder.health).toEqual(whole.decoder.health);
        expect(cut.decoder.pendingBytes).toBe(whole.decoder.pendingBytes);
      }),
      { numRuns: 300 },
    );
  });

  it('begins with the first whole line: half a number is a number too', () => {
    const { decoder, samples } = recorder(csv);
    decoder.push(bytesOf('2.5,1\n3,4\n5,'));
    decoder.reset();
    decoder.push(bytesOf('6\n7,8\n'));
    expect(samples.map(({ values }) => values)).toEqual([
      [3, 4],
      [7, 8],
    ]);
    expect(moved(decoder.health)).toEqual({ samples: 2, skippedBytes: 5 + 2 + 1 });
  });

  it('hands over each sample with the bytes that complete it', () => {
    const { decoder, samples } = recorder(csv);
    decoder.push(bytesOf('begin\n1,2\n3,'));
    expect(samples.length).toBe(1);
    decoder.push(bytesOf('4\n'));
    expect(samples.length).toBe(2);
  });

  it('of raw samples is in step again after the next sync bytes, and the loss is one refusal', () => {
    const { decoder, samples } = recorder({ ...int16, sync: 'aa55' });
    const sample = (value: number) => [0xaa, 0x55, value, 0, value, 0];
    decoder.push(Uint8Array.from([1, 2, 3, ...sample(1), ...sample(2).slice(0, 4), ...sample(3), ...sample(4), ...sample(5)]));
    expect(samples.map(({ values }) => values[0])).toEqual([1, 2, 4, 5]);
    // The torn sample takes the next one's first bytes for its own: that one value is wrong, which only a checksum could tell.
    expect(samples[1].values[1]).not.toBe(2);
    expect(samples[2].lostBefore).toBe(1);
    expect(moved(decoder.health)).toEqual({ samples: 4, malformed: 1, skippedBytes: 3 + 4 });
  });
});

describe('memory', () => {
  const formats: [string, unknown, number][] = [
    ['CSV', csv, 4_096],
    ['JSON', rows, 65_536],
    ['raw samples with sync bytes', { ...int16, sync: 'aa55' }, 6],
  ];

  it.each(formats)('stays bounded on a line without ends, read as %s', (_name, format, limit) => {
    const { decoder, samples } = recorder(format);
    const noise = new Uint8Array(1_000).fill(0x37);
    for (let n = 0; n < 1_000; n++) {
      decoder.push(noise);
      if (decoder.pendingBytes > limit) expect.fail(`${decoder.pendingBytes} bytes pending`);
    }
    expect(samples).toEqual([]);
    expect(decoder.health.skippedBytes).toBeGreaterThan(900_000);
  });

  it('is one block however many samples a message has', () => {
    const { decoder, samples } = recorder(csv);
    const count = 3 * LARGEST_BLOCK + 10;
    decoder.message(bytesOf(Array.from({ length: count }, (_, n) => `${n},0\n`).join('')));
    expect(samples.map(({ values }) => values[0])).toEqual(Array.from({ length: count }, (_, n) => n));
  });
});

describe('a format', () => {
  it.each([
    ['an unknown format', { ...base, format: 'xml' }],
    ['a path that cannot be read', { ...rows, path: '$..x' }],
    ['a path for one channel of two', { ...columns, path: ['$.x'] }],
    ['no range', { ...rows, range: undefined }],
    ['a range of zero', { ...csv, range: 0 }],
    ['a scale of zero', { ...int16, scale: [1, 0] }],
    ['three scales for two channels', { ...int16, scale: [1, 1, 1] }],
    ['the same column twice', { ...csv, columns: [1, 1] }],
    ['three columns for two channels', { ...csv, columns: [1, 2, 3] }],
    ['a delimiter that numbers have', { ...csv, delimiter: '-' }],
    ['a delimiter that is the decimal point', { ...csv, decimal: ',' }],
    ['half a sync byte', { ...int16, sync: 'aa5' }],
    ['no channel', { ...csv, channels: 0 }],
    ['a rate of zero', { ...csv, sampleRateHz: 0 }],
    ['a range for int16, whose codes are kept', { ...int16, range: 5 }],
  ])('with %s is refused', (_name, format) => {
    expect(foreignFormatSchema.safeParse(format).success).toBe(false);
  });
});

describe('the README', () => {
  const readme = readFileSync(new URL('../../../runtime/sources/README.md', import.meta.url), 'utf8');

  it('has a row for each counter, and no row is without a counter', () => {
    const table = readme.slice(readme.indexOf('## What is counted'), readme.indexOf('`ForeignStream.clippedValues`'));
    const names = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
    expect(names).toEqual(Object.keys(recorder(csv).decoder.health));
  });

  it('has paths that fit its documents', () => {
    const found = [...readme.matchAll(/^\| `(\[?\$[^`]*)` \| ([^|]*)\|$/gm)];
    expect(found.length).toBe(5);
    for (const [, text, documents] of found) {
      const path = text.startsWith('[') ? text.slice(1, -1).split(', ') : text;
      for (const [, document] of documents.matchAll(/`(\{[^`]*)`/g)) {
        const { decoder, samples } = recorder({ ...base, format: 'json', path });
        decoder.message(bytesOf(document));
        expect(
          samples.map(({ values }) => values),
          text,
        ).toEqual(
          [
            [1, 2],
            [3, 4],
          ].slice(0, samples.length),
        );
        expect(samples.length, text).toBeGreaterThan(0);
        expect(moved(decoder.health)).toEqual({ samples: samples.length });
      }
    }
  });
});
