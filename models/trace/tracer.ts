import type * as tf from '@tensorflow/tfjs-core';
import type { Attribute, ElementType, Graph, Values } from './graph.ts';

/**
 * Stands for the unknown batch size while a graph is traced: a prime so large that no real size is a multiple of it,
 * so that a dimension divisible by it is known to be (a multiple of) the batch.
 */
export const BATCH_SENTINEL = 104_729;

/** What a tensor of the tracing backend is: a value of the graph, or numbers known while tracing. */
type Traced = { readonly name: string } | { readonly values: Float32Array | Int32Array | Uint8Array };

/** The graph being traced, as the rows of the op table see it. */
export class Tracer {
  readonly shapes = new Map<string, readonly number[]>();
  readonly graph: Graph = {
    inputs: [],
    outputs: [],
    initializers: new Map(),
    nodes: [],
    shapes: this.shapes,
  };
  readonly #data = new WeakMap<object, Traced>();
  #counter = 0;
  #batchSize: string | undefined;
  /** Names of int64 constants by content, so that the same shape is stored once. */
  readonly #ints = new Map<string, string>();
  readonly #renamed = new Map<string, string>();
  readonly #reshapedFrom = new Map<string, string>();

  /** A tensor of tfjs that stands for `name` in the graph. */
  tensor(name: string, shape: readonly number[], dtype: tf.DataType): tf.TensorInfo {
    this.shapes.set(name, shape);
    return this.#info({ name }, shape, dtype);
  }

  constant(values: Float32Array | Int32Array | Uint8Array, shape: readonly number[], dtype: tf.DataType): tf.TensorInfo {
    return this.#info({ values }, shape, dtype);
  }

  #info(traced: Traced, shape: readonly number[], dtype: tf.DataType): tf.TensorInfo {
    const dataId = {};
    this.#data.set(dataId, traced);
    return { dataId, shape: [...shape], dtype };
  }

  write(values: Float32Array | Int32Array | Uint8Array): object {
    return this.#info({ values }, [], 'float32').dataId;
  }

  #traced(info: tf.TensorInfo): Traced {
    const traced = this.#data.get(info.dataId);
    if (!traced)
      throw new Error('a tensor of another backend or of another trace is used while tracing: make it inside the traced function');
    return traced;
  }

  /** Values known while tracing, or undefined. */
  known(info: tf.TensorInfo): Float32Array | Int32Array | Uint8Array | undefined {
    const traced = this.#traced(info);
    return 'values' in traced ? traced.values : undefined;
  }

  /** The one number that a known tensor consists of, or undefined. */
  uniform(info: tf.TensorInfo): number | undefined {
    const values = this.known(info);
    if (!values || values.length === 0) return undefined;
    const first = values[0];
    return values.every((value) => value === first) ? first : undefined;
  }

  /** The same value under another shape or type tag, without a node. */
  alias(info: tf.TensorInfo, shape: readonly number[] = info.shape, dtype: tf.DataType = info.dtype): tf.TensorInfo {
    return this.#info(this.#traced(info), shape, dtype);
  }

  /** Name by which nodes read this tensor; known numbers become an initializer on first use. */
  read(info: tf.TensorInfo): string {
    const traced = this.#traced(info);
    if ('name' in traced) return this.#renamed.get(traced.name) ?? traced.name;
    const type: ElementType = info.dtype === 'float32' ? 'float32' : info.dtype === 'bool' ? 'bool' : 'int32';
    const name = this.initializer(this.fresh(), type, info.shape, traced.values);
    this.#data.set(info.dataId, { name });
    return name;
  }

  initializer(name: string, type: ElementType, shape: readonly number[], values: Values): string {
    this.graph.initializers.set(name, {
      name,
      type,
      shape: [...shape],
      values,
    });
    return name;
  }

  /** An int64 vector, as ONNX wants shapes, axes and sizes. */
  ints(values: readonly number[]): string {
    const key = values.join();
    const known = this.#ints.get(key);
    if (known) return known;
    const name = this.initializer(this.fresh(), 'int64', [values.length], BigInt64Array.from(values, BigInt));
    this.#ints.set(key, name);
    return name;
  }

  /** A scalar float constant. */
  scalar(value: number): string {
    return this.initializer(this.fresh(), 'float32', [], Float32Array.of(value));
  }

  /** A name that no other value has. Short, because names are a good part of a small graph's bytes. */
  fresh(): string {
    return `_${(this.#counter++).toString(36)}`;
  }

  /** Tells tensors that are still to be read that their value has another name now. */
  renamed(from: string, to: string): void {
    const shape = this.shapes.get(from);
    if (shape) this.shapes.set(to, shape);
    this.#renamed.set(from, to);
  }

  /** Appends a node with one output and returns the output's name. */
  node(op: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}): string {
    return this.nodes(op, inputs, attributes, 1)[0];
  }

  nodes(op: string, inputs: readonly string[], attributes: Record<string, Attribute>, count: number): string[] {
    const outputs = Array.from({ length: count }, () => this.fresh());
    this.graph.nodes.push({ op, inputs, outputs, attributes });
    return outputs;
  }

  /** x under another shape; a reshape of a reshape reads the first one's source. */
  reshape(info: tf.TensorInfo, shape: readonly number[]): tf.TensorInfo {
    const same = info.shape.length === shape.length && info.shape.every((size, axis) => size === shape[axis]);
    if (same || this.known(info)) return this.alias(info, shape);
    const name = this.read(info);
    const source = this.#reshapedFrom.get(name) ?? name;
    const made = this.node('Reshape', [source, this.reshapeTarget(shape)]);
    this.#reshapedFrom.set(made, source);
    return this.tensor(made, shape, info.dtype);
  }

  /** A shape for Reshape: the one batch dimension becomes -1. */
  reshapeTarget(shape: readonly number[]): string {
    const dynamic = shape.filter((size) => size % BATCH_SENTINEL === 0 && size > 0).length;
    if (dynamic > 1) throw new Error(`shape [${shape}] has the batch in two dimensions; ONNX can infer one`);
    return this.ints(shape.map((size) => (size > 0 && size % BATCH_SENTINEL === 0 ? -1 : size)));
  }

  /** A shape for Expand: the batch is read from a graph input while running. */
  runtimeShape(shape: readonly number[]): string {
    if (shape.every((size) => size % BATCH_SENTINEL !== 0)) return this.ints(shape);
    const parts = shape.map((size) => {
      if (size % BATCH_SENTINEL !== 0) return this.ints([size]);
      const factor = size / BATCH_SENTINEL;
      return factor === 1 ? this.#batch() : this.node('Mul', [this.#batch(), this.ints([factor])]);
    });
    return parts.length === 1 ? parts[0] : this.node('Concat', parts, { axis: 0 });
  }

  #batch(): string {
    if (this.#batchSize) return this.#batchSize;
    const source = this.graph.inputs.find(({ shape }) => typeof shape[0] === 'string');
    if (!source) throw new Error('a dynamic shape is needed, but no graph input has a dynamic first dimension');
    this.#batchSize = this.node('Shape', [source.name], { start: 0, end: 1 });
    return this.#batchSize;
  }
}
