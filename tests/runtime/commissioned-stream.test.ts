import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { SampleFrame } from '../../firmware-bridge/codec/index.ts';
import { type Diagnosis, diagnosisSchema } from '../../runtime/contracts/messages.ts';
import { DecisionLoop } from '../../runtime/decision-loop.ts';
import { WASM_FOLDER } from '../support/engines.ts';
import { largestError, numbers } from '../support/numbers.ts';
import { makeReferenceBundle } from '../support/reference-bundle.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';

const NEEDED = 4;
/** A machine that sounds the same in every stride, so that only its reference can change an answer. */
const SOUND = Int16Array.from(numbers(256 * 2, 8, -9000, 9000));

let bundleFolder: string;
beforeAll(async () => {
  const tiny = await makeTinyBundle();
  // An untrained network is never sure: scores on both sides of its own make its windows healthy ones.
  const decision = { healthyScores: [0.01, 0.9999], commissioningWindows: NEEDED, healthyFrom: 0.2 };
  bundleFolder = (await makeReferenceBundle(tiny.folder, decision)).folder;
});

/** Runs one machine for so many windows, and gives the messages as they would be read. */
async function watch(referencesFolder: string, windows: number): Promise<Diagnosis[]> {
  const seen: Diagnosis[] = [];
  const loop = await DecisionLoop.start(
    { bundleFolder, engine: 'onnxruntime', largestStreams: 2, programs: new URL(`file://${WASM_FOLDER}`), referencesFolder },
    {
      onDiagnosis: (diagnosis) => seen.push(diagnosisSchema.parse(JSON.parse(JSON.stringify(diagnosis)))),
      onFailure: (failure) => {
        throw new Error(failure);
      },
      onReferenceError: (error) => {
        throw error;
      },
      onExit: (error) => {
        throw error;
      },
    },
  );
  const frame: SampleFrame = {
    kind: 'samples',
    streamId: 0,
    epoch: 0,
    sequence: 0,
    deviceTimeUs: 0,
    sampleRateHz: 1000,
    shaftSpeedRpm: undefined,
    channelCount: 2,
    samplesPerChannel: 256,
    scales: Float32Array.of(1e-3, 1e-3),
    samples: SOUND,
  };
  for (let index = 0; index <= windows; index++) {
    expect(loop.accept('press', { ...frame, sequence: 256 * index }, performance.now())).toBeUndefined();
    await loop.idle();
  }
  await loop.stop();
  return seen;
}

describe('a machine that is commissioned', () => {
  it('is decided with its own reference after its first healthy windows, and at once after a restart', async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-state-')), 'references');
    const first = await watch(folder, NEEDED + 2);
    expect(first.map(({ commissioning }) => commissioning?.windows)).toEqual([1, 2, 3, undefined, undefined, undefined]);
    const [before, after] = [first[0].probabilities, first[NEEDED].probabilities];
    expect(largestError(first[NEEDED - 1].probabilities, before)).toBe(0);
    expect(largestError(after, before)).toBeGreaterThan(1e-3);
    await expect.poll(() => readdir(folder)).toEqual(['press.json']);
    const second = await watch(folder, 2);
    expect(second.map(({ commissioning }) => commissioning)).toEqual([undefined, undefined]);
    for (const { probabilities } of second) expect(largestError(probabilities, after)).toBeLessThan(1e-6);
  });
});
