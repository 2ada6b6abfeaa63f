import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cobsDecode, cobsEncode, cobsMaxLength } from '../../firmware-bridge/codec/index.ts';
import { seededRandom } from './vectors/arbitrary.ts';
import { fromHex, toHex } from './vectors/vectors.ts';

const run = (from: number, length: number) => toHex(Uint8Array.from({ length }, (_, i) => ((from - 1 + i) % 255) + 1));

/** Cheshire and Baker 1999, and the examples that the field's implementations share. */
const examples: [string, string, string][] = [
  ['nothing', '', '01'],
  ['one zero', '00', '0101'],
  ['two zeros', '0000', '010101'],
  ['a zero between others', '11220033', '0311220233'],
  ['no zero', '11223344', '0511223344'],
  ['zeros at the end', '11000000', '0211010101'],
  ['253 without a zero', run(1, 253), `fe${run(1, 253)}`],
  ['254 without a zero', run(1, 254), `ff${run(1, 254)}`],
  ['a zero, then 254 without', `00${run(1, 254)}`, `01ff${run(1, 254)}`],
  ['255 without a zero', run(1, 255), `ff${run(1, 254)}02ff`],
  ['254 without a zero, then a zero', `${run(1, 254)}00`, `ff${run(1, 254)}0101`],
  ['253 without a zero, then a zero', `${run(1, 253)}00`, `fe${run(1, 253)}01`],
];

/** Sizes around the blocks' limit, and runs long enough to reach it. */
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 1200, size: 'max' }),
  fc
    .array(
      fc.oneof(
        fc.constant(Uint8Array.of(0)),
        fc.nat(520).map((n) => new Uint8Array(n).fill(7)),
      ),
      { maxLength: 5 },
    )
    .map((parts) => {
      return new Uint8Array(parts.flatMap((part) => [...part]));
    }),
);

function decode(encoded: Uint8Array): Uint8Array | undefined {
  const out = new Uint8Array(encoded.length);
  const length = cobsDecode(encoded, encoded.length, out);
  return length < 0 ? undefined : out.slice(0, length);
}

describe('COBS', () => {
  describe.each(examples)('of %s', (_name, plain, encoded) => {
    it('encodes to the known bytes', () => expect(toHex(cobsEncode(fromHex(plain)))).toBe(encoded));
    it('decodes back', () => expect(toHex(decode(fromHex(encoded))!)).toBe(plain));
  });

  it('round-trips any bytes, without a zero and within its stated length', () => {
    fc.assert(
      fc.property(bytes, (plain) => {
        const encoded = cobsEncode(plain);
        expect(encoded.includes(0)).toBe(false);
        expect(encoded.length).toBeLessThanOrEqual(cobsMaxLength(plain.length));
        expect(toHex(decode(encoded)!)).toBe(toHex(plain));
      }),
    );
  });

  it('decodes in place as it does elsewhere', () => {
    fc.assert(
      fc.property(bytes, (plain) => {
        const encoded = cobsEncode(plain).slice();
        const length = cobsDecode(encoded, encoded.length, encoded);
        expect(toHex(encoded.subarray(0, length))).toBe(toHex(plain));
      }),
    );
  });

  it('reads the empty block that some encoders put behind a full one', () => {
    expect(toHex(decode(fromHex(`ff${run(1, 254)}01`))!)).toBe(run(1, 254));
  });

  it.each([
    ['nothing at all', ''],
    ['a zero inside', '0311002233'],
    ['a zero as code', '00'],
    ['a block that reaches beyond the end', '0511'],
    ['a full block that is cut', 'ff01'],
  ])('refuses %s', (_name, encoded) => {
    expect(decode(fromHex(encoded))).toBeUndefined();
  });

  it('never writes more than it has read, whatever the bytes', () => {
    const random = seededRandom(1);
    for (let i = 0; i < 20_000; i++) {
      const encoded = Uint8Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * (random() < 0.5 ? 12 : 256)));
      const decoded = decode(encoded);
      if (decoded) expect(decoded.length).toBeLessThan(encoded.length);
    }
  });
});
