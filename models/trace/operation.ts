import type * as tf from '@tensorflow/tfjs-core';
import type { Attribute, Values } from './graph.ts';
import type { Tracer } from './tracer.ts';

// biome-ignore lint/suspicious/noExplicitAny: attributes of tfjs kernels have a type of their own for every kernel
export type KernelAttributes = Record<string, any>;

/** What the way back knows of a node. */
export interface NodeView {
  readonly inputs: readonly tf.Tensor[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  /** Values of input `index` where it is a constant of the graph. */
  readonly constant: (index: number) => Values | undefined;
  readonly outputCount: number;
}

/**
 * One row of the op table: how an operation of tfjs becomes ONNX, with the rule for its shape, and the way back.
 *
 * A row without `kernel` exists in ONNX only (int8, shapes of the running batch). A row without `back` is emitted as other
 * rows' ONNX nodes, whose `back` serves it.
 */
export interface Operation {
  /** tfjs kernel that this row traces. */
  readonly kernel?: string;
  /** ONNX operator that `back` interprets. */
  readonly onnx?: string;
  /** Appends the nodes and states shape and dtype of what they make. `inputs` in the kernel's own order; `named` by the kernel's names. */
  readonly trace?: (
    tracer: Tracer,
    inputs: tf.TensorInfo[],
    attributes: KernelAttributes,
    named: Readonly<Record<string, tf.TensorInfo>>,
  ) => tf.TensorInfo | tf.TensorInfo[];
  /** Runs one ONNX node with tfjs ops on whatever backend is active. */
  readonly back?: (node: NodeView) => tf.Tensor | tf.Tensor[];
}
