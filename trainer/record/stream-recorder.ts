import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ChannelDescription, SampleFrame } from '../../firmware-bridge/codec/frame.ts';
import { SequenceTracker } from '../../firmware-bridge/codec/sequence.ts';

/** What ends a recording: no gap, restart or change of scale lies inside one. */
type Break = 'gap' | 'restart' | 'scale' | 'shape';

interface Piece {
  readonly file: string;
  readonly descriptor: number;
  readonly hash: Hash;
  readonly scales: Float32Array;
  readonly sampleRateHz: number;
  readonly epoch: number;
  readonly sequence: number;
  readonly deviceTimeUs: number;
  readonly startedAt: string;
  readonly squares: Float64Array;
  samples: number;
  shaftSpeedSum: number;
  shaftSpeedCount: number;
}

/**
 * Writes one stream into a recording set, losing nothing: the codes as they came, in files that begin anew wherever samples are missing or what
 * a code means has changed.
 */
export class StreamRecorder {
  readonly name: string;
  readonly tracker = new SequenceTracker();
  readonly breaks: Record<Break, number> = { gap: 0, restart: 0, scale: 0, shape: 0 };
  readonly #folder: string;
  readonly #entries: Record<string, unknown>[] = [];
  #piece: Piece | undefined;
  #channels: readonly ChannelDescription[] | undefined;

  /** @param folder of the set, with `rec/` in it */
  constructor(folder: string, name: string) {
    this.#folder = folder;
    this.name = name;
  }

  /** What the device says of its channels. */
  describe(channels: readonly ChannelDescription[]): void {
    this.#channels = channels;
  }

  /** Takes a frame, which may be used again afterwards. @throws Error of the file system */
  take(frame: SampleFrame): void {
    const arrival = this.tracker.accept(frame);
    if (arrival === 'late') return;
    const broken = this.#breakBefore(frame, arrival);
    if (broken) {
      this.breaks[broken]++;
      this.#end();
    }
    const piece = this.#piece ?? this.#begin(frame);
    const count = frame.samplesPerChannel * frame.channelCount;
    // A copy: the frame's own memory is longer, and used again.
    const codes = frame.samples.slice(0, count);
    const bytes = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
    writeSync(piece.descriptor, bytes);
    piece.hash.update(bytes);
    for (let at = 0; at < count; at++) piece.squares[at % frame.channelCount] += codes[at] ** 2;
    piece.samples += frame.samplesPerChannel;
    if (frame.shaftSpeedRpm !== undefined) {
      piece.shaftSpeedSum += frame.shaftSpeedRpm;
      piece.shaftSpeedCount++;
    }
  }

  /** Ends the last recording. @returns entries of dataset.json */
  finish(): readonly Record<string, unknown>[] {
    this.#end();
    return this.#entries;
  }

  #breakBefore(frame: SampleFrame, arrival: string): Break | undefined {
    const piece = this.#piece;
    if (!piece) return undefined;
    if (arrival === 'gap' || arrival === 'restart') return arrival;
    if (piece.scales.length !== frame.channelCount || piece.sampleRateHz !== frame.sampleRateHz) return 'shape';
    return piece.scales.every((scale, channel) => scale === frame.scales[channel]) ? undefined : 'scale';
  }

  #begin(frame: SampleFrame): Piece {
    const file = `rec/${this.name}_${String(this.#entries.length).padStart(4, '0')}.i16`;
    this.#piece = {
      file,
      descriptor: openSync(join(this.#folder, file), 'wx'),
      hash: createHash('sha256'),
      scales: frame.scales.slice(0, frame.channelCount),
      sampleRateHz: frame.sampleRateHz,
      epoch: frame.epoch,
      sequence: frame.sequence,
      deviceTimeUs: frame.deviceTimeUs,
      startedAt: new Date().toISOString(),
      squares: new Float64Array(frame.channelCount),
      samples: 0,
      shaftSpeedSum: 0,
      shaftSpeedCount: 0,
    };
    return this.#piece;
  }

  #end(): void {
    const piece = this.#piece;
    if (!piece) return;
    this.#piece = undefined;
    closeSync(piece.descriptor);
    const channelCount = piece.scales.length;
    const described = this.#channels?.length === channelCount ? this.#channels : undefined;
    this.#entries.push({
      file: piece.file,
      n_samples: piece.samples,
      n_channels: channelCount,
      ...(described && isDistinct(described) && { channels: described.map(({ name }) => name), units: described.map(({ unit }) => unit) }),
      dtype: 'int16',
      scale: Array.from(piece.scales),
      sample_rate_hz: piece.sampleRateHz,
      stream: this.name,
      epoch: piece.epoch,
      first_sequence: piece.sequence,
      first_device_us: piece.deviceTimeUs,
      started_at: piece.startedAt,
      ...(piece.shaftSpeedCount > 0 && { shaft_speed_rpm: piece.shaftSpeedSum / piece.shaftSpeedCount }),
      rms: Array.from(piece.squares, (sum, channel) => Math.sqrt(sum / piece.samples) * Math.abs(piece.scales[channel])),
      sha256: piece.hash.digest('hex'),
    });
  }
}

/** A set's channels are told apart by their names. */
function isDistinct(channels: readonly ChannelDescription[]): boolean {
  return new Set(channels.map(({ name }) => name)).size === channels.length && channels.every(({ name }) => name !== '');
}
