import type { Dimension, Graph, Initializer, Node } from '../trace/graph.ts';
import { quantizeWeight, type Range, unsignedParameters } from './parameters.ts';

export type { Range } from './parameters.ts';

export interface QuantizationOptions {
  /**
   * Bits of a weight. With 7, a product of an unsigned activation and two weights cannot overflow the 16 bits in which x86 without VNNI
   * adds them, so that every CPU gives the same integers.
   */
  readonly weightBits: 7 | 8;
  /** Names of weights to leave in float32. */
  readonly keep?: readonly string[];
  /** Weights below this share of their column's largest become 0, for a smaller file; see {@link sparsify}. Default 0. */
  readonly sparsity?: number;
}

export const DEFAULT_QUANTIZATION: QuantizationOptions = { weightBits: 7 };

/** A matrix product of an activation with a constant weight: what the pass turns into int8. */
interface Site {
  readonly node: Node;
  readonly activation: string;
  readonly weight: Initializer;
}

function sites(graph: Graph, keep: readonly string[] = []): Site[] {
  return graph.nodes.flatMap((node) => {
    const weight = graph.initializers.get(node.inputs[1]);
    const fits = node.op === 'MatMul' && weight?.name.endsWith('.weight') && weight.shape.length === 2 && !keep.includes(weight.name);
    return fits ? [{ node, activation: node.inputs[0], weight: weight! }] : [];
  });
}

/** A smaller table saves less than the node that restores it costs. */
const SMALLEST_TABLE = 256;

/** Parameters that are stored as matrices and enter no product, as positions do: int8 in the file, float32 from loading on. */
function tables(graph: Graph): string[] {
  return [...graph.initializers.values()]
    .filter(({ name, type, shape, values }) => {
      const parameter = type === 'float32' && !name.startsWith('_') && !name.endsWith('.weight');
      return parameter && shape.length === 2 && values.length >= SMALLEST_TABLE;
    })
    .map(({ name }) => name);
}

/** Names of the weights that the pass would turn into int8. */
export function quantizableWeights(graph: Graph): string[] {
  return [...sites(graph).map(({ weight }) => weight.name), ...tables(graph)];
}

/**
 * The graph with further outputs for every activation that is to be quantised, to be run on calibration windows.
 *
 * @param observe `ranges`: `min:name` and `max:name` over the whole batch, scalars, to be merged with {@link mergeRange}; `values`: the
 *   activation itself as `values:name`, [rows, inputs], for a histogram
 */
export function calibrationGraph(graph: Graph, observe: 'ranges' | 'values' = 'ranges'): { graph: Graph; activations: string[] } {
  const inputs = new Map(sites(graph).map(({ activation, weight }) => [activation, weight.shape[0]]));
  const watched = [...inputs].flatMap(([name, width]): { node: Node; shape: Dimension[] }[] => {
    const node = (op: string, output: string, attributes: Node['attributes'] = {}): Node => ({
      op,
      inputs: [name],
      outputs: [output],
      attributes,
    });
    if (observe === 'values') return [{ node: node('Identity', `values:${name}`), shape: [`rows of ${name}`, width] }];
    return ['Min', 'Max'].map((end) => ({ node: node(`Reduce${end}`, `${end.toLowerCase()}:${name}`, { keepdims: 0 }), shape: [] }));
  });
  const outputs = watched.map(({ node, shape }) => ({ name: node.outputs[0], type: 'float32' as const, shape }));
  return {
    graph: { ...graph, nodes: [...graph.nodes, ...watched.map(({ node }) => node)], outputs: [...graph.outputs, ...outputs] },
    activations: [...inputs.keys()],
  };
}

export function mergeRange(a: Range | undefined, b: Range): Range {
  return a ? { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) } : b;
}

/** Puts int8 values and scales in the place of a weight; returns their names. */
function addQuantizedWeight(
  graph: Graph,
  weight: Initializer,
  { weightBits, sparsity }: QuantizationOptions,
): [values: string, scales: string] {
  const { values, scales } = quantizeWeight(weight.values as Float32Array, weight.shape, weightBits, sparsity);
  const names: [string, string] = [`${weight.name}.int8`, `${weight.name}.scale`];
  graph.initializers.delete(weight.name);
  graph.initializers.set(names[0], { name: names[0], type: 'int8', shape: weight.shape, values });
  graph.initializers.set(names[1], { name: names[1], type: 'float32', shape: [scales.length], values: scales });
  return names;
}

/**
 * Static int8: unsigned 8-bit activations with a scale fixed by calibration, signed 7- or 8-bit weights with a scale a column. A
 * window's integers depend on the window alone, never on its batch.
 *
 * Each product becomes one MatMulIntegerToFloat of onnxruntime, which takes the bias along. (Quantize and DequantizeLinear around a
 * MatMul, the portable spelling, is not fused where a bias follows, and runs at fp32 speed: onnxruntime 1.30.)
 *
 * @param ranges of the activations named by {@link calibrationGraph}
 */
export function quantize(graph: Graph, ranges: ReadonlyMap<string, Range>, options: QuantizationOptions = DEFAULT_QUANTIZATION): Graph {
  const result: Graph = { ...graph, nodes: [], initializers: new Map(graph.initializers) };
  const chosen = new Map(sites(graph, options.keep).map((site) => [site.node, site]));
  const quantized = new Map<string, string[]>();
  const constant = (name: string, type: 'float32' | 'uint8', values: Float32Array | Uint8Array) => {
    result.initializers.set(name, { name, type, shape: [], values });
    return name;
  };
  const quantizedActivation = (name: string): string[] => {
    const known = quantized.get(name);
    if (known) return known;
    const range = ranges.get(name);
    if (!range) throw new Error(`activation ${name} was not calibrated`);
    const { scale, zeroPoint } = unsignedParameters(range);
    const parameters = [
      constant(`${name}.scale`, 'float32', Float32Array.of(scale)),
      constant(`${name}.zero`, 'uint8', Uint8Array.of(zeroPoint)),
    ];
    result.nodes.push({ op: 'QuantizeLinear', inputs: [name, ...parameters], outputs: [`${name}.uint8`], attributes: {} });
    const made = [`${name}.uint8`, ...parameters];
    quantized.set(name, made);
    return made;
  };
  const biased = biasesOf(graph, chosen);
  for (const node of graph.nodes) {
    const site = chosen.get(node);
    if (!site) {
      // The bias went into the product before it.
      if (![...biased.values()].some(({ add }) => add === node)) result.nodes.push(node);
      continue;
    }
    const { activation, weight } = site;
    const [input, scale, zero] = quantizedActivation(activation);
    const [values, scales] = addQuantizedWeight(result, weight, options);
    const bias = biased.get(node);
    const inputs = [input, values, scale, scales, zero, '', bias?.name ?? ''];
    while (inputs.at(-1) === '') inputs.pop();
    result.nodes.push({ op: 'com.microsoft.MatMulIntegerToFloat', inputs, outputs: bias?.add.outputs ?? node.outputs, attributes: {} });
  }
  shareConstants(result);
  return quantizeWeights(result, tables(graph), options);
}

/** Constants of more numbers lie in the weight file, which holds equal contents once anyway. */
const LARGEST_SHARED = 16;

/** Leaves one of several equal small constants: their names and headers are a twentieth of a student's int8 graph. */
function shareConstants(graph: Graph): void {
  const first = new Map<string, string>();
  const same = new Map<string, string>();
  for (const { name, type, shape, values } of graph.initializers.values()) {
    // Only what the tracer named: others may be sought by their names.
    if (!name.startsWith('_') || values.length > LARGEST_SHARED) continue;
    const content = `${type} ${shape} ${[...values].map((value) => (Object.is(value, -0) ? '-0' : value))}`;
    const known = first.get(content);
    if (known === undefined) first.set(content, name);
    else same.set(name, known);
  }
  for (const name of same.keys()) graph.initializers.delete(name);
  graph.nodes = graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map((name) => same.get(name) ?? name) }));
}

/** The constant bias that follows a product and nothing else reads, with the node that adds it. */
function biasesOf(graph: Graph, chosen: ReadonlyMap<Node, Site>): Map<Node, { name: string; add: Node }> {
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const found = new Map<Node, { name: string; add: Node }>();
  for (const product of chosen.keys()) {
    const [made] = product.outputs;
    const readers = graph.nodes.filter((node) => node.inputs.includes(made));
    const [add] = readers;
    if (readers.length !== 1 || add.op !== 'Add' || outputs.has(made)) continue;
    const name = add.inputs.find((input) => input !== made)!;
    if (graph.initializers.get(name)?.shape.length === 1) found.set(product, { name, add });
  }
  return found;
}

/**
 * Weights alone as int8, turned back into float32 when the graph is loaded: for the adaptation graph, whose frozen base must be the very
 * base that decides, and for tables.
 */
export function quantizeWeights(graph: Graph, names: readonly string[], options: QuantizationOptions = DEFAULT_QUANTIZATION): Graph {
  const result: Graph = { ...graph, initializers: new Map(graph.initializers) };
  const restored = names
    .filter((name) => !options.keep?.includes(name))
    .map((name) => {
      const weight = graph.initializers.get(name);
      if (!weight) throw new Error(`the graph has no weight ${name}`);
      const inputs = addQuantizedWeight(result, weight, options);
      return { op: 'DequantizeLinear', inputs, outputs: [name], attributes: { axis: 1 } };
    });
  result.nodes = [...restored, ...graph.nodes];
  return result;
}
