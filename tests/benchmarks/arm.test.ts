import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { expect, it } from 'vitest';
import { CORES, countInstructions, missing, prepareGateway } from '../../benchmarks/arm/emulator.ts';
import { readFrozen } from '../../benchmarks/arm/frozen.ts';
import { readBundle } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const [A53] = CORES;
const hasCompiler = (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'gcc')));
const reason = (await missing(A53)) ?? (hasCompiler ? undefined : 'gcc is not installed');

it('has frozen figures of the shipped bundle and of this engine: after a change of either, TREMOLO_FREEZE=1 npm run bench -- arm.instructions', async () => {
  const frozen = await readFrozen(ROOT);
  const { manifest } = await readBundle(`${ROOT}models/shipped/plant`);
  expect(frozen.base).toBe(manifest.base);
  expect(frozen.onnxruntime).toBe((await createOnnxruntimeEngine()).version);
  expect(Object.keys(frozen.instructions).sort()).toEqual(CORES.map(({ id }) => id).sort());
});

it.skipIf(reason)(
  `takes at most two per cent more instructions for an inference on an emulated Cortex-A53 than were frozen${reason ? ` (${reason})` : ''}`,
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-arm-'));
    try {
      const gateway = await prepareGateway(ROOT, A53, folder);
      const { marks, inside, all, blocks } = await countInstructions(ROOT, gateway, A53, folder, 2);
      expect(marks).toBe(2);
      expect(all).toBeGreaterThan(inside);
      expect(blocks.length).toBeGreaterThan(100);
      const { instructions } = await readFrozen(ROOT);
      expect(inside / marks / instructions.a53).toBeLessThan(1.02);
      // Far fewer would be a plugin that does not see the library.
      expect(inside / marks / instructions.a53).toBeGreaterThan(0.5);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
  120_000,
);
