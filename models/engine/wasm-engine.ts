import { setWasmPaths, version_wasm } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import type { Engine } from './engine.ts';
import { createTfjsEngine } from './tfjs-engine.ts';

/**
 * Engine on tfjs's WebAssembly backend: armv7, musl and riscv64, where onnxruntime does not exist.
 *
 * @param wasmFolder folder that holds tfjs-backend-wasm.wasm and its SIMD variant, with a closing slash
 * @throws Error where they are not there
 */
export async function createWasmEngine(wasmFolder: string): Promise<Engine> {
  setWasmPaths(wasmFolder);
  // tfjs reports a backend that does not start as false.
  if (!(await tf.setBackend('wasm'))) throw new Error(`tfjs-backend-wasm.wasm cannot be loaded from ${wasmFolder}`);
  return createTfjsEngine('wasm', version_wasm);
}
