import { createHash } from 'node:crypto';
import { createNetwork } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import { type CalibrationStream, calibrateDrift, type DriftReference, REFERENCE_WINDOWS } from '../../runtime/drift/calibrate.ts';
import { FEATURES, featureRows, NO_NOVELTY } from '../../runtime/drift/features.ts';
import { readPieces } from '../data/pieces.ts';
import type { Recording, RecordingSet } from '../data/recording-set.ts';
import { type Windows, windowGrid, windowParts } from '../data/windows.ts';
import { noveltyScores, WIDEST_EMBEDDING } from '../evaluate/novelty.ts';
import { fitReference } from '../evaluate/novelty-training.ts';
import { Refusal } from '../refusal.ts';
import type { DraftBundle } from '../release/draft-bundle.ts';
import type { NetworkLine } from './network-line.ts';
import { runNetwork } from './run-windows.ts';
import type { Stage, StageOutcome } from './stages.ts';
import { checkAlike, hashData, WINDOW, type Workspace } from './workspace.ts';

/** Validation windows below which thresholds would be those of a few seconds. */
const LEAST_WINDOWS = 512;
/** Windows of a recording from which it is a stream of its own; shorter ones are one stream a class. */
const LEAST_STREAM = 64;

/**
 * Thresholds of the drift statistics from windows that the network has not seen: a drift set through the graph that is deployed, or the validation part
 * through the rehearsed network. They are relative to a stream's own baseline, so those of the rehearsal fit the other.
 *
 * @returns undefined where there is too little to calibrate on, or machines are commissioned: gateways have thresholds of their own for that
 */
export async function driftStage(
  workspace: Workspace,
  line: NetworkLine,
  draft: Seeing,
): Promise<StageOutcome<DriftReference> | undefined> {
  const { stages, windows, request } = workspace;
  const { embeddingWidth, reference } = createNetwork(line.primary.options);
  if (reference || embeddingWidth > WIDEST_EMBEDDING) return undefined;
  if (request.driftSet) return stages.run(await fromSet(workspace, request.driftSet, draft));
  const validated = windows.validation.count < LEAST_WINDOWS ? undefined : fromValidation(workspace, line);
  return validated && stages.run(validated);
}

type Seeing = Pick<DraftBundle, 'model' | 'seen'>;
type DriftStage = Stage<DriftReference>;

function calibration(inputs: unknown[], seed: number, streams: () => Promise<readonly CalibrationStream[]>): DriftStage {
  return {
    name: 'drift',
    inputs: [...inputs, seed],
    compute: async () => {
      const random = new Random(seed);
      return calibrateDrift(await streams(), { below: (bound) => random.below(bound) });
    },
    encode: (result) => ({ value: result, vectors: {} }),
    decode: ({ value }) => value as DriftReference,
    summary: ({ thresholds }) =>
      thresholds.map(({ runLength, novelty, shift }) => `${runLength}: ${novelty.toFixed(1)}, ${shift.toFixed(1)}`).join('; '),
  };
}

function fromValidation({ engine, windows, request, dataKey }: Workspace, { rehearsal }: NetworkLine): DriftStage | undefined {
  const { seed } = request.choices;
  const rehearsed = rehearsal?.prune?.result.network ?? rehearsal?.student.result;
  if (!rehearsed) return undefined;
  return calibration([dataKey, (rehearsal?.prune ?? rehearsal?.student)?.key ?? null], seed, async () => {
    const known = await fitReference(engine, rehearsed, windows.train, seed);
    const { embeddings } = await runNetwork(engine, rehearsed, windows.validation);
    return streamsOf(windows.validation, embeddings, noveltyScores(known, embeddings));
  });
}

async function fromSet(workspace: Workspace, set: RecordingSet, draft: Seeing): Promise<DriftStage> {
  const { request, channels, stride, signal } = workspace;
  const setKey = await hashData(set, request, { train: set.recordings.map((entry) => ({ entry })), validation: [], test: [] });
  const model = createHash('sha256').update(draft.model.graph);
  for (const bytes of draft.model.files?.values() ?? []) model.update(bytes);
  return calibration([setKey, model.digest('hex')], request.choices.seed, async () => {
    const streams: CalibrationStream[] = [];
    for (const entry of set.recordings) {
      signal?.throwIfAborted();
      const [recording] = await readPieces(set, [{ entry }], channels, request.rateHz);
      streams.push([await featuresOf(recording, stride, draft)]);
    }
    return streams;
  });
}

/** Drift features of a recording's windows [windows, FEATURES], a part at a time: it may be hours long. */
async function featuresOf(recording: Recording, stride: number, { seen }: Pick<DraftBundle, 'seen'>): Promise<Float64Array> {
  const { count } = windowGrid(recording, WINDOW, stride);
  const features = new Float64Array(count * FEATURES);
  let at = 0;
  // Labels play no part; a class lets the windows be cut.
  for (const windows of windowParts({ ...recording, label: '' }, [''], WINDOW, stride)) {
    const { embedding, novelty = new Float32Array(windows.count).fill(NO_NOVELTY) } = await seen(windows);
    features.set(featureRows(embedding, novelty), at);
    at += windows.count * FEATURES;
  }
  return features;
}

/** @throws Refusal usage/drift-set where a recording gives no baseline and as many windows again, is unlike those trained on, or is one of them */
export function checkDriftSet(workspace: Workspace): void {
  const { split, request, sampleRateHz, stride } = workspace;
  const trained = new Set([...split.train, ...split.validation].map(({ entry }) => entry.sha256));
  for (const entry of request.driftSet?.recordings ?? []) {
    const refuse = (what: string) => new Refusal('usage/drift-set', `--drift-set: ${entry.file} ${what}`);
    checkAlike(entry, workspace, refuse);
    if (entry.sha256 !== undefined && trained.has(entry.sha256))
      throw refuse('is trained on as well; record machines that training has not seen');
    const { count } = windowGrid({ entry, length: Math.floor((entry.n_samples * sampleRateHz) / entry.sample_rate_hz) }, WINDOW, stride);
    const least = 2 * REFERENCE_WINDOWS;
    if (count < least) throw refuse(`has ${count} windows where ${least} are needed; record longer`);
  }
}

/** Windows of each recording in their order; recordings too short for a baseline are the pieces of one stream a class. */
function streamsOf({ recordings, labels, count }: Windows, embeddings: Float32Array, novelty: Float32Array): CalibrationStream[] {
  const all = featureRows(embeddings, novelty);
  const streams: Float64Array[][] = [];
  const short = new Map<number, Float64Array[]>();
  for (let row = 0; row < count; ) {
    const [first, recording, label] = [row, recordings[row], labels[row]];
    while (row < count && recordings[row] === recording) row++;
    const piece = all.subarray(first * FEATURES, row * FEATURES);
    if (row - first >= LEAST_STREAM) streams.push([piece]);
    else short.set(label, [...(short.get(label) ?? []), piece]);
  }
  return [...streams, ...short.values()];
}
