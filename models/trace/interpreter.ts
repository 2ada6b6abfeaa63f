import * as tf from '@tensorflow/tfjs-core';
import type { Graph, Initializer, Node, Values } from './graph.ts';
import { OPERATIONS } from './operations/index.ts';

const WAY_BACK = new Map(OPERATIONS.filter((row) => row.onnx && row.back).map((row) => [row.onnx!, row.back!]));

/** Initializer values as a tensor: integers narrower than 32 bits as float32 (exact), int64 as int32. */
function tensorOf({ type, shape, values }: Initializer): tf.Tensor {
  const dims = [...shape];
  if (type === 'int64') return tf.tensor(Int32Array.from(values as BigInt64Array, Number), dims, 'int32');
  if (type === 'int32') return tf.tensor(values as Int32Array, dims, 'int32');
  if (type === 'bool') return tf.tensor(values as Uint8Array, dims, 'bool');
  return tf.tensor(type === 'float32' ? (values as Float32Array) : Float32Array.from(values as Int8Array), dims, 'float32');
}

/**
 * Runs a graph node by node with tfjs ops on the active backend: the way back through the op table.
 *
 * What depends on constants alone (int8 weights and their scales) is computed once, when the interpreter is made.
 */
export class Interpreter {
  readonly #graph: Graph;
  readonly #constants = new Map<string, tf.Tensor>();
  readonly #nodes: Node[] = [];

  /** @throws Error where the graph has an operator that the op table does not know */
  constructor(graph: Graph) {
    this.#graph = graph;
    for (const node of graph.nodes) {
      if (!WAY_BACK.has(node.op)) throw new Error(`operator ${node.op} has no way back in the op table`);
    }
    for (const initializer of graph.initializers.values()) this.#constants.set(initializer.name, tensorOf(initializer));
    for (const node of graph.nodes) {
      // An input left out is the empty name.
      if (node.inputs.every((name) => name === '' || this.#constants.has(name))) this.#run(node, this.#constants);
      else this.#nodes.push(node);
    }
  }

  /** @param feeds graph inputs by name; stays the caller's. Returns the outputs by name, to be disposed of by the caller. */
  run(feeds: Record<string, tf.Tensor>): Record<string, tf.Tensor> {
    return tf.tidy(() => {
      const values = new Map(this.#constants);
      for (const { name } of this.#graph.inputs) {
        if (!feeds[name]) throw new Error(`graph input ${name} is missing`);
        values.set(name, feeds[name]);
      }
      for (const node of this.#nodes) this.#run(node, values);
      return Object.fromEntries(this.#graph.outputs.map(({ name }) => [name, tf.clone(values.get(name)!)]));
    });
  }

  #run(node: Node, values: Map<string, tf.Tensor>): void {
    const constant = (index: number): Values | undefined => this.#graph.initializers.get(node.inputs[index])?.values;
    const view = {
      inputs: node.inputs.map((name) => values.get(name)!),
      attributes: node.attributes,
      constant,
      outputCount: node.outputs.length,
    };
    const made = WAY_BACK.get(node.op)!(view);
    const outputs = Array.isArray(made) ? made : [made];
    node.outputs.forEach((name, index) => {
      values.set(name, outputs[index]);
    });
  }

  dispose(): void {
    // Two names may hold one tensor (Identity), which tfjs counts as one.
    for (const tensor of new Set(this.#constants.values())) if (!tensor.isDisposed) tensor.dispose();
  }
}
