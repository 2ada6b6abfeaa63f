import { writeFileSync } from 'node:fs';
import { bundleModel, FILES, readBundle } from '../../models/bundle/bundle.ts';
import { createEngine } from '../../runtime/io/create-engine.ts';
import { openRecordingSet, readRecording } from '../../trainer/data/recording-set.ts';
import { replaySet } from '../../trainer/replay/replay-set.ts';
import { batchFeeds } from '../engine/feeds.ts';
import { adaptOnce } from './adaptation.ts';
import { counted, showLibrary } from './counted.ts';
import { verifyOnce } from './update.ts';
import { firstWindows } from './windows.ts';

/**
 * Runs inside a packed gateway's folder, beside its programs and libraries, on whatever processor that is: replays recordings through the gateway's own
 * pieces, or does once what a gateway does, between two marks that an emulator's plugin counts between.
 */

interface CommonOrder {
  readonly engine: 'onnxruntime' | 'wasm';
  readonly bundle: string;
  /** Where the answer is written, as JSON. */
  readonly out: string;
}

/** Of a recording set. */
interface ReplayWork {
  readonly kind: 'replay';
  readonly set: string;
  /** Of the set, by file; all where absent. */
  readonly files?: readonly string[];
  readonly channels?: readonly string[];
}

/** What is counted; `range`: where the library's place in memory is written. */
export type CountedWork = { readonly range?: string } & (
  | { readonly kind: 'inference'; readonly runs: number }
  | { readonly kind: 'adaptation'; readonly set: string; readonly steps: number }
  | { readonly kind: 'update'; readonly repository: string; readonly state: string }
);

export type ArmWork = ReplayWork | CountedWork;

/** In the first argument, as JSON. */
export type ArmOrder = CommonOrder & ArmWork;

/** Of a replay: by recording, the decision, the probabilities and the deciding network of every window. And logits of some windows, straight from the graph. */
export interface ReplayAnswer {
  readonly decisions: Readonly<
    Record<string, readonly { readonly decision: string; readonly probabilities: readonly number[]; readonly model: string }[]>
  >;
  readonly logits: readonly number[];
}

const LOGIT_WINDOWS = 8;
const programs = new URL('./', import.meta.url);
const order = JSON.parse(process.argv[2]) as ArmOrder;
const openEngine = () => createEngine(order.engine, decodeURI(programs.pathname), 1);

async function replay({ set: folder, files, channels }: ReplayWork): Promise<ReplayAnswer> {
  const whole = await openRecordingSet(folder);
  const set = files ? { ...whole, recordings: whole.recordings.filter(({ file }) => files.includes(file)) } : whole;
  const { engine, bundle: bundleFolder } = order;
  const { recordings } = await replaySet(set, { bundleFolder, engine, programs, channels }, () => {}, new AbortController().signal);
  const decisions = Object.fromEntries(
    recordings.map(({ entry, diagnoses }) => [
      entry.file,
      diagnoses.map(({ decision, probabilities, model }) => ({ decision, probabilities, model })),
    ]),
  );
  const bundle = await readBundle(bundleFolder);
  const session = await (await openEngine()).load(bundleModel(bundle, FILES.infer));
  const { codes, scales } = firstWindows(
    await readRecording(set, set.recordings[0], channels),
    bundle.manifest.recipe.window,
    LOGIT_WINDOWS,
  );
  const feeds = batchFeeds(bundle, session, LOGIT_WINDOWS, codes);
  (feeds.scale.values as Float32Array).set(scales);
  const { logits } = await session.run(feeds);
  return { decisions, logits: Array.from(logits.values as Float32Array) };
}

async function inference({ runs, range }: Extract<CountedWork, { kind: 'inference' }>): Promise<object> {
  const bundle = await readBundle(order.bundle);
  const engine = await openEngine();
  showLibrary(range);
  const session = await engine.load(bundleModel(bundle, FILES.infer));
  const feeds = batchFeeds(bundle, session, 1);
  // The first runs allocate; V8 compiles the call around them.
  for (let run = 0; run < 3; run++) await session.run(feeds);
  for (let run = 0; run < runs; run++) await counted(() => session.run(feeds));
  return {};
}

async function answer(): Promise<object> {
  switch (order.kind) {
    case 'replay':
      return replay(order);
    case 'inference':
      return inference(order);
    case 'adaptation':
      return adaptOnce(await openEngine(), order.bundle, await openRecordingSet(order.set), order);
    case 'update':
      return verifyOnce(await openEngine(), order);
  }
}

writeFileSync(order.out, JSON.stringify(await answer()));
// The inference thread has ended; what is left are handles of libraries.
process.exit(0);
