import { createNetwork } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import { type CalibrationStream, calibrateDrift, type DriftReference } from '../../runtime/drift/calibrate.ts';
import { FEATURES, WindowFeatures } from '../../runtime/drift/features.ts';
import type { Windows } from '../data/windows.ts';
import { noveltyScores, WIDEST_EMBEDDING } from '../evaluate/novelty.ts';
import { fitReference } from '../evaluate/novelty-training.ts';
import type { NetworkLine } from './network-line.ts';
import { runNetwork } from './run-windows.ts';
import type { StageOutcome } from './stages.ts';
import type { Workspace } from './workspace.ts';

/** Validation windows below which thresholds would be those of a few seconds. */
const LEAST_WINDOWS = 512;
/** Windows of a recording from which it is a stream of its own; shorter ones are one stream a class. */
const LEAST_STREAM = 64;

/**
 * Thresholds of the drift statistics from the validation part, through the rehearsed network, which has not seen it. They are relative to a stream's
 * own baseline, so those of the rehearsal fit the network that is deployed.
 *
 * @returns undefined where there is too little to calibrate on, or machines are commissioned: gateways have thresholds of their own for that
 */
export async function driftStage(workspace: Workspace, line: NetworkLine): Promise<StageOutcome<DriftReference> | undefined> {
  const { engine, stages, windows, request, dataKey } = workspace;
  const { seed } = request.choices;
  const { rehearsal } = line;
  const rehearsed = rehearsal?.prune?.result.network ?? rehearsal?.student.result;
  if (!rehearsed || windows.validation.count < LEAST_WINDOWS) return undefined;
  const { embeddingWidth, reference } = createNetwork(rehearsed.options);
  if (reference || embeddingWidth > WIDEST_EMBEDDING) return undefined;
  return stages.run<DriftReference>({
    name: 'drift',
    inputs: [dataKey, (rehearsal?.prune ?? rehearsal?.student)?.key ?? null, seed],
    compute: async () => {
      const known = await fitReference(engine, rehearsed, windows.train, seed);
      const { embeddings } = await runNetwork(engine, rehearsed, windows.validation);
      const streams = streamsOf(windows.validation, embeddings, noveltyScores(known, embeddings));
      const random = new Random(seed);
      return calibrateDrift(streams, { below: (bound) => random.below(bound) });
    },
    encode: (result) => ({ value: result, vectors: {} }),
    decode: ({ value }) => value as DriftReference,
    summary: ({ thresholds }) =>
      thresholds.map(({ runLength, novelty, shift }) => `${runLength}: ${novelty.toFixed(1)}, ${shift.toFixed(1)}`).join('; '),
  });
}

/** Windows of each recording in their order; recordings too short for a baseline are the pieces of one stream a class. */
export function streamsOf({ recordings, labels, count }: Windows, embeddings: Float32Array, novelty: Float32Array): CalibrationStream[] {
  const width = embeddings.length / count;
  const features = new WindowFeatures(width);
  const pieces = new Map<number, { rows: number[]; label: number }>();
  for (let row = 0; row < count; row++) {
    const piece = pieces.get(recordings[row]) ?? { rows: [], label: labels[row] };
    pieces.set(recordings[row], piece);
    piece.rows.push(...features.take(embeddings, row * width, novelty[row]));
  }
  const streams: Float64Array[][] = [];
  const short = new Map<number, Float64Array[]>();
  for (const { rows, label } of pieces.values()) {
    const piece = Float64Array.from(rows);
    if (rows.length >= LEAST_STREAM * FEATURES) streams.push([piece]);
    else short.set(label, [...(short.get(label) ?? []), piece]);
  }
  return [...streams, ...short.values()];
}
