import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answerBank, type Bundle, bankLayout, FILES, readBundle, writeBundle } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { decodeSafetensors, encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { emptyTensor } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { createNetwork } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { referenceSize, traceInference } from '../../models/training/trace-inference.ts';
import { cutWindows } from '../../trainer/data/windows.ts';
import { measureStatistics } from '../../trainer/train/run-windows.ts';
import { TINY_CLASSES, tinyRecordings } from './tiny-bundle.ts';

/** A tiny bundle again, with a float graph that takes references, and without a back-up or an adapter of its own. */
export async function makeReferenceBundle(
  tiny: string,
  decision: NonNullable<Manifest['decision']>,
): Promise<{ folder: string; bundle: Bundle }> {
  const { manifest, files } = await readBundle(tiny);
  const engine = await createOnnxruntimeEngine();
  const network = createNetwork(manifest.network);
  const windows = cutWindows(tinyRecordings(), TINY_CLASSES, 512, 256);
  const weights = {
    parameters: network.parameters.initialize(new Random(2)),
    statistics: await measureStatistics(engine, network, windows),
  };
  const graph = encodeOnnx(
    traceInference(network, { input: 'int16', adapter: manifest.adapter, reference: true, temperature: 1 }, weights),
  );
  const session = await engine.load({ graph });
  const { tensors } = decodeSafetensors(files.get(FILES.answers)!, FILES.answers);
  const { window, scale, adapterIndex } = tensors;
  const inputs = {
    window,
    scale,
    adapterIndex,
    referenceBank: emptyTensor('float32', [1, referenceSize(network)]),
    referenceIndex: emptyTensor('int32', [window.shape[0]]),
  };
  const { logits } = await session.run({ ...inputs, adapterBank: answerBank(bankLayout(manifest).size) });
  await session.release();
  const core = new Map<string, Uint8Array>([
    [FILES.infer, graph],
    [FILES.weights, files.get(FILES.weights)!],
    [FILES.answers, encodeSafetensors({ tensors: { ...inputs, logits }, metadata: {} })],
  ]);
  const { parts: _parts, base: _base, backup: _backup, ...description } = manifest;
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-bundle-')), 'bundle');
  return { folder, bundle: await writeBundle(folder, { ...description, decision, reference: { windows: 4 } }, { core }) };
}
