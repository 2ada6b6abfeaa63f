import { writeFile } from 'node:fs/promises';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Bundle } from '../../../models/bundle/bundle.ts';
import type { Diagnosis } from '../../../runtime/contracts/messages.ts';
import { DecisionLoop } from '../../../runtime/decision-loop.ts';
import { noiseFrame, PROGRAMS } from '../../support/live-gateway.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';
import { renamed } from '../../support/update-site.ts';

const SHIPPED = new URL('../../../models/shipped/plant', import.meta.url).pathname;

interface Made {
  readonly folder: string;
  readonly bundle: Bundle;
}
let first: Made;
let second: Made;
beforeAll(async () => {
  first = await makeTinyBundle();
  second = await makeTinyBundle(7);
});

const open: DecisionLoop[] = [];
afterEach(async () => {
  for (const loop of open.splice(0)) await loop.stop();
});

async function startLoop(bundleFolder: string, largestStreams = 100) {
  const diagnoses: Diagnosis[] = [];
  const loop = await DecisionLoop.start(
    { bundleFolder, engine: 'onnxruntime', largestStreams, programs: PROGRAMS },
    {
      onDiagnosis: (diagnosis) => void diagnoses.push(diagnosis),
      onFailure: (failure) => expect.fail(failure),
      onReferenceError: (error) => expect.fail(error.message),
      onExit: (error) => expect.fail(error.message),
    },
  );
  open.push(loop);
  return { loop, diagnoses };
}

describe('a swap', () => {
  it('under a hundred live streams loses no window, decides none twice, and goes there and back', async () => {
    const { loop, diagnoses } = await startLoop(first.folder);
    let at = 0;
    let swapping = true;
    const feeding = (async () => {
      // Until the swaps are done, and a window more of each stream.
      for (let more = 4; more > 0; at += 64) {
        if (!swapping) more--;
        for (let stream = 0; stream < 100; stream++) loop.accept(`s${stream}`, noiseFrame(at), performance.now());
        await new Promise((resolve) => setTimeout(resolve, 64));
      }
    })();
    /** Two windows more of each stream. */
    const decided = async () => {
      const enough = diagnoses.length + 200;
      while (diagnoses.length < enough) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await decided();
    for (const folder of [second.folder, first.folder]) {
      await loop.swap(folder);
      await decided();
    }
    swapping = false;
    await feeding;
    await loop.idle();
    const windows = 100 * (Math.floor(at / 256) - 1);
    expect(loop.status().ledger).toMatchObject({ windowsExpected: windows, windowsDecided: windows, windowsWaiting: 0, samplesLost: 0 });
    expect(new Set(diagnoses.map(({ stream, endSequence }) => `${stream} ${endSequence}`)).size).toBe(windows);
    const inOrder = diagnoses.filter(({ stream }) => stream === 's42').map(({ bundle }) => bundle);
    const changes = inOrder.filter((bundle, index) => bundle !== inOrder[index - 1]);
    expect(changes).toEqual([first, second, first].map(({ bundle }) => bundle.digest.slice(0, 12)));
  });

  it('to a bundle that reads other windows refuses those that wait as replaced, and the ledger still balances', async () => {
    const { loop, diagnoses } = await startLoop(first.folder, 4);
    for (let at = 0; at < 1024; at += 64) loop.accept('old', noiseFrame(at), performance.now());
    await loop.idle();
    await loop.swap(SHIPPED);
    expect(loop.accept('old', noiseFrame(1024), performance.now())).toBe('channels');
    for (let at = 0; at < 512; at += 64) loop.accept('new', noiseFrame(at, { channelCount: 3 }), performance.now());
    await loop.idle();
    expect(diagnoses.at(-1)).toMatchObject({ stream: 'new', bundle: loop.status().bundle!.digest.slice(0, 12) });
    const ledger = loop.status().ledger!;
    expect(ledger).toMatchObject({ windowsExpected: 4, windowsDecided: 4, windowsWaiting: 0 });
  });

  it('to a bundle that is refused changes nothing', async () => {
    const { loop, diagnoses } = await startLoop(first.folder, 4);
    const broken = await renamed(second.bundle, 'broken');
    await writeFile(`${broken.folder}/infer.onnx`, 'no graph');
    await expect(loop.swap(broken.folder)).rejects.toMatchObject({ code: expect.stringMatching(/^bundle\//) });
    for (let at = 0; at < 512; at += 64) loop.accept('a', noiseFrame(at), performance.now());
    await loop.idle();
    expect(diagnoses).toMatchObject([{ bundle: first.bundle.digest.slice(0, 12) }]);
  });
});
