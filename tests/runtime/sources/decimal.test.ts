import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDecimal } from '../../../runtime/sources/decimal.ts';

const read = (text: string, point = '.') => {
  const bytes = new Uint8Array(Buffer.from(`9${text}9`, 'latin1'));
  return parseDecimal(bytes, 1, bytes.length - 1, point.charCodeAt(0));
};

describe('a decimal number', () => {
  it('is read to the last bit as Number reads it, however it is written', () => {
    const number = fc.double({ noNaN: true, noDefaultInfinity: true });
    const written = fc.oneof(
      number.map(String),
      number.map((value) => value.toExponential()),
      fc.tuple(number, fc.integer({ min: 0, max: 20 })).map(([value, digits]) => (value % 1e9).toFixed(digits)),
      fc.tuple(fc.maxSafeInteger(), fc.maxSafeNat()).map(([whole, fraction]) => `${whole}.${fraction}`),
    );
    fc.assert(
      fc.property(written, (text) => Object.is(read(text), Number(text)) && Object.is(read(text.replace('.', ','), ','), Number(text))),
      { numRuns: 5_000 },
    );
  });

  it.each([
    ['1', 1],
    ['+1.50', 1.5],
    [' -.5\t', -0.5],
    ['5.', 5],
    ['1e3', 1000],
    ['1E-3', 0.001],
    ['00012', 12],
    ['-0', -0],
    ['1e999', Number.POSITIVE_INFINITY],
  ])('may be written %j', (text, value) => expect(read(text)).toBe(value));

  it.each(['', ' ', '.', '-', '+-1', '1 2', '1,5', '1.2.3', '0x10', 'nan', 'Infinity', '1e', 'e5', '1e5.5', '1_000', '1a'])(
    'is not %j',
    (text) => expect(read(text)).toBeNaN(),
  );

  it('with a comma has no point, which could only part thousands', () => {
    expect(read('1,5', ',')).toBe(1.5);
    expect(read('1.234,5', ',')).toBeNaN();
    expect(read('1.5', ',')).toBeNaN();
    expect(read('1,234,5', ',')).toBeNaN();
  });
});
