/** Bytes of a chunk besides its head; the last one of an object is shorter. */
export const CHUNK_BYTES = 4096;
/** Head of a chunk's payload: length of the whole object, unsigned 32 bits, little-endian. */
export const CHUNK_HEAD_BYTES = 4;

/** Chunks that an object of so many bytes is sent in. One of no bytes is one chunk of none, so that its length can be told. */
export function sentChunks(objectBytes: number): number {
  return Math.max(1, Math.ceil(objectBytes / CHUNK_BYTES));
}

/** @param bytes of this chunk alone */
export function encodeChunk(objectBytes: number, bytes: Uint8Array): Uint8Array {
  const payload = new Uint8Array(CHUNK_HEAD_BYTES + bytes.length);
  new DataView(payload.buffer).setUint32(0, objectBytes, true);
  payload.set(bytes, CHUNK_HEAD_BYTES);
  return payload;
}

/** @returns what the payload claims, a view of its bytes; undefined where it is cut short within its head */
export function decodeChunk(payload: Uint8Array): { readonly objectBytes: number; readonly bytes: Uint8Array } | undefined {
  if (payload.length < CHUNK_HEAD_BYTES) return undefined;
  const objectBytes = new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
  return { objectBytes, bytes: payload.subarray(CHUNK_HEAD_BYTES) };
}
