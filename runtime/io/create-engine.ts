import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import type { Engine } from '../../models/engine/engine.ts';

/** Loads what most gateways run on while nobody has asked for anything yet. Where it is not there, whoever asks for it hears why. */
export function warmEngine(): void {
  import('../../models/engine/onnxruntime-engine.ts').then(({ warmOnnxruntime }) => warmOnnxruntime()).catch(() => {});
}

/**
 * The engine of a configuration; what is not asked for is not loaded.
 *
 * @param wasmFolder where the .wasm files lie
 * @param threads inside one run
 * @throws BundleRefusal bundle/engine where it is not here, as in a folder that was packed for another
 */
export async function createEngine(kind: 'onnxruntime' | 'wasm', wasmFolder: string, threads?: number): Promise<Engine> {
  try {
    if (kind === 'wasm') return await (await import('../../models/engine/wasm-engine.ts')).createWasmEngine(wasmFolder);
    return await (await import('../../models/engine/onnxruntime-engine.ts')).createOnnxruntimeEngine({ threads });
  } catch (cause) {
    const [what] = (cause as Error).message.split('\n');
    throw new BundleRefusal('bundle/engine', `the engine ${kind} cannot be loaded (${what}); name the other one, or pack for this device`, {
      cause,
    });
  }
}
