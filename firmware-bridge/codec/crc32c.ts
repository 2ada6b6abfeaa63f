/** The Castagnoli polynomial 0x1EDC6F41, bits reversed because the register shifts right. */
const POLYNOMIAL = 0x82f63b78;

const [TABLE_0, TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7] = sliceTables();

/** Table n advances the register by one byte and then by n zero bytes, so that eight bytes cost eight independent look-ups. */
function sliceTables(): readonly Int32Array[] {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let register = byte;
    for (let bit = 0; bit < 8; bit++) register = register & 1 ? (register >>> 1) ^ POLYNOMIAL : register >>> 1;
    tables[0][byte] = register;
  }
  for (let n = 1; n < 8; n++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[n - 1][byte];
      tables[n][byte] = (before >>> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

/**
 * CRC-32C of `bytes[start..end)`, as an unsigned 32-bit number. Its check value, for the ASCII digits 1 to 9, is 0xE3069283.
 *
 * Sources: RFC 3720 appendix B.4 (iSCSI); slicing by eight after Kounavis and Berry, "A systematic approach to building high performance
 * software-based CRC generators" (2005). The plain byte-wise loop is in `../c/tremolo_frame.c`, and tests hold the two together.
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let register = -1;
  let i = start;
  for (; i + 8 <= end; i += 8) {
    register ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    register =
      TABLE_7[register & 0xff] ^
      TABLE_6[(register >>> 8) & 0xff] ^
      TABLE_5[(register >>> 16) & 0xff] ^
      TABLE_4[register >>> 24] ^
      TABLE_3[bytes[i + 4]] ^
      TABLE_2[bytes[i + 5]] ^
      TABLE_1[bytes[i + 6]] ^
      TABLE_0[bytes[i + 7]];
  }
  for (; i < end; i++) register = (register >>> 8) ^ TABLE_0[(register ^ bytes[i]) & 0xff];
  return ~register >>> 0;
}
