import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import { type Dimension, type ElementType, type Graph, prune } from './graph.ts';
import type { KernelAttributes } from './operation.ts';
import { OPERATIONS } from './operations/index.ts';
import { BATCH_SENTINEL, Tracer } from './tracer.ts';

const TENSOR_TYPE: Record<ElementType, tf.DataType> = {
  float32: 'float32',
  int64: 'int32',
  int32: 'int32',
  int16: 'float32',
  int8: 'float32',
  uint8: 'float32',
  bool: 'bool',
};

class TracingBackend extends tf.KernelBackend {
  tracer: Tracer | undefined;

  get active(): Tracer {
    if (!this.tracer) throw new Error('the tracing backend runs only inside trace()');
    return this.tracer;
  }

  override write(values: tf.BackendValues, _shape: number[], dtype: tf.DataType): object {
    if (dtype === 'string' || dtype === 'complex64') throw new Error(`a ${dtype} tensor cannot be traced`);
    return this.active.write(values as Float32Array);
  }

  override move(): void {
    throw new Error('a tensor of another backend cannot enter a trace: make it inside the traced function');
  }

  override readSync(): never {
    throw new Error('a traced tensor has no numbers: data-dependent control flow cannot be traced');
  }

  override read(): never {
    return this.readSync();
  }

  override disposeData(): boolean {
    return true;
  }
  override refCount(): number {
    return 1;
  }
  override incRef(): void {}
  override numDataIds(): number {
    return 0;
  }
  override memory(): { unreliable: boolean } {
    return { unreliable: true };
  }
  override epsilon(): number {
    return 1e-7;
  }
  override floatPrecision(): 32 {
    return 32;
  }
  override dispose(): void {}
}

const backend = new TracingBackend();

function register(): void {
  tf.registerBackend('trace', () => backend, 0);
  for (const operation of OPERATIONS) {
    if (!operation.kernel || !operation.trace) continue;
    const { kernel, trace: emit } = operation;
    tf.registerKernel({
      kernelName: kernel,
      backendName: 'trace',
      kernelFunc: ({ inputs, attrs }) => {
        // A variadic kernel (Concat, AddN, Pack) receives an array, all others a record by input name.
        const given = (Array.isArray(inputs) ? inputs : Object.values(inputs)) as tf.TensorInfo[];
        return emit(backend.active, given, (attrs ?? {}) as KernelAttributes, inputs as Record<string, tf.TensorInfo>);
      },
    });
  }
}

let registered = false;

/** An input of the traced function. `'N'` as first dimension makes the batch dynamic. */
export interface TraceInput {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly Dimension[];
}

export type TracedTensors = Record<string, tf.Tensor>;

/** Makes named constants that later passes (int8, external weights) can find again. */
export type ConstantMaker = (name: string, values: Float32Array, shape: readonly number[]) => tf.Tensor;

/**
 * Runs `build` on the tracing backend and returns the graph of what it did.
 *
 * Every tfjs-core op that has a row in the op table can be used, gradients included. Values of dtype int16, int8 and uint8
 * enter as float32 through a Cast node.
 *
 * @param inputs graph inputs; a string dimension is dynamic (only one name, only the batch)
 * @param build receives the inputs as tensors and returns the outputs by name
 * @throws Error where an op has no row, data is read while tracing, or the batch stands in two dimensions of a reshape
 */
export function trace(inputs: readonly TraceInput[], build: (inputs: TracedTensors, constant: ConstantMaker) => TracedTensors): Graph {
  if (!registered) register();
  registered = true;
  if (backend.tracer) throw new Error('trace() inside trace()');
  const engine = tf.engine();
  const previous = engine.backendName;
  const tracer = new Tracer();
  backend.tracer = tracer;
  // Takes effect at once: the factory is synchronous, so setBackend does not await.
  void engine.setBackend('trace');
  try {
    tf.tidy(() => {
      const made = (info: tf.TensorInfo) => engine.makeTensorFromTensorInfo(info);
      const given: TracedTensors = {};
      for (const { name, type, shape } of inputs) {
        tracer.graph.inputs.push({ name, type, shape });
        const sizes = shape.map((size) => (typeof size === 'string' ? BATCH_SENTINEL : size));
        const narrow = type === 'int16' || type === 'int8' || type === 'uint8';
        const value = narrow ? tracer.node('Cast', [name], { to: 1 }) : name;
        given[name] = made(tracer.tensor(value, sizes, TENSOR_TYPE[type]));
      }
      const constant: ConstantMaker = (name, values, shape) =>
        made(tracer.tensor(tracer.initializer(name, 'float32', shape, values), shape, 'float32'));
      const outputs = build(given, constant);
      for (const [name, tensor] of Object.entries(outputs)) nameOutput(tracer, name, tensor);
    });
  } finally {
    backend.tracer = undefined;
    if (previous) void engine.setBackend(previous);
  }
  prune(tracer.graph);
  return tracer.graph;
}

/** Lets `name` be the output of the node that makes it; a copy through Identity costs time and is only used where it must. */
function nameOutput(tracer: Tracer, name: string, tensor: tf.Tensor): void {
  const { graph } = tracer;
  const shape = tensor.shape.map((size) => (size > 0 && size % BATCH_SENTINEL === 0 ? 'N' : size));
  const type: ElementType = tensor.dtype === 'int32' ? 'int32' : tensor.dtype === 'bool' ? 'bool' : 'float32';
  const made = tracer.read(tensor);
  const taken = new Set([...graph.inputs, ...graph.outputs].map((value) => value.name));
  const producer = graph.nodes.findIndex((node) => node.outputs.includes(made));
  if (producer < 0 || taken.has(made)) {
    graph.nodes.push({
      op: 'Identity',
      inputs: [made],
      outputs: [name],
      attributes: {},
    });
  } else {
    const rename = (names: readonly string[]) => names.map((other) => (other === made ? name : other));
    graph.nodes = graph.nodes.map((node) => ({
      ...node,
      inputs: rename(node.inputs),
      outputs: rename(node.outputs),
    }));
    tracer.renamed(made, name);
  }
  graph.outputs.push({ name, type, shape });
}
