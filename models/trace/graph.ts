/** Element types that the graphs use, by their ONNX meaning. */
export type ElementType = 'float32' | 'int64' | 'int32' | 'int16' | 'int8' | 'uint8' | 'bool';

export type Values = Float32Array | BigInt64Array | Int32Array | Int16Array | Int8Array | Uint8Array;

/** A size, or the name of one that is only known when the graph runs (`'N'`: the batch). */
export type Dimension = number | string;

/** The array that holds values of a type. Booleans are bytes. */
export const ARRAY_OF_TYPE = {
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const;

export interface ValueInfo {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly Dimension[];
}

/** A constant of the graph. `external` marks what lies in the weight file beside the graph instead of in it. */
export interface Initializer {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly values: Values;
  external?: { readonly location: string; readonly offset: number };
}

export type Attribute = number | string | readonly number[];

export interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/**
 * A network as a list of ONNX nodes in the order in which they run. What tracing yields, what the int8 pass rewrites,
 * what is encoded as `.onnx`, and what the wasm engine interprets.
 */
export interface Graph {
  readonly inputs: ValueInfo[];
  readonly outputs: ValueInfo[];
  readonly initializers: Map<string, Initializer>;
  nodes: Node[];
  /** Shapes of the values between the nodes, as far as tracing stated them; not part of the encoded graph. */
  readonly shapes?: Map<string, readonly number[]>;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Drops every node and constant that no output depends on. */
export function prune(graph: Graph): void {
  const needed = new Set(graph.outputs.map((output) => output.name));
  const kept: Node[] = [];
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some((name) => needed.has(name))) continue;
    for (const name of node.inputs) needed.add(name);
    // What is not read of its optional outputs is not computed; a Split must keep all of its own.
    let count = node.outputs.length;
    while (node.op === 'LayerNormalization' && !needed.has(node.outputs[count - 1])) count--;
    kept.push(count === node.outputs.length ? node : { ...node, outputs: node.outputs.slice(0, count) });
  }
  graph.nodes = kept.reverse();
  for (const name of [...graph.initializers.keys()]) if (!needed.has(name)) graph.initializers.delete(name);
}
