import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { readPieces, timeBlocks } from '../../../trainer/data/pieces.ts';
import { openRecordingSet, type RecordingEntry } from '../../../trainer/data/recording-set.ts';
import { classesOf, cutWindows } from '../../../trainer/data/windows.ts';
import { auroc, noveltyScores } from '../../../trainer/evaluate/novelty.ts';
import { fitReference } from '../../../trainer/evaluate/novelty-training.ts';
import { runNetwork } from '../../../trainer/train/run-windows.ts';
import { DEFAULT_SETTINGS, trainNetwork } from '../../../trainer/train/train-network.ts';
import { ENGINES } from '../../support/engines.ts';

const { TREMOLO_DATA } = process.env;
const reason = TREMOLO_DATA ? `${TREMOLO_DATA} is not there` : 'TREMOLO_DATA is not set';
const isThere = TREMOLO_DATA !== undefined && existsSync(TREMOLO_DATA);

describe.skipIf(!isThere)(`a network trained on cwru12${isThere ? '' : ` (skipped: ${reason})`}`, () => {
  it('finds windows of faults at another place new, those of a later hour not', { timeout: 300_000 }, async () => {
    const engine = await ENGINES.onnxruntime();
    const set = await openRecordingSet(join(TREMOLO_DATA!, 'cwru12'));
    const of = (role: string) => set.recordings.filter((entry: RecordingEntry) => entry.role === role);
    const halves = of('main').map((entry) => timeBlocks(entry, 0.15)!);
    const read = (pieces: Parameters<typeof readPieces>[1]) => readPieces(set, pieces, ['DE']);
    const [train, later, shift] = [halves.map(([one]) => one), halves.map(([, two]) => two), of('shift').map((entry) => ({ entry }))];
    const recordings = await read(train);
    const classes = classesOf(recordings);
    // A third of the usual steps: 0.995 here, 0.994 with all of them.
    const settings = { ...DEFAULT_SETTINGS, steps: 120, learningRate: 1e-3 };
    const trained = await trainNetwork(engine, {
      options: { ...STUDENT, channels: 1, classes: classes.length },
      recordings,
      classes,
      settings,
    });
    const windows = async (pieces: Parameters<typeof readPieces>[1]) =>
      cutWindows(
        (await read(pieces)).map((one) => ({ ...one, label: classes[0] })),
        classes,
        512,
        512,
      );
    const reference = await fitReference(engine, trained, cutWindows(recordings, classes, 512, 512), 1);
    const [known, novel] = await Promise.all(
      [later, shift].map(async (pieces) => noveltyScores(reference, (await runNetwork(engine, trained, await windows(pieces))).embeddings)),
    );
    expect(auroc(known, novel)).toBeGreaterThan(0.985);
  });
});
