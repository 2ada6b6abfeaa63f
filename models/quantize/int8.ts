import type { Graph, Initializer, Node } from '../trace/graph.ts';

/** Range of the values that a tensor took on calibration windows. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

export interface QuantizationOptions {
  /**
   * Bits of a weight. With 7, a product of an unsigned activation and two weights cannot overflow the 16 bits in which x86 without VNNI
   * adds them, so that every CPU gives the same integers.
   */
  readonly weightBits: 7 | 8;
  /** Names of weights to leave in float32. */
  readonly keep?: readonly string[];
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

/** Names of the weights that the pass would turn into int8. */
export function quantizableWeights(graph: Graph): string[] {
  return sites(graph).map(({ weight }) => weight.name);
}

/**
 * The graph with two further outputs for every activation that is to be quantised: `min:name` and `max:name`, over the whole batch.
 * Run it on calibration windows and merge with {@link mergeRange}.
 */
export function calibrationGraph(graph: Graph): { graph: Graph; activations: string[] } {
  const activations = [...new Set(sites(graph).map(({ activation }) => activation))];
  const extra: Node[] = activations.flatMap((name) =>
    (['Min', 'Max'] as const).map((kind) => ({
      op: `Reduce${kind}`,
      inputs: [name],
      outputs: [`${kind.toLowerCase()}:${name}`],
      attributes: { keepdims: 0 },
    })),
  );
  const outputs = extra.map(({ outputs: [name] }) => ({ name, type: 'float32' as const, shape: [] }));
  return { graph: { ...graph, nodes: [...graph.nodes, ...extra], outputs: [...graph.outputs, ...outputs] }, activations };
}

export function mergeRange(a: Range | undefined, b: Range): Range {
  return a ? { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) } : b;
}

/**
 * Scale and zero point of unsigned 8-bit integers for a range, which is widened to hold 0 so that padding is exact.
 * The same rule as onnxruntime's static quantisation (asymmetric, QUInt8).
 */
export function unsignedParameters({ min, max }: Range): { scale: number; zeroPoint: number } {
  const [low, high] = [Math.min(0, min), Math.max(0, max)];
  const scale = Math.fround((high - low) / 255);
  // A range too small for a normal float32 scale carries nothing.
  if (scale < 1.1754943508222875e-38) return { scale: 1, zeroPoint: 0 };
  return { scale, zeroPoint: Math.round(-low / scale) + 0 };
}

/** Half to even, as ONNX rounds; Math.round takes halves up. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Symmetric integers of `bits` bits, one scale a column. weight: [inputs, outputs] row-major */
export function quantizeWeight(
  weight: Float32Array,
  [inputs, outputs]: readonly number[],
  bits: number,
): { values: Int8Array; scales: Float32Array } {
  const limit = 2 ** (bits - 1) - 1;
  const scales = new Float32Array(outputs);
  for (let row = 0; row < inputs; row++) {
    for (let column = 0; column < outputs; column++) {
      scales[column] = Math.max(scales[column], Math.abs(weight[row * outputs + column]) / limit);
    }
  }
  const values = weight.map((value, index) => {
    const scale = scales[index % outputs];
    return scale === 0 ? 0 : Math.max(-limit, Math.min(limit, roundHalfEven(value / scale)));
  });
  return { values: Int8Array.from(values), scales };
}

/** Puts int8 values and scales in the place of a weight; returns their names. */
function addQuantizedWeight(graph: Graph, weight: Initializer, bits: number): [values: string, scales: string] {
  const { values, scales } = quantizeWeight(weight.values as Float32Array, weight.shape, bits);
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
    const [values, scales] = addQuantizedWeight(result, weight, options.weightBits);
    const bias = biased.get(node);
    const inputs = [input, values, scale, scales, zero, '', bias?.name ?? ''];
    while (inputs.at(-1) === '') inputs.pop();
    result.nodes.push({ op: 'com.microsoft.MatMulIntegerToFloat', inputs, outputs: bias?.add.outputs ?? node.outputs, attributes: {} });
  }
  return result;
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
 * Weights alone as int8, turned back into float32 where they are used: for the adaptation graph, whose frozen base must be the very
 * base that decides.
 */
export function quantizeWeights(graph: Graph, names: readonly string[], options: QuantizationOptions = DEFAULT_QUANTIZATION): Graph {
  const result: Graph = { ...graph, initializers: new Map(graph.initializers) };
  const restored = names.map((name) => {
    const weight = graph.initializers.get(name);
    if (!weight) throw new Error(`the graph has no weight ${name}`);
    const inputs = addQuantizedWeight(result, weight, options.weightBits);
    return { op: 'DequantizeLinear', inputs, outputs: [name], attributes: { axis: 1 } };
  });
  result.nodes = [...restored, ...graph.nodes];
  return result;
}
