import { type Bundle, readBundle } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { DEFAULT_ADAPTATION } from '../../runtime/adapt/adaptation.ts';
import { joinWindows, type RawWindows, takeWindows } from '../../runtime/adapt/raw-windows.ts';
import { openLearner } from '../../runtime/io/adapt-bundle.ts';
import { type RecordingSet, readRecording } from '../../trainer/data/recording-set.ts';
import { counted, residentMb, showLibrary, uncounted } from './counted.ts';
import { firstWindows } from './windows.ts';

/** Windows that an operator has labelled, of each condition, as one label a window; every third is held out, as the book of examples does it. */
const [CONDITIONS, SHOTS, HOLD_OUT_EVERY] = [3, 6, 3];
/** Unlabelled windows of the stream: some recordings' of other conditions. */
const [ANCHOR_RECORDINGS, ANCHOR_WINDOWS] = [4, 7];

export interface AdaptationAnswer {
  readonly steps: number;
  /** Why the guard was against the adapter; a count of one that was refused is a count of the same work. */
  readonly refusal?: string;
  /** Resident memory, megabytes of 10^6 bytes: before the sessions were made, and the largest that was seen after each step. */
  readonly beforeMb: number;
  readonly peakMb: number;
}

/** One adaptation as a gateway's learning thread does it: sessions, steps, guard. Counts all of it, each step apart. */
export async function adaptOnce(
  engine: Engine,
  folder: string,
  set: RecordingSet,
  { steps, range }: { readonly steps: number; readonly range?: string },
): Promise<AdaptationAnswer> {
  const bundle = await readBundle(folder, ['core', 'adapt']);
  const { examples, anchors } = await labelledWindows(bundle, set);
  const beforeMb = residentMb();
  showLibrary(range);
  let peakMb = 0;
  const look = () => {
    peakMb = Math.max(peakMb, residentMb());
  };
  const { learner } = await counted(() => openLearner(engine, bundle));
  look();
  const settings = { ...DEFAULT_ADAPTATION, steps };
  const { refusal } = await counted(() => learner.learn(examples, undefined, anchors, settings, { onStep: () => uncounted(look) }));
  look();
  return { steps, refusal, beforeMb, peakMb };
}

/** The first windows of some conditions with their labels, and those of the next as windows that nobody has labelled. */
async function labelledWindows({ manifest: { recipe, classes } }: Bundle, set: RecordingSet) {
  const windows = async (at: number, count: number): Promise<RawWindows> =>
    firstWindows(await readRecording(set, set.recordings[at], recipe.channels), recipe.window, count);
  const singly = (part: RawWindows) => Array.from({ length: part.count }, (_, row) => takeWindows(part, [row]));
  const labelled = await Promise.all(Array.from({ length: CONDITIONS }, (_, at) => windows(at, SHOTS)));
  const others = await Promise.all(Array.from({ length: ANCHOR_RECORDINGS }, (_, at) => windows(CONDITIONS + at, ANCHOR_WINDOWS)));
  const rows = labelled.flatMap(singly);
  const labels = Int32Array.from(rows, (_, row) => classes.indexOf(set.recordings[Math.floor(row / SHOTS)].label ?? ''));
  const heldOut = Uint8Array.from(rows, (_, row) => (row % HOLD_OUT_EVERY === HOLD_OUT_EVERY - 1 ? 1 : 0));
  return {
    examples: { ...joinWindows(rows), labels, heldOut, trusted: new Uint8Array(rows.length), rejected: classes.map(() => false) },
    anchors: joinWindows(others.flatMap(singly)),
  };
}
