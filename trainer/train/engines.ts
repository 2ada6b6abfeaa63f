import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Engine, EngineOptions } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine, type Provider } from '../../models/engine/onnxruntime-engine.ts';
import { Refusal } from '../refusal.ts';

/** Every engine by the word that chooses it, the default first. */
export const ENGINE_NAMES = ['onnx', 'tfjs-node', 'wasm', 'cpu'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export const PRECISIONS = ['fp32', 'fp16'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** Folder of the built programs and the engines' files; the sources, where tests run them, find it beside them. */
export const PROGRAMS = new URL(import.meta.url.endsWith('.ts') ? '../../dist/' : './', import.meta.url);

export interface OpenOptions extends EngineOptions {
  /** Where onnxruntime computes. Default cpu. */
  readonly provider?: Provider;
  readonly precision?: Precision;
  /** Folder with the .wasm files, closing slash. */
  readonly programs?: URL;
}

/**
 * The engine of a name, loaded when it is asked for.
 *
 * fp16 is refused: onnxruntime's CPU provider has no half-precision kernels for a training step and puts casts to fp32 around the nodes, which takes
 * a tenth to a quarter longer and saves no memory (measured at widths 48 to 160); tfjs knows no float16.
 *
 * @throws Refusal engine/precision where it cannot compute in that precision; engine/missing where its library is not there;
 * engine/provider where another engine than onnx is asked for CUDA
 */
export async function openEngine(name: EngineName, options: OpenOptions = {}): Promise<Engine> {
  const { provider = 'cpu', precision = 'fp32', programs = PROGRAMS } = options;
  if (provider !== 'cpu' && name !== 'onnx') {
    throw new Refusal('engine/provider', `engine ${name} has no provider ${provider}; use --engine onnx`);
  }
  if (precision === 'fp16') {
    throw new Refusal(
      'engine/precision',
      'on a processor fp16 is computed in fp32, slower and in no less memory; leave --precision out (CUDA would gain by it, but its fp16 graphs are not there yet)',
    );
  }
  switch (name) {
    case 'onnx':
      return provider === 'cpu' ? createOnnxruntimeEngine(options) : openCuda(options);
    case 'wasm':
      return (await import('../../models/engine/wasm-engine.ts')).createWasmEngine(fileURLToPath(programs));
    case 'cpu':
      return (await import('../../models/engine/cpu-engine.ts')).createCpuEngine();
    case 'tfjs-node':
      return openTfjsNode();
  }
}

/**
 * Whether an installed package has a file of such a name below one of its folders. Asked before the package is, which would print pages about
 * what it lacks.
 */
function packageHas(name: string, folder: string, file: RegExp): boolean {
  try {
    const path = join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), folder);
    return existsSync(path) && readdirSync(path, { recursive: true }).some((entry) => file.test(basename(String(entry))));
  } catch {
    return false;
  }
}

async function openCuda(options: EngineOptions): Promise<Engine> {
  const missing = (reason: string, cause?: unknown) =>
    new Refusal(
      'engine/missing',
      `onnxruntime-node cannot use CUDA here (${reason}); npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12 downloads its CUDA libraries (Linux x64)`,
      { cause },
    );
  if (!packageHas('onnxruntime-node', 'bin', /onnxruntime_providers_cuda\.(so|dll)$/))
    throw missing('its CUDA libraries are not installed');
  try {
    return await createOnnxruntimeEngine({ ...options, provider: 'cuda' });
  } catch (cause) {
    throw missing((cause as Error).message.split('\n')[0], cause);
  }
}

async function openTfjsNode(): Promise<Engine> {
  // Not a literal: the package is optional and neither compiler nor bundler may look for it.
  const name: string = '@tensorflow/tfjs-node';
  const missing = (reason: string, cause?: unknown) =>
    new Refusal(
      'engine/missing',
      `tfjs-node cannot be used here (${reason}); npm rebuild @tensorflow/tfjs-node downloads its native library (Node 22 or older), or leave --engine out`,
      { cause },
    );
  if (!packageHas(name, 'lib', /^tfjs_binding\.node$/)) throw missing('its native library is not installed');
  try {
    const module = (await import(name)) as { version: Record<string, string>; default?: { version: Record<string, string> } };
    const { createTfjsNodeEngine } = await import('../../models/engine/tfjs-node-engine.ts');
    return await createTfjsNodeEngine((module.version ?? module.default!.version)['tfjs-node']);
  } catch (cause) {
    throw missing((cause as Error).message.split('\n')[0], cause);
  }
}
