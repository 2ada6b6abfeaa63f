import { readFileSync, writeFileSync } from 'node:fs';
import { bundleModel, FILES, readBundle } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { openRecordingSet, readRecording } from '../../trainer/data/recording-set.ts';
import { recordingFrames } from '../../trainer/replay/recording-frames.ts';
import { replaySet } from '../../trainer/replay/replay-set.ts';
import { batchFeeds } from '../engine/feeds.ts';

/**
 * Runs inside a packed gateway's folder, beside its programs and libraries, on whatever processor that is: replays recordings through the gateway's own
 * pieces, or runs single inferences between two marks that an emulator's plugin counts between.
 */

/** In the first argument, as JSON. */
export interface ArmOrder {
  readonly kind: 'replay' | 'count';
  readonly engine: 'onnxruntime' | 'wasm';
  readonly bundle: string;
  /** Recording set. */
  readonly set: string;
  /** Of the set, by file; all where absent. */
  readonly files?: readonly string[];
  readonly channels?: readonly string[];
  /** Where the answer is written, as JSON. */
  readonly out: string;
  /** `count`: where the library's place in memory is written, and inferences between the marks. */
  readonly range?: string;
  readonly runs?: number;
}

/** Of a replay: by recording, the decision, the probabilities and the deciding network of every window. And logits of some windows, straight from the graph. */
export interface ArmAnswer {
  readonly decisions: Readonly<
    Record<string, readonly { readonly decision: string; readonly probabilities: readonly number[]; readonly model: string }[]>
  >;
  readonly logits: readonly number[];
}

const LOGIT_WINDOWS = 8;
const [RANGE_MASK, BEGIN_MASK, END_MASK] = [0o020, 0o021, 0o022];
const programs = new URL('./', import.meta.url);
const order = JSON.parse(process.argv[2]) as ArmOrder;

async function createEngine(): Promise<Engine> {
  if (order.engine === 'wasm') return (await import('../../models/engine/wasm-engine.ts')).createWasmEngine(decodeURI(programs.pathname));
  return (await import('../../models/engine/onnxruntime-engine.ts')).createOnnxruntimeEngine();
}

async function chosenSet() {
  const set = await openRecordingSet(order.set);
  return order.files ? { ...set, recordings: set.recordings.filter(({ file }) => order.files!.includes(file)) } : set;
}

async function replay(): Promise<void> {
  const set = await chosenSet();
  const { engine, bundle, channels } = order;
  const { recordings } = await replaySet(set, { bundleFolder: bundle, engine, programs, channels }, () => {}, new AbortController().signal);
  const decisions = Object.fromEntries(
    recordings.map(({ entry, diagnoses }) => [
      entry.file,
      diagnoses.map(({ decision, probabilities, model }) => ({ decision, probabilities, model })),
    ]),
  );
  const opened = await readBundle(bundle);
  const session = await (await createEngine()).load(bundleModel(opened, FILES.infer));
  const { window } = opened.manifest.recipe;
  const recording = await readRecording(set, set.recordings[0], channels);
  const codes = new Int16Array(LOGIT_WINDOWS * window * recording.channels.length);
  let at = 0;
  let scales = new Float32Array(0);
  for (const frame of recordingFrames(recording)) {
    const values = frame.samples.subarray(0, Math.min(frame.samplesPerChannel * frame.channelCount, codes.length - at));
    codes.set(values, at);
    at += values.length;
    scales = Float32Array.from(frame.scales);
    if (at === codes.length) break;
  }
  const feeds = batchFeeds(opened, session, LOGIT_WINDOWS, codes);
  for (let row = 0; row < LOGIT_WINDOWS; row++) (feeds.scale.values as Float32Array).set(scales, row * scales.length);
  const { logits } = await session.run(feeds);
  const answer: ArmAnswer = { decisions, logits: Array.from(logits.values as Float32Array) };
  writeFileSync(order.out, JSON.stringify(answer));
}

async function count(): Promise<void> {
  const bundle = await readBundle(order.bundle);
  const engine = await createEngine();
  const mapped = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('libonnxruntime'))
    .map((line) => line.split(' ')[0].split('-'));
  if (order.range && mapped.length > 0) writeFileSync(order.range, `${mapped[0][0]} ${mapped.at(-1)![1]}`);
  // Before any of the library's code has run: a plugin looks at code when it is translated.
  process.umask(RANGE_MASK);
  const session = await engine.load(bundleModel(bundle, FILES.infer));
  const feeds = batchFeeds(bundle, session, 1);
  // The first runs allocate; V8 compiles the call around them.
  for (let run = 0; run < 3; run++) await session.run(feeds);
  for (let run = 0; run < (order.runs ?? 1); run++) {
    process.umask(BEGIN_MASK);
    await session.run(feeds);
    process.umask(END_MASK);
  }
  writeFileSync(order.out, '{}');
}

await (order.kind === 'replay' ? replay() : count());
// The inference thread has ended; what is left are handles of libraries.
process.exit(0);
