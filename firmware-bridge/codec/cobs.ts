/** A COBS block carries at most this many data bytes behind its code byte. */
const LONGEST_RUN = 254;

/** Bytes that COBS needs at most for `length` bytes, without the delimiter. An empty input still takes its one code byte. */
export function cobsMaxLength(length: number): number {
  return length + Math.max(1, Math.ceil(length / LONGEST_RUN));
}

/**
 * Encodes `bytes` so that no byte of the result is 0x00, which frees 0x00 to delimit frames. The delimiter is not appended.
 *
 * Source: Cheshire and Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7(2), 1999. A run of 254 bytes that
 * ends the input gets no empty block behind it: encoders differ there, decoders (ours too) read both.
 */
export function cobsEncode(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(cobsMaxLength(bytes.length));
  let codeAt = 0;
  let write = 1;
  for (let read = 0; read < bytes.length; read++) {
    if (bytes[read] !== 0) {
      out[write++] = bytes[read];
      if (write - codeAt <= LONGEST_RUN || read === bytes.length - 1) continue;
    }
    // A zero ends the block and is not written; a full block ends without one.
    out[codeAt] = write - codeAt;
    codeAt = write++;
  }
  out[codeAt] = write - codeAt;
  return out.subarray(0, write);
}

/**
 * Decodes `encoded[0..length)`, one frame without its delimiter, into `out` and returns the number of bytes written, or -1 where the input is
 * not COBS: empty, a zero inside, or a block that reaches beyond the end. `out` may be `encoded` itself, since what is written never
 * overtakes what is read; otherwise it must hold `length` - 1 bytes.
 */
export function cobsDecode(encoded: Uint8Array, length: number, out: Uint8Array): number {
  if (length === 0) return -1;
  let read = 0;
  let write = 0;
  while (read < length) {
    const code = encoded[read++];
    const blockEnd = read + code - 1;
    if (code === 0 || blockEnd > length) return -1;
    while (read < blockEnd) {
      const byte = encoded[read++];
      if (byte === 0) return -1;
      out[write++] = byte;
    }
    if (code <= LONGEST_RUN && read < length) out[write++] = 0;
  }
  return write;
}
