import { cobsDecode, cobsMaxLength } from './cobs.ts';
import { decodeFrame } from './decode.ts';
import { createSampleFrame, type Frame, MAX_FRAME_BYTES, type RefusalCode } from './frame.ts';

/** Bytes that a reader holds at most: the longest frame after COBS. */
export const MAX_ENCODED_BYTES = cobsMaxLength(MAX_FRAME_BYTES);

/**
 * What has happened on one serial line since the reader was made. At any moment
 * `bytes = frameBytes + idleBytes + skippedBytes + reader.pendingBytes`.
 */
export interface LinkHealth {
  /** Bytes received. */
  bytes: number;
  /** Frames accepted. */
  frames: number;
  /** Bytes of accepted frames, with their COBS overhead and delimiter. */
  frameBytes: number;
  /** Delimiters with nothing before them: some senders put one before each frame as well. */
  idleBytes: number;
  /** Bytes thrown away: of refused frames, and of the piece of a frame before the first delimiter after opening. */
  skippedBytes: number;
  /** Pieces that are not COBS. Line noise, a wrong baud rate, or a byte lost by the driver. */
  cobsErrors: number;
  /** COBS, but the CRC differs. Line noise that hit neither delimiter nor block structure. */
  crcErrors: number;
  /** Too few bytes for any frame. Noise, or a stray delimiter in a frame. */
  tooShort: number;
  /** More bytes than the longest frame. A lost delimiter, another protocol, or a wrong baud rate. */
  tooLong: number;
  /** Sound bytes of another version of the format. The firmware must be updated, or the gateway. */
  badVersion: number;
  /** Sound bytes of a type that this version does not know. */
  badType: number;
  /** Sound bytes whose length is not what their header says. A mistake in the firmware. */
  badLength: number;
  /** Sound bytes with a field that cannot be, such as a scale of zero. A mistake in the firmware. */
  badField: number;
}

/** The counter that each refusal adds to. */
const COUNTER: Readonly<Record<RefusalCode, keyof LinkHealth>> = {
  tooShort: 'tooShort',
  tooLong: 'tooLong',
  badCrc: 'crcErrors',
  badVersion: 'badVersion',
  badType: 'badType',
  badFlags: 'badField',
  badStream: 'badField',
  badChannelCount: 'badField',
  badSampleCount: 'badField',
  badLength: 'badLength',
  badTime: 'badField',
  badRate: 'badField',
  badScale: 'badField',
  badShaftSpeed: 'badField',
  badText: 'badField',
};

/**
 * Called for each frame. Both arguments lie in the reader's own memory and are valid only during the call; `payload` is the frame's bytes as
 * they would travel in MQTT, which `decodeFrame` has accepted.
 */
export type OnFrame = (frame: Frame, payload: Uint8Array) => void;

/**
 * Finds frames in a byte stream: COBS frames that end with 0x00.
 *
 * Chunks may be cut anywhere. After damage the reader is in step again at the next delimiter, so a damaged byte costs one frame, or two where
 * it was the delimiter between them. Noise is counted in `health` and never throws. Memory is fixed: MAX_ENCODED_BYTES and one sample frame.
 */
export class FrameReader {
  readonly health: LinkHealth = {
    bytes: 0,
    frames: 0,
    frameBytes: 0,
    idleBytes: 0,
    skippedBytes: 0,
    cobsErrors: 0,
    crcErrors: 0,
    tooShort: 0,
    tooLong: 0,
    badVersion: 0,
    badType: 0,
    badLength: 0,
    badField: 0,
  };

  readonly #onFrame: OnFrame;
  readonly #buffer = new Uint8Array(MAX_ENCODED_BYTES);
  readonly #sampleFrame = createSampleFrame();
  #length = 0;
  /** The current piece outgrew the buffer: its bytes are skipped up to the next delimiter. */
  #overlong = false;
  /** No delimiter was seen since opening: the current piece may be the end of a frame whose begin was never received, which is no error. */
  #joining = true;

  constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame;
  }

  /** Bytes received whose delimiter has not arrived yet. */
  get pendingBytes(): number {
    return this.#length;
  }

  /** Takes the next bytes of the stream. `chunk` is not kept. An error that `onFrame` throws goes to the caller; the rest of `chunk` is lost. */
  push(chunk: Uint8Array): void {
    let from = 0;
    while (from < chunk.length) {
      const delimiter = chunk.indexOf(0, from);
      const to = delimiter < 0 ? chunk.length : delimiter;
      this.health.bytes += to - from;
      this.#append(chunk, from, to);
      if (delimiter < 0) return;
      this.health.bytes++;
      this.#endOfPiece();
      from = delimiter + 1;
    }
  }

  /** Forgets the piece in hand. To be called when the port was opened again: what comes next is not the continuation of what came last. */
  reset(): void {
    this.health.skippedBytes += this.#length;
    this.#length = 0;
    this.#overlong = false;
    this.#joining = true;
  }

  #append(chunk: Uint8Array, from: number, to: number): void {
    if (this.#overlong) {
      this.health.skippedBytes += to - from;
    } else if (this.#length + to - from > MAX_ENCODED_BYTES) {
      // Counted now: on a line without delimiters (a wrong baud rate) it must show too.
      this.#overlong = true;
      this.health.tooLong++;
      this.health.skippedBytes += this.#length + to - from;
      this.#length = 0;
    } else {
      this.#buffer.set(chunk.subarray(from, to), this.#length);
      this.#length += to - from;
    }
  }

  #endOfPiece(): void {
    const { health } = this;
    const length = this.#length;
    const joining = this.#joining;
    const overlong = this.#overlong;
    // First, so that the reader is in order even if onFrame throws.
    this.#length = 0;
    this.#joining = false;
    this.#overlong = false;
    if (overlong) {
      health.skippedBytes++;
      return;
    }
    if (length === 0) {
      health.idleBytes++;
      return;
    }
    const decoded = cobsDecode(this.#buffer, length, this.#buffer);
    const payload = this.#buffer.subarray(0, Math.max(0, decoded));
    const frame = decoded < 0 ? undefined : decodeFrame(payload, this.#sampleFrame);
    if (frame === undefined || frame.kind === 'refused') {
      health.skippedBytes += length + 1;
      if (!joining) health[frame === undefined ? 'cobsErrors' : COUNTER[frame.code]]++;
      return;
    }
    health.frames++;
    health.frameBytes += length + 1;
    this.#onFrame(frame, payload);
  }
}
