import * as tf from '@tensorflow/tfjs-core';
import type { ElementType } from '../trace/graph.ts';
import { Interpreter } from '../trace/interpreter.ts';
import { decodeOnnx } from '../trace/onnx.ts';
import { registerCompositeKernels } from '../trace/operations/composite.ts';
import type { Engine, Model, Session, TensorData } from './engine.ts';

function toTensor({ type, shape, values }: TensorData): tf.Tensor {
  if (type === 'int64') return tf.tensor(Int32Array.from(values as BigInt64Array, Number), [...shape], 'int32');
  if (type === 'int32') return tf.tensor(values as Int32Array, [...shape], 'int32');
  return tf.tensor(type === 'float32' ? (values as Float32Array) : Float32Array.from(values as Int16Array), [...shape], 'float32');
}

/** Refuses what onnxruntime would refuse, so that both engines fail alike. */
function checkFeed(name: string, type: ElementType, shape: readonly (number | string)[], feed: TensorData | undefined): void {
  if (!feed) throw new Error(`graph input ${name} is missing`);
  const fits = feed.shape.length === shape.length && shape.every((size, axis) => typeof size === 'string' || size === feed.shape[axis]);
  if (feed.type !== type || !fits) {
    throw new Error(`graph input ${name} is ${feed.type} [${feed.shape}], the graph wants ${type} [${shape}]`);
  }
}

/**
 * Engine on a tfjs backend: every node of the same graph goes back through the op table. Slower than onnxruntime; runs wherever Node runs.
 *
 * @param backend a registered tfjs backend: `wasm`, `cpu` or `tensorflow`
 */
export async function createTfjsEngine(backend: string, version: string): Promise<Engine> {
  await tf.ready();
  registerCompositeKernels(backend);
  const onBackend = async <T>(work: () => T): Promise<T> => {
    if (tf.getBackend() !== backend) await tf.setBackend(backend);
    return work();
  };
  return {
    name: backend === 'tensorflow' ? 'tfjs-node' : backend,
    version,
    threads: 1,
    async load({ graph, files }: Model): Promise<Session> {
      const decoded = decodeOnnx(graph, files);
      const interpreter = await onBackend(() => new Interpreter(decoded));
      return {
        inputs: decoded.inputs,
        outputs: decoded.outputs,
        async run(feeds, fetches = {}) {
          for (const { name, type, shape } of decoded.inputs) checkFeed(name, type, shape, feeds[name]);
          const results = await onBackend(() => {
            const tensors = Object.fromEntries(decoded.inputs.map(({ name }) => [name, toTensor(feeds[name])]));
            const made = interpreter.run(tensors);
            tf.dispose(tensors);
            return made;
          });
          const outputs: Record<string, TensorData> = {};
          for (const { name, type } of decoded.outputs) {
            const values = results[name].dataSync() as Float32Array;
            const into = fetches[name];
            if (into) (into.values as Float32Array).set(values);
            outputs[name] = into ?? {
              type,
              shape: results[name].shape,
              values,
            };
          }
          tf.dispose(results);
          return outputs;
        },
        async release() {
          await onBackend(() => interpreter.dispose());
        },
      };
    },
  };
}
