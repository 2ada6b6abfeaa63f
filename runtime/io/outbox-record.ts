import { crc32c } from '../../firmware-bridge/codec/crc32c.ts';

/**
 * Records of the outbox, one behind the other in a segment file:
 *
 * | bytes | what |
 * |---|---|
 * | 4 | `TREM` |
 * | 4 | length of the body, little-endian |
 * | 4 | CRC-32C of the length and the body |
 * | body | kind (1 byte), number (8 bytes, float64: exact to 2^53), then for a message: retain (1), length of the topic (2), topic, payload |
 *
 * A record is a message, or the note that all messages up to a number have been acknowledged.
 */
export type OutboxRecord =
  | { readonly kind: 'message'; readonly number: number; readonly topic: string; readonly retain: boolean; readonly payload: Uint8Array }
  | { readonly kind: 'acknowledged'; readonly number: number };

const MARK = Buffer.from('TREM', 'latin1');
const HEADER_BYTES = 12;
const FIXED_BYTES = 9;
const KINDS = { message: 1, acknowledged: 2 } as const;

/** Bytes of the longest body: larger is damage, or a message that has no place here. */
const LARGEST_BODY_BYTES = 1 << 20;

/** @throws RangeError for a message beyond LARGEST_BODY_BYTES */
export function encodeRecord(record: OutboxRecord): Buffer {
  const topic = record.kind === 'message' ? Buffer.from(record.topic, 'utf8') : Buffer.alloc(0);
  const payload = record.kind === 'message' ? record.payload : new Uint8Array();
  const bodyBytes = FIXED_BYTES + (record.kind === 'message' ? 3 + topic.length + payload.length : 0);
  if (bodyBytes > LARGEST_BODY_BYTES) throw new RangeError(`a message of ${payload.length} bytes is too long for the outbox`);
  const bytes = Buffer.alloc(HEADER_BYTES + bodyBytes);
  MARK.copy(bytes, 0);
  bytes.writeUInt32LE(bodyBytes, 4);
  let at = HEADER_BYTES;
  at = bytes.writeUInt8(KINDS[record.kind], at);
  at = bytes.writeDoubleLE(record.number, at);
  if (record.kind === 'message') {
    at = bytes.writeUInt8(record.retain ? 1 : 0, at);
    at = bytes.writeUInt16LE(topic.length, at);
    at += topic.copy(bytes, at);
    bytes.set(payload, at);
  }
  bytes.writeUInt32LE(checksum(bytes, 0, bodyBytes), 8);
  return bytes;
}

function checksum(bytes: Uint8Array, at: number, bodyBytes: number): number {
  // The checksum stands between what it covers; the length's checksum is mixed in so that both are proved by one number.
  return (crc32c(bytes, at + HEADER_BYTES, at + HEADER_BYTES + bodyBytes) ^ crc32c(bytes, at + 4, at + 8)) >>> 0;
}

export interface ReadRecord {
  readonly record: OutboxRecord;
  /** Where it begins and ends in the segment. */
  readonly start: number;
  readonly end: number;
}

/**
 * The next whole record at or behind `from`. What is between is damage: a torn write, or bytes that the disk has changed.
 *
 * @returns undefined where no whole record follows
 */
export function readRecord(bytes: Buffer, from: number): ReadRecord | undefined {
  for (let start = bytes.indexOf(MARK, from); start >= 0; start = bytes.indexOf(MARK, start + 1)) {
    if (start + HEADER_BYTES > bytes.length) return undefined;
    const bodyBytes = bytes.readUInt32LE(start + 4);
    const end = start + HEADER_BYTES + bodyBytes;
    if (bodyBytes < FIXED_BYTES || bodyBytes > LARGEST_BODY_BYTES || end > bytes.length) continue;
    if (checksum(bytes, start, bodyBytes) !== bytes.readUInt32LE(start + 8)) continue;
    const record = decodeBody(bytes.subarray(start + HEADER_BYTES, end));
    if (record) return { record, start, end };
  }
  return undefined;
}

function decodeBody(body: Buffer): OutboxRecord | undefined {
  const kind = body.readUInt8(0);
  const number = body.readDoubleLE(1);
  if (!Number.isSafeInteger(number) || number < 0) return undefined;
  if (kind === KINDS.acknowledged) return { kind: 'acknowledged', number };
  if (kind !== KINDS.message || body.length < FIXED_BYTES + 3) return undefined;
  const topicEnd = FIXED_BYTES + 3 + body.readUInt16LE(FIXED_BYTES + 1);
  if (topicEnd > body.length) return undefined;
  return {
    kind: 'message',
    number,
    retain: body.readUInt8(FIXED_BYTES) === 1,
    topic: body.toString('utf8', FIXED_BYTES + 3, topicEnd),
    payload: body.subarray(topicEnd),
  };
}
