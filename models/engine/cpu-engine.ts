import { version_cpu } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import type { Engine } from './engine.ts';
import { createTfjsEngine } from './tfjs-engine.ts';

/** Engine on tfjs's plain JavaScript backend: the oracle that the others are compared with. Server and tests only. */
export async function createCpuEngine(): Promise<Engine> {
  await tf.setBackend('cpu');
  return createTfjsEngine('cpu', version_cpu);
}
