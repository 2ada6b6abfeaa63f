const ZERO = 0x30;
const NINE = 0x39;

/** Powers of ten that a double holds exactly. */
const POWERS = Float64Array.from({ length: 23 }, (_, n) => Number(`1e${n}`));

const GRAMMAR = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

/**
 * Reads a decimal number from the characters `bytes[from..to)`, spaces around it allowed; NaN where it is none ("nan" and "inf" are none).
 *
 * Without a string for most numbers: up to 15 digits and a power of ten up to 22 are exact in a double, so one multiplication or division rounds
 * once and is right (Clinger, "How to read floating point numbers accurately", PLDI 1990). Others go through `Number`.
 *
 * @param decimalPoint character code of the decimal point: a comma in much of the world
 */
export function parseDecimal(bytes: Uint8Array, from: number, to: number, decimalPoint = 0x2e): number {
  let at = from;
  let end = to;
  while (at < end && isSpace(bytes[at])) at++;
  while (end > at && isSpace(bytes[end - 1])) end--;
  const begin = at;
  const negative = bytes[at] === 0x2d;
  if (at < end && (negative || bytes[at] === 0x2b)) at++;
  let mantissa = 0;
  let digits = 0;
  let behindPoint = -1;
  for (; at < end; at++) {
    const byte = bytes[at];
    if (byte >= ZERO && byte <= NINE) {
      if (++digits > 15) return slowly(bytes, begin, end, decimalPoint);
      mantissa = mantissa * 10 + byte - ZERO;
      if (behindPoint >= 0) behindPoint++;
    } else if (byte === decimalPoint && behindPoint < 0) {
      behindPoint = 0;
    } else {
      return slowly(bytes, begin, end, decimalPoint);
    }
  }
  if (digits === 0) return Number.NaN;
  const value = behindPoint > 0 ? mantissa / POWERS[behindPoint] : mantissa;
  return negative ? -value : value;
}

function slowly(bytes: Uint8Array, from: number, to: number, decimalPoint: number): number {
  const point = String.fromCharCode(decimalPoint);
  const text = String.fromCharCode(...bytes.subarray(from, to));
  // With a comma for a point, a point separates thousands, and 1.234 would be read a thousand times too small.
  if (point !== '.' && text.includes('.')) return Number.NaN;
  const plain = text.replace(point, '.');
  return GRAMMAR.test(plain) ? Number(plain) : Number.NaN;
}

const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x09;
