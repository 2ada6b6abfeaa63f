import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CORES, type EmulatedGateway, missing, prepareGateway } from '../../benchmarks/arm/emulator.ts';
import { readFrozen } from '../../benchmarks/arm/frozen.ts';
import { adaptation, countWork, HELD_STEPS, INFERENCE, UPDATE } from '../../benchmarks/arm/works.ts';
import { readBundle } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const [A53] = CORES;
const hasCompiler = (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'gcc')));
const reason = (await missing(A53)) ?? (hasCompiler ? undefined : 'gcc is not installed');

/** Of the processor that CI emulates; the others are looked at where somebody runs the scenarios. */
const GATED = [INFERENCE, adaptation(HELD_STEPS), UPDATE];
let folder: string;
let gateway: EmulatedGateway | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-arm-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

it('has frozen figures of the shipped bundle and of this engine: after a change of either, TREMOLO_FREEZE=1 npm run bench -- arm.instructions', async () => {
  const frozen = await readFrozen(ROOT);
  const { manifest } = await readBundle(`${ROOT}models/shipped/plant`);
  expect(frozen.base).toBe(manifest.base);
  expect(frozen.onnxruntime).toBe((await createOnnxruntimeEngine()).version);
  for (const { kind } of GATED) expect(Object.keys(frozen.instructions[kind] ?? {}).sort(), kind).toEqual(CORES.map(({ id }) => id).sort());
});

it.skipIf(reason).each(GATED)(
  `takes at most two per cent more instructions on an emulated Cortex-A53 than were frozen: $what${reason ? ` (${reason})` : ''}`,
  async (work) => {
    gateway ??= await prepareGateway(ROOT, A53, folder);
    const { count, held } = await countWork(ROOT, gateway, A53, work, await mkdtemp(join(folder, `${work.kind}-`)));
    const frozen = (await readFrozen(ROOT)).instructions[work.kind]!.a53;
    expect(count.all).toBeGreaterThan(count.inside);
    expect(count.blocks.length).toBeGreaterThan(100);
    expect(held / frozen).toBeLessThan(1.02);
    // Far fewer would be a plugin that does not see the library.
    expect(held / frozen).toBeGreaterThan(0.5);
  },
  600_000,
);
