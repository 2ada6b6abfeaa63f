import { ARRAY_OF_TYPE, type ElementType, type Values } from './graph.ts';

// Apart from onnx.ts, whose protobuf classes take 8 MB: safetensors files are read where no graph is.

/** Bytes of `values`, little-endian, as ONNX stores raw data. */
export function rawBytes(values: Values): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** Typed values out of little-endian bytes; copies, so that alignment does not matter. */
export function valuesOfBytes(type: ElementType, bytes: Uint8Array): Values {
  // Not slice(): protobufjs hands out Node Buffers, whose slice() is a view of a shared pool.
  const copy = new Uint8Array(bytes);
  return new ARRAY_OF_TYPE[type](copy.buffer, 0, copy.byteLength / ARRAY_OF_TYPE[type].BYTES_PER_ELEMENT);
}
