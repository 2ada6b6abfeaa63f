import * as tf from '@tensorflow/tfjs-core';
import { type Engine, floatTensor } from '../../models/engine/engine.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { trace } from '../../models/trace/trace.ts';
import type { ColumnScaling } from './column-scaling.ts';

/** Rows a product: float32 sums of so many keep six digits; the products are added up in float64. */
const BLOCK = 512;

/**
 * X^T X of standardised features, by an engine's matrix product: seven times as fast as plain loops, to about six digits.
 *
 * @param features row-major [rows, width]
 * @returns [width, width]
 */
export async function gramThroughEngine(
  engine: Engine,
  features: Float32Array,
  scaling: ColumnScaling,
  onProgress: (share: number) => void = () => {},
  signal?: AbortSignal,
): Promise<Float64Array> {
  const width = scaling.mean.length;
  const rows = features.length / width;
  const shape = [BLOCK, width];
  const graph = trace([{ name: 'x', type: 'float32', shape }], ({ x }) => ({ gram: tf.matMul(x, x, true, false) }));
  const session = await engine.load({ graph: encodeOnnx(graph) });
  const gram = new Float64Array(width * width);
  const block = new Float32Array(BLOCK * width);
  for (let row = 0; row < rows; row += BLOCK) {
    signal?.throwIfAborted();
    // The last block is filled up with zeros, which add nothing.
    const x = scaling.rows(features, row, Math.min(BLOCK, rows - row));
    block.fill(0).set(x);
    const made = (await session.run({ x: floatTensor(block, shape) })).gram.values as Float32Array;
    for (let at = 0; at < gram.length; at++) gram[at] += made[at];
    onProgress(Math.min(1, (row + BLOCK) / rows));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await session.release();
  return gram;
}
