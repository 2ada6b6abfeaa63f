import { readFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { version_core } from '@tensorflow/tfjs-core';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';

/** What a figure depends on beside the code. No host name: results are committed. */
export interface Machine {
  readonly cpu: string;
  readonly architecture: string;
  readonly cores: number;
  readonly memoryGiB: number;
  /** Vector units that decide which kernels run, separated by commas. */
  readonly vectorUnits: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly tfjs: string;
}

const VECTOR_UNITS = ['avx2', 'avx_vnni', 'avx512f', 'avx512_vnni', 'amx_int8', 'asimd', 'asimddp', 'i8mm', 'sve'];

export async function describeMachine(): Promise<Machine> {
  const [first] = cpus();
  const information = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(information)?.[1].trim().split(/\s+/));
  const { version } = await createOnnxruntimeEngine();
  return {
    cpu: first?.model.trim() ?? 'unknown',
    architecture: process.arch,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    vectorUnits: VECTOR_UNITS.filter((unit) => flags.has(unit)).join(', '),
    node: process.versions.node,
    onnxruntime: version,
    tfjs: version_core,
  };
}
