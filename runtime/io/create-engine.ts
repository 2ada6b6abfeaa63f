import type { Engine } from '../../models/engine/engine.ts';

/** Loads what most gateways run on while nobody has asked for anything yet. Where it is not there, whoever asks for it hears why. */
export function warmEngine(): void {
  import('../../models/engine/onnxruntime-engine.ts').then(({ warmOnnxruntime }) => warmOnnxruntime()).catch(() => {});
}

/** The engine of a configuration; what is not asked for is not loaded. @param wasmFolder where the .wasm files lie @param threads inside one run */
export async function createEngine(kind: 'onnxruntime' | 'wasm', wasmFolder: string, threads?: number): Promise<Engine> {
  if (kind === 'wasm') return (await import('../../models/engine/wasm-engine.ts')).createWasmEngine(wasmFolder);
  return (await import('../../models/engine/onnxruntime-engine.ts')).createOnnxruntimeEngine({ threads });
}
