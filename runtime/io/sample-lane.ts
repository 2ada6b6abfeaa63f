/** First byte of a PUBLISH with QoS 0, neither repeated nor retained (MQTT 3.1.1 and 5.0, 3.3.1). */
const PUBLISH = 0x30;
/** Longest packet that is taken in pieces; longer ones go by the client as they come. */
const LARGEST_PACKET_BYTES = 1 << 16;

const NONE = Buffer.alloc(0);

/** @returns whether the message was taken; the payload is valid during the call */
export type TakeMessage = (topic: string, payload: Uint8Array) => boolean;

/**
 * Takes sample messages out of the bytes that a broker sends, before the client's own parser, which spends ten times as long on each. All else, and
 * every packet that looks wrong, is handed on byte for byte and in order, so that the client sees a connection on which those messages were never
 * sent. They are QoS 0, of which nobody waits for an answer.
 *
 * MQTT 3.1.1 and 5.0; properties are skipped. One lane a connection.
 */
export class SampleLane {
  readonly #version: number;
  readonly #take: TakeMessage;
  readonly #handOn: (bytes: Buffer) => void;
  /** Bytes of a packet that is not whole yet and may be ours. */
  #held: Buffer = NONE;
  /** Bytes of a packet that is not ours, still to come. */
  #passing = 0;

  /** @param version 4 for MQTT 3.1.1, 5 for 5.0 @param take asked for every message of QoS 0, once */
  constructor(version: number, take: TakeMessage, handOn: (bytes: Buffer) => void) {
    this.#version = version;
    this.#take = take;
    this.#handOn = handOn;
  }

  /** @param arrived used during the call only */
  push(arrived: Buffer): void {
    const bytes = this.#held.length > 0 ? Buffer.concat([this.#held, arrived]) : arrived;
    this.#held = NONE;
    /** Where what is to be handed on begins: all from there to `at`. */
    let from = 0;
    let at = Math.min(this.#passing, bytes.length);
    this.#passing -= at;
    while (at < bytes.length) {
      const packet = readHead(bytes, at);
      const whole = packet !== undefined && packet.end <= bytes.length;
      if (!packet || (!whole && bytes[at] === PUBLISH && packet.end - at <= LARGEST_PACKET_BYTES)) {
        this.#held = Buffer.from(bytes.subarray(at));
        break;
      }
      if (whole && bytes[at] === PUBLISH) {
        if (at > from) this.#handOn(Buffer.from(bytes.subarray(from, at)));
        from = this.#offer(bytes, packet.body, packet.end) ? packet.end : at;
      } else if (!whole) this.#passing = packet.end - bytes.length;
      at = Math.min(packet.end, bytes.length);
    }
    if (at > from) this.#handOn(Buffer.from(bytes.subarray(from, at)));
  }

  #offer(bytes: Buffer, body: number, end: number): boolean {
    if (body + 2 > end) return false;
    const topicAt = body + 2;
    const topicEnd = topicAt + 256 * bytes[body] + bytes[body + 1];
    if (topicEnd > end) return false;
    let payloadAt = topicEnd;
    if (this.#version === 5) {
      const properties = readLength(bytes, topicEnd);
      if (!properties || properties.at + properties.value > end) return false;
      payloadAt = properties.at + properties.value;
    }
    return this.#take(bytes.toString('utf8', topicAt, topicEnd), bytes.subarray(payloadAt, end));
  }
}

/** Where a packet's body begins and where the packet ends; undefined while its head is not whole. */
function readHead(bytes: Uint8Array, at: number): { readonly body: number; readonly end: number } | undefined {
  const length = readLength(bytes, at + 1);
  if (length) return { body: length.at, end: length.at + length.value };
  // Four bytes that all announce another are no length (1.5.5): no packet can be found behind them, and the client shall see why.
  return bytes.length - at > 4 ? { body: at, end: Number.POSITIVE_INFINITY } : undefined;
}

/** A variable byte integer and where it ends; undefined where it is not whole, or longer than four bytes. */
function readLength(bytes: Uint8Array, at: number): { readonly value: number; readonly at: number } | undefined {
  let value = 0;
  for (let index = 0; index < 4 && at + index < bytes.length; index++) {
    const byte = bytes[at + index];
    value += (byte & 127) * 128 ** index;
    if (byte < 128) return { value, at: at + index + 1 };
  }
  return undefined;
}
