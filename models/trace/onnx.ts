import { onnx } from 'onnx-proto';
import { ARRAY_OF_TYPE, type Attribute, type ElementType, elementCount, type Graph, type Initializer } from './graph.ts';
import { rawBytes, valuesOfBytes } from './raw-bytes.ts';

/** Opset 21 (IR 10): has Gelu, LayerNormalization and 8-bit Quantize/DequantizeLinear with an axis; run by onnxruntime 1.19 and later. */
const OPSET = 21;
const IR_VERSION = 10;
/** Operators of onnxruntime's own domain carry it in their name, as in `com.microsoft.MatMulIntegerToFloat`. */
const CONTRIB = 'com.microsoft';

const { DataType, DataLocation } = onnx.TensorProto;
const TYPE_CODE: Record<ElementType, number> = {
  float32: DataType.FLOAT,
  int64: DataType.INT64,
  int32: DataType.INT32,
  int16: DataType.INT16,
  int8: DataType.INT8,
  uint8: DataType.UINT8,
  bool: DataType.BOOL,
};
const TYPE_OF_CODE = new Map(Object.entries(TYPE_CODE).map(([type, code]) => [code, type as ElementType]));

/** Attributes that ONNX declares as FLOAT; all other numbers are INT. */
const FLOAT_ATTRIBUTES = new Set(['epsilon', 'alpha', 'beta']);

function typeOfCode(code: number): ElementType {
  const type = TYPE_OF_CODE.get(code);
  if (!type) throw new Error(`ONNX element type ${code} is not one that Tremolo's graphs use`);
  return type;
}

function encodeAttribute(name: string, value: Attribute): onnx.IAttributeProto {
  const { AttributeType } = onnx.AttributeProto;
  if (typeof value === 'string')
    return {
      name,
      type: AttributeType.STRING,
      s: Uint8Array.from(value, (letter) => letter.charCodeAt(0)),
    };
  if (typeof value === 'number') {
    return FLOAT_ATTRIBUTES.has(name) ? { name, type: AttributeType.FLOAT, f: value } : { name, type: AttributeType.INT, i: value };
  }
  return { name, type: AttributeType.INTS, ints: [...value] };
}

function encodeInitializer({ name, type, shape, values, external }: Initializer): onnx.ITensorProto {
  const tensor: onnx.ITensorProto = {
    name,
    dims: [...shape],
    dataType: TYPE_CODE[type],
  };
  if (!external) return { ...tensor, rawData: rawBytes(values) };
  return {
    ...tensor,
    dataLocation: DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: external.location },
      { key: 'offset', value: String(external.offset) },
      { key: 'length', value: String(values.byteLength) },
    ],
  };
}

function encodeValueInfo({ name, type, shape }: Graph['inputs'][number]): onnx.IValueInfoProto {
  const dim = shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return {
    name,
    type: { tensorType: { elemType: TYPE_CODE[type], shape: { dim } } },
  };
}

/** Encodes a graph as an ONNX model. */
export function encodeOnnx(graph: Graph): Uint8Array {
  const model = onnx.ModelProto.create({
    irVersion: IR_VERSION,
    producerName: 'tremolo',
    opsetImport: [
      { domain: '', version: OPSET },
      { domain: CONTRIB, version: 1 },
    ],
    graph: {
      name: 'tremolo',
      node: graph.nodes.map((node) => ({
        opType: node.op.slice(node.op.lastIndexOf('.') + 1),
        domain: node.op.slice(0, Math.max(0, node.op.lastIndexOf('.'))),
        input: [...node.inputs],
        output: [...node.outputs],
        attribute: Object.entries(node.attributes).map(([name, value]) => encodeAttribute(name, value)),
      })),
      input: graph.inputs.map(encodeValueInfo),
      output: graph.outputs.map(encodeValueInfo),
      initializer: [...graph.initializers.values()].map(encodeInitializer),
    },
  });
  return onnx.ModelProto.encode(model).finish();
}

function decodeAttribute(attribute: onnx.IAttributeProto): Attribute {
  const { AttributeType } = onnx.AttributeProto;
  switch (attribute.type) {
    case AttributeType.STRING:
      return String.fromCharCode(...attribute.s!);
    case AttributeType.FLOAT:
      return attribute.f!;
    case AttributeType.INT:
      return Number(attribute.i);
    case AttributeType.INTS:
      return attribute.ints!.map(Number);
    default:
      throw new Error(`ONNX attribute ${attribute.name} has type ${attribute.type}, which Tremolo's graphs never use`);
  }
}

function decodeInitializer(tensor: onnx.ITensorProto, files: ReadonlyMap<string, Uint8Array>): Initializer {
  const type = typeOfCode(tensor.dataType!);
  const shape = (tensor.dims ?? []).map(Number);
  const entry = { name: tensor.name!, type, shape };
  // A claim of the header is checked before anything of its size is made.
  const claimed = elementCount(shape) * ARRAY_OF_TYPE[type].BYTES_PER_ELEMENT;
  const checked = (bytes: Uint8Array) => {
    if (bytes.length !== claimed) throw new Error(`initializer ${entry.name} claims ${claimed} bytes and has ${bytes.length}`);
    return valuesOfBytes(type, bytes);
  };
  if (tensor.dataLocation !== DataLocation.EXTERNAL) return { ...entry, values: checked(tensor.rawData ?? new Uint8Array()) };
  const external = new Map(tensor.externalData!.map(({ key, value }) => [key, value!]));
  const location = external.get('location') ?? '';
  const offset = Number(external.get('offset') ?? 0);
  const file = files.get(location);
  if (!file) throw new Error(`initializer ${entry.name} lies in ${location}, which is not a part of the bundle`);
  const values = checked(file.subarray(offset, offset + Number(external.get('length') ?? claimed)));
  return { ...entry, values, external: { location, offset } };
}

function decodeValueInfo(info: onnx.IValueInfoProto): Graph['inputs'][number] {
  const tensor = info.type!.tensorType!;
  const shape = (tensor.shape?.dim ?? []).map((dim) => dim.dimParam || Number(dim.dimValue));
  return { name: info.name!, type: typeOfCode(tensor.elemType!), shape };
}

/**
 * Decodes an ONNX model made by {@link encodeOnnx}.
 *
 * @param files contents of the external data files, by location
 * @throws Error where the model is not one of ours (element types, attribute kinds, sizes that do not match)
 */
export function decodeOnnx(bytes: Uint8Array, files: ReadonlyMap<string, Uint8Array> = new Map()): Graph {
  const { graph } = onnx.ModelProto.decode(bytes);
  if (!graph) throw new Error('the ONNX model holds no graph');
  return {
    inputs: (graph.input ?? []).map(decodeValueInfo),
    outputs: (graph.output ?? []).map(decodeValueInfo),
    initializers: new Map((graph.initializer ?? []).map((tensor) => [tensor.name!, decodeInitializer(tensor, files)])),
    nodes: (graph.node ?? []).map((node) => ({
      op: node.domain ? `${node.domain}.${node.opType}` : node.opType!,
      inputs: node.input ?? [],
      outputs: node.output ?? [],
      attributes: Object.fromEntries((node.attribute ?? []).map((attribute) => [attribute.name!, decodeAttribute(attribute)])),
    })),
  };
}
