import { type Bundle, bundleModel, FILES, readBundle } from '../../models/bundle/bundle.ts';
import type { Engine, Model, Session } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { createNetwork } from '../../models/networks/index.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceInference } from '../../models/training/trace-inference.ts';
import { readBase } from '../../trainer/release/base.ts';

export type EngineName = 'onnxruntime' | 'wasm';
export type Precision = 'int8' | 'fp32';

/** One way to run the bundle here. */
export interface Subject {
  readonly engine: EngineName;
  readonly version: string;
  readonly precision: Precision;
  readonly threads: number;
  readonly session: Session;
  /** Resident memory that the session added, megabytes of 10^6 bytes; rough where the allocator had some left. */
  readonly loadedMb: number;
}

export interface Subjects {
  readonly bundle: Bundle;
  readonly subjects: readonly Subject[];
  /** What cannot be run here, with its reason. */
  readonly skipped: Readonly<Record<string, string>>;
  release(): Promise<void>;
}

/** 1, 2, 4 … and all of the cores; beyond eight a network of this size has nothing to share. */
export function threadCounts(cores: number): number[] {
  const most = Math.min(8, cores);
  return [...new Set([1, 2, 4, 8].filter((count) => count < most).concat(most))];
}

/**
 * Loads a bundle in every way in which this machine can run it. A bundle with int8 weights has the float network in its part `server` only, which a
 * gateway does not get.
 *
 * @param wasmFolder folder that holds tfjs-backend-wasm.wasm, with a closing slash
 * @throws BundleRefusal
 */
export async function loadSubjects(
  folder: string,
  wasmFolder: string,
  threads: readonly number[],
  progress: (line: string) => void,
): Promise<Subjects> {
  const bundle = await readBundle(folder);
  const skipped: Record<string, string> = {};
  const models: [Precision, Model][] = [['int8', bundleModel(bundle, FILES.infer)]];
  try {
    models.push(['fp32', { graph: await floatModel(folder) }]);
  } catch (error) {
    skipped.fp32 = `the float network cannot be had: ${(error as Error).message}`;
  }
  const subjects: Subject[] = [];
  const add = async (name: EngineName, count: number, make: () => Promise<Engine>) => {
    progress(`loads ${name}${name === 'wasm' ? '' : `, ${count} threads`}`);
    try {
      const engine = await make();
      for (const [precision, model] of models) {
        const before = process.memoryUsage.rss();
        const session = await engine.load(model);
        const loadedMb = Math.max(0, process.memoryUsage.rss() - before) / 1e6;
        subjects.push({ engine: name, version: engine.version, precision, threads: count, session, loadedMb });
      }
    } catch (error) {
      skipped[name] = (error as Error).message;
    }
  };
  for (const count of threads) await add('onnxruntime', count, () => createOnnxruntimeEngine({ threads: count }));
  await add('wasm', 1, async () => (await import('../../models/engine/wasm-engine.ts')).createWasmEngine(wasmFolder));
  return {
    bundle,
    subjects,
    skipped,
    release: async () => {
      for (const { session } of subjects) await session.release();
    },
  };
}

/** The deciding graph in float32, traced again from the float weights. @throws BundleRefusal where they are not there */
export async function floatModel(folder: string): Promise<Uint8Array> {
  const bundle = await readBundle(folder, ['core', 'server']);
  const { primary } = readBase(bundle);
  const { adapter, temperature } = bundle.manifest;
  const network = createNetwork(primary.options);
  return encodeOnnx(
    traceInference(network, { input: 'int16', adapter, reference: network.reference ?? false, temperature }, primary.weights),
  );
}
