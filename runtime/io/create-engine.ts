import type { Engine } from '../../models/engine/engine.ts';

/** The engine of a configuration; what is not asked for is not loaded. @param wasmFolder where the .wasm files lie @param threads inside one run */
export async function createEngine(kind: 'onnxruntime' | 'wasm', wasmFolder: string, threads?: number): Promise<Engine> {
  if (kind === 'wasm') return (await import('../../models/engine/wasm-engine.ts')).createWasmEngine(wasmFolder);
  return (await import('../../models/engine/onnxruntime-engine.ts')).createOnnxruntimeEngine({ threads });
}
