import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import type { Recording } from '../data/recording-set.ts';
import type { CutRecordings } from '../tune/target.ts';
import { type LabelledWindow, windowKey } from './store.ts';

/** Of the windows of a stretch, those at its end that nothing is learned from. */
const HELD_SHARE = 1 / 3;

/** Row numbers: learned from, and held out to judge by. */
export interface HeldOut {
  readonly learned: readonly number[];
  readonly held: readonly number[];
}

/** Windows that fit the bundle: of its channels, length and classes. Others cannot be learned from. */
export function fittingWindows(
  windows: readonly LabelledWindow[],
  { recipe, classes }: Pick<Manifest, 'recipe' | 'classes'>,
): LabelledWindow[] {
  const { window, channels } = recipe;
  const bytes = 2 * window * channels.length;
  return windows.filter(
    ({ scales, codes, class: name }) =>
      scales.length === channels.length && Buffer.from(codes, 'base64').length === bytes && classes.includes(name),
  );
}

/** Samples in physical units, each window a recording of its own. @param windows that fit the bundle */
export function cutOf(windows: readonly LabelledWindow[], { recipe, classes }: Pick<Manifest, 'recipe' | 'classes'>): CutRecordings {
  const { window, channels, sampleRateHz } = recipe;
  const size = window * channels.length;
  const samples = new Float32Array(windows.length * size);
  windows.forEach(({ codes, scales }, row) => {
    const bytes = Buffer.from(codes, 'base64');
    for (let at = 0; at < size; at++) samples[row * size + at] = bytes.readInt16LE(2 * at) * scales[at % channels.length];
  });
  const recordings = windows.map((one, row): Recording => {
    const entry = {
      file: windowKey(one),
      label: one.class,
      n_samples: window,
      n_channels: channels.length,
      channels: [...channels],
      dtype: 'float32' as const,
      sample_rate_hz: sampleRateHz,
    };
    const own = samples.subarray(row * size, (row + 1) * size);
    const read = (start: number, length: number) => own.subarray(start * channels.length, (start + length) * channels.length);
    return { entry, label: one.class, channels, sampleRateHz, read, length: window };
  });
  const labels = Int32Array.from(windows, (one) => classes.indexOf(one.class));
  return { recordings, windows: { samples, labels, recordings: Int32Array.from(windows.keys()), count: windows.length } };
}

/**
 * Holds out the end of each class on each stream, so that no held window shares a sample with a learned one. A class with one window is learned from.
 *
 * @param window samples of one
 */
export function holdOut(windows: readonly LabelledWindow[], window: number): HeldOut {
  const groups = new Map<string, number[]>();
  windows.forEach((one, row) => {
    const key = JSON.stringify([one.gateway, one.stream, one.class]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  });
  const held = new Set<number>();
  for (const rows of groups.values()) {
    rows.sort((a, b) => windows[a].epoch - windows[b].epoch || windows[a].endSequence - windows[b].endSequence);
    for (const row of rows.slice(rows.length - Math.floor(rows.length * HELD_SHARE))) held.add(row);
  }
  const touches = (a: LabelledWindow, b: LabelledWindow) =>
    a.gateway === b.gateway && a.stream === b.stream && a.epoch === b.epoch && Math.abs(a.endSequence - b.endSequence) < window;
  const learned = [...windows.keys()].filter((row) => !held.has(row) && ![...held].some((other) => touches(windows[row], windows[other])));
  return { learned, held: [...held] };
}
