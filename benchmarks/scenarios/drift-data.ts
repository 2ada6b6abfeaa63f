import { join } from 'node:path';
import { createMachine, MachineSimulator } from '../../firmware-bridge/simulator/pure/index.ts';
import { bankLayout, bundleModel, FILES, readBundle } from '../../models/bundle/bundle.ts';
import { type Engine, emptyTensor } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import type { CalibrationStream } from '../../runtime/drift/calibrate.ts';
import { FEATURES, featureRows } from '../../runtime/drift/features.ts';
import { type Piece, readPieces } from '../../trainer/data/pieces.ts';
import { openRecordingSet, parseCondition, type Recording, select } from '../../trainer/data/recording-set.ts';
import { classesOf, cutWindows, type Windows } from '../../trainer/data/windows.ts';
import { noveltyScores } from '../../trainer/evaluate/novelty.ts';
import { fitReference } from '../../trainer/evaluate/novelty-training.ts';
import { RECIPES, trainRecipe } from '../../trainer/train/candidates.ts';
import { runNetwork } from '../../trainer/train/run-windows.ts';
import { trainSettings } from '../../trainer/train/settings.ts';

const WINDOW = 512;
const STRIDE = 256;
/** Share of each recording that the network is trained on, and where what is held out begins. */
const TRAINED = 0.4;
const HELD = 0.41;

/** What the drift statistics see of a recording. */
export interface ScoredRecording {
  readonly file: string;
  readonly label: string;
  readonly load: number;
  /** Row-major [windows, FEATURES]. */
  readonly features: Float64Array;
}

export interface ScoredSet {
  /** The later part of the recordings that the network knows the beginning of. */
  readonly held: readonly ScoredRecording[];
  readonly shifted: readonly ScoredRecording[];
}

/** Trains the student on the beginnings of some recordings, and gives the drift features of the rest and of others. Kept for the process's life. */
export async function scoreCwru(folder: string, known: readonly string[], shifted: readonly string[]): Promise<ScoredSet> {
  const whole = await openRecordingSet(join(folder, 'cwru12'));
  const engine = await createOnnxruntimeEngine();
  const main = select(whole, known.map(parseCondition));
  const part = (from: number, to: number): Piece[] =>
    main.recordings.map((entry) => {
      const start = Math.floor(entry.n_samples * from);
      return { entry, range: { start, length: Math.floor(entry.n_samples * to) - start } };
    });
  const scorer = await trainScorer(engine, await readPieces(main, part(0, TRAINED), ['DE']));
  const score = async (pieces: readonly Piece[]): Promise<ScoredRecording[]> => {
    const scored: ScoredRecording[] = [];
    for (const recording of await readPieces(whole, pieces, ['DE'])) {
      const { features } = await scorer(recording);
      scored.push({ file: recording.entry.file, label: recording.label!, load: Number(recording.entry.load_hp), features });
    }
    return scored;
  };
  const others = select(whole, shifted.map(parseCondition)).recordings.map((entry) => ({ entry }));
  return { held: await score(part(HELD, 1)), shifted: await score(others) };
}

/** Trains the student on recordings; what it then gives for the windows of others, in their order. */
export async function trainScorer(
  engine: Engine,
  train: readonly Recording[],
): Promise<(recording: Recording) => Promise<{ readonly windows: Windows; readonly features: Float64Array }>> {
  const classes = classesOf(train);
  const trained = await trainRecipe(engine, RECIPES[0], train, classes, trainSettings(RECIPES[0].training, {}, 1), { stride: STRIDE });
  const reference = await fitReference(engine, trained, cutWindows(train, classes, WINDOW, STRIDE), 1);
  return async (recording) => {
    // Labels play no part; a class that training knows lets the windows be cut.
    const windows = cutWindows([{ ...recording, label: classes[0] }], classes, WINDOW, STRIDE);
    const { embeddings } = await runNetwork(engine, trained, windows);
    return { windows, features: featureRows(embeddings, noveltyScores(reference, embeddings)) };
  };
}

/** Every other block of a recording, two windows apart from the next, so that no sample is on both sides. */
export function alternateBlocks(features: Float64Array, length: number, first: 0 | 1): CalibrationStream {
  const windows = features.length / FEATURES;
  const blocks: Float64Array[] = [];
  for (let from = first * length; from + 2 < windows; from += 2 * length) {
    blocks.push(features.subarray(from * FEATURES, Math.min(windows, from + length - 2) * FEATURES));
  }
  return blocks;
}

/** Healthy simulated machines through the shipped bundle: drift features of so many windows each. */
export async function scoreSimulated(root: string, seeds: readonly number[], windows: number): Promise<Float64Array[]> {
  const bundle = await readBundle(`${root}models/shipped/plant`);
  const session = await (await createOnnxruntimeEngine()).load(bundleModel(bundle, FILES.infer));
  const adapterBank = emptyTensor('float32', [1, bankLayout(bundle.manifest).size]);
  const batch = 64;
  const scores: Float64Array[] = [];
  for (const seed of seeds) {
    const simulator = new MachineSimulator({ machine: createMachine({ seed }), seed });
    const rows: Float64Array[] = [];
    const samples = new Float32Array(3 * WINDOW);
    const fresh = new Float32Array(3 * STRIDE);
    simulator.next(samples);
    for (let from = 0; from < windows; from += batch) {
      const count = Math.min(batch, windows - from);
      const codes = new Int16Array(count * 3 * WINDOW);
      for (let row = 0; row < count; row++) {
        codes.set(Int16Array.from(samples, toCode), row * 3 * WINDOW);
        simulator.next(fresh);
        samples.copyWithin(0, 3 * STRIDE);
        samples.set(fresh, 3 * (WINDOW - STRIDE));
      }
      const { embedding, novelty } = await session.run({
        window: { type: 'int16', shape: [count, WINDOW, 3], values: codes },
        scale: { type: 'float32', shape: [count, 3], values: new Float32Array(3 * count).fill(SCALE) },
        adapterBank,
        adapterIndex: emptyTensor('int32', [count]),
      });
      const own = novelty ? (novelty.values as Float32Array) : new Float32Array(count).fill(Number.NaN);
      rows.push(featureRows(embedding.values as Float32Array, own));
    }
    const all = new Float64Array(windows * FEATURES);
    let at = 0;
    for (const part of rows) {
      all.set(part, at);
      at += part.length;
    }
    scores.push(all);
  }
  return scores;
}

/** g a code. */
const SCALE = 0.0005;
const toCode = (value: number) => Math.max(-32_767, Math.min(32_767, Math.round(value / SCALE)));
