import * as tf from '@tensorflow/tfjs-core';
import type { Engine } from './engine.ts';
import { createTfjsEngine } from './tfjs-engine.ts';

/**
 * Engine on tfjs-node's native backend, which the caller has loaded: backends register themselves with the one tfjs-core of the process,
 * whichever copy of it they came with. Server only.
 */
export async function createTfjsNodeEngine(version: string): Promise<Engine> {
  await tf.setBackend('tensorflow');
  return createTfjsEngine('tensorflow', version);
}
