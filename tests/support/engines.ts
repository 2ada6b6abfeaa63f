import { createCpuEngine } from '../../models/engine/cpu-engine.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { createWasmEngine } from '../../models/engine/wasm-engine.ts';

/** Folder with tfjs's .wasm files, as the build lays them out. */
export const WASM_FOLDER = new URL('../../dist/', import.meta.url).pathname;

/** Every engine that can run here, by the way of making it. */
export const ENGINES: Record<string, () => Promise<Engine>> = {
  onnxruntime: () => createOnnxruntimeEngine(),
  'onnxruntime, 2 threads': () => createOnnxruntimeEngine({ threads: 2 }),
  wasm: () => createWasmEngine(WASM_FOLDER),
  cpu: createCpuEngine,
};
