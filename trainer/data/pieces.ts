import { Refusal } from '../refusal.ts';
import { type Recording, type RecordingEntry, type RecordingSet, readRecording, type SampleRange } from './recording-set.ts';
import { resampleRecording } from './resample.ts';

/** A recording, or a time block of it: what a split deals out. */
export interface Piece {
  readonly entry: RecordingEntry;
  /** In samples of the file, at its own rate; the whole recording where absent. */
  readonly range?: SampleRange;
}

/** A piece that can be read. */
export type ReadPiece = Recording & Piece;

/** Samples of the file that a piece holds. */
export function pieceLength({ entry, range }: Piece): number {
  return range?.length ?? entry.n_samples;
}

/** The recording that an entry is a stretch of, after cleaning; itself otherwise. */
export function originOf({ cut_from: origin, file }: RecordingEntry): string {
  return typeof origin === 'string' ? origin : file;
}

/** First sample of an entry in its origin. */
export function startInOrigin({ cut_start: start }: RecordingEntry): number {
  return typeof start === 'number' ? start : 0;
}

/** The stretch that follows where cleaning cut a recording; undefined for the last, and for a whole recording. */
export function nextStretch(entry: RecordingEntry, entries: readonly RecordingEntry[]): RecordingEntry | undefined {
  if (typeof entry.cut_from !== 'string') return undefined;
  return entries
    .filter((other) => originOf(other) === entry.cut_from && startInOrigin(other) > startInOrigin(entry))
    .sort((a, b) => startInOrigin(a) - startInOrigin(b))[0];
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
 * The later part is always the one that is held out, as a gateway meets a machine: later than it was recorded. What changes slowly within a
 * recording (warming, wear) therefore makes the held-out part harder, never easier; a change that only the last `share` has is not in training at all.
 *
 * @param next where cleaning cut the recording, the stretch that follows: it too stays a gap away from the later part
 * @returns undefined where either part would be shorter than a window
 */
export function timeBlocks(
  entry: RecordingEntry,
  share: number,
  { window = 512, rateHz }: BlockOptions = {},
  next?: RecordingEntry,
): [Piece, Piece] | undefined {
  const gap = Math.ceil((window * entry.sample_rate_hz) / (rateHz ?? entry.sample_rate_hz));
  const snapshot = Number.isInteger(entry.snapshot_len) ? (entry.snapshot_len as number) : 1;
  const free = next ? startInOrigin(next) - startInOrigin(entry) - entry.n_samples : gap;
  const end = free >= gap ? entry.n_samples : Math.floor((entry.n_samples - gap + free) / snapshot) * snapshot;
  const late = Math.ceil((entry.n_samples * (1 - share)) / snapshot) * snapshot;
  const early = Math.floor((late - gap) / snapshot) * snapshot;
  if (early < gap || end - late < gap) return undefined;
  return [
    { entry, range: { start: 0, length: early } },
    { entry, range: { start: late, length: end - late } },
  ];
}

/**
 * Opens pieces and looks through them once; all must have one rate and one set of channels in the end. The entry of a time block is that of its file.
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
