import { Refusal } from '../refusal.ts';
import { type Recording, type RecordingEntry, type RecordingSet, readRecording, type SampleRange } from './recording-set.ts';
import { resampleRecording } from './resample.ts';

/** A recording, or a time block of it: what a split deals out. */
export interface Piece {
  readonly entry: RecordingEntry;
  /** In samples of the file, at its own rate; the whole recording where absent. */
  readonly range?: SampleRange;
}

/** A piece with its samples. */
export type ReadPiece = Recording & Piece;

/** Samples of the file that a piece holds. */
export function pieceLength({ entry, range }: Piece): number {
  return range?.length ?? entry.n_samples;
}

/** How many samples at `rateHz` last as long as so many samples of a file; those of the file itself where no rate is given. */
export interface BlockOptions {
  /** Samples a window; so many lie between two time blocks of one recording. Default 512. */
  readonly window?: number;
  /** Rate at which windows are cut, where recordings are resampled; each recording's own where absent. */
  readonly rateHz?: number;
}

/**
 * A recording cut in two by time: its last `share`, and what lies before that and a gap of one window. Neither cut divides a snapshot.
 *
 * @returns undefined where either part would be shorter than a window
 */
export function timeBlocks(entry: RecordingEntry, share: number, { window = 512, rateHz }: BlockOptions = {}): [Piece, Piece] | undefined {
  const gap = Math.ceil((window * entry.sample_rate_hz) / (rateHz ?? entry.sample_rate_hz));
  const snapshot = Number.isInteger(entry.snapshot_len) ? (entry.snapshot_len as number) : 1;
  const late = Math.ceil((entry.n_samples * (1 - share)) / snapshot) * snapshot;
  const early = Math.floor((late - gap) / snapshot) * snapshot;
  if (early < gap || entry.n_samples - late < gap) return undefined;
  return [
    { entry, range: { start: 0, length: early } },
    { entry, range: { start: late, length: entry.n_samples - late } },
  ];
}

/**
 * Reads pieces, all of which must have one rate and one set of channels in the end. The entry of a time block is that of its file.
 *
 * @param channels to read; all where absent
 * @param rateHz to resample every piece to, band-limited; its own where absent
 * @throws Refusal data/mixed, and as `readRecording` and `resampleRecording` do
 */
export async function readPieces(
  set: RecordingSet,
  pieces: readonly Piece[],
  channels?: readonly string[],
  rateHz?: number,
): Promise<ReadPiece[]> {
  const recordings: ReadPiece[] = [];
  for (const { entry, range } of pieces) {
    const recording = await readRecording(set, entry, channels, range);
    const resampled = rateHz === undefined ? recording : resampleRecording(recording, rateHz);
    recordings.push(range ? { ...resampled, range } : resampled);
  }
  const [first] = recordings;
  const odd = recordings.find(
    ({ sampleRateHz, channels: names }) => sampleRateHz !== first.sampleRateHz || names.join() !== first.channels.join(),
  );
  if (odd) {
    throw new Refusal(
      'data/mixed',
      `${odd.entry.file} has ${odd.channels} at ${odd.sampleRateHz} Hz, ${first.entry.file} has ${first.channels} at ${first.sampleRateHz} Hz; choose with --where and --channels, or resample with --rate`,
    );
  }
  return recordings;
}

/** At most `count` of the items, evenly spread. */
export function spread<T>(items: readonly T[], count: number): T[] {
  return items.filter((_, index) => Math.floor((index * count) / items.length) !== Math.floor(((index - 1) * count) / items.length));
}
