import * as z from 'zod';
import type { TensorData } from '../../engine/engine.ts';
import { ARRAY_OF_TYPE, type ElementType, elementCount } from '../../trace/graph.ts';
import { rawBytes, valuesOfBytes } from '../../trace/raw-bytes.ts';
import { BundleRefusal } from './refusal.ts';

const DTYPE: Record<ElementType, string> = {
  float32: 'F32',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
};
const TYPE_OF_DTYPE = new Map(Object.entries(DTYPE).map(([type, dtype]) => [dtype, type as ElementType]));

const size = z.number().int().nonnegative();
const headerSchema = z.record(z.string(), z.unknown());
const metadataSchema = z.record(z.string(), z.string());
const entrySchema = z.strictObject({ dtype: z.string(), shape: z.array(size), data_offsets: z.tuple([size, size]) });

export interface SafeTensors {
  readonly tensors: Readonly<Record<string, TensorData>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Writes tensors in the safetensors format (8 bytes header length, JSON header, data), readable by the PyTorch world. */
export function encodeSafetensors({ tensors, metadata }: SafeTensors): Uint8Array {
  let offset = 0;
  const header: Record<string, unknown> = Object.keys(metadata).length > 0 ? { __metadata__: metadata } : {};
  for (const [name, { type, shape, values }] of Object.entries(tensors)) {
    header[name] = { dtype: DTYPE[type], shape, data_offsets: [offset, offset + values.byteLength] };
    offset += values.byteLength;
  }
  // Non-ASCII names are escaped, so that characters are bytes; spaces pad the header so that the data starts aligned.
  const json = JSON.stringify(header).replace(/[\u0080-\uffff]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
  const bytes = new Uint8Array(8 + padded.length + offset);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded.length), true);
  for (let index = 0; index < padded.length; index++) bytes[8 + index] = padded.charCodeAt(index);
  let at = 8 + padded.length;
  for (const { values } of Object.values(tensors)) {
    bytes.set(rawBytes(values), at);
    at += values.byteLength;
  }
  return bytes;
}

/**
 * Reads safetensors. Every claim of the header is checked against the bytes that are there before anything is made of it.
 *
 * @param name of the file, for the message
 * @throws BundleRefusal bundle/tensors, bundle/not-finite
 */
export function decodeSafetensors(bytes: Uint8Array, name: string): SafeTensors {
  const refuse = (what: string, cause?: unknown) => new BundleRefusal('bundle/tensors', `${name}: ${what}`, { cause });
  if (bytes.length < 8) throw refuse('is shorter than its own header');
  const claimed = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (claimed > BigInt(bytes.length - 8)) throw refuse(`claims a header of ${claimed} bytes and has ${bytes.length - 8}`);
  const start = 8 + Number(claimed);
  let header: Record<string, unknown>;
  try {
    let json = '';
    for (let index = 8; index < start; index++) json += String.fromCharCode(bytes[index]);
    header = headerSchema.parse(JSON.parse(json));
  } catch (cause) {
    throw refuse('has a header that is not a JSON object', cause);
  }
  const { __metadata__, ...entries } = header;
  const metadata = metadataSchema.safeParse(__metadata__ ?? {});
  if (!metadata.success) throw refuse('has metadata that are not strings');
  const tensors: Record<string, TensorData> = {};
  for (const [tensor, raw] of Object.entries(entries)) {
    const entry = entrySchema.safeParse(raw);
    if (!entry.success) throw refuse(`describes tensor ${tensor} wrongly`);
    const { dtype, shape, data_offsets } = entry.data;
    const [from, to] = data_offsets;
    const type = TYPE_OF_DTYPE.get(dtype);
    if (!type) throw refuse(`has tensor ${tensor} of type ${dtype}, which is not read here`);
    if (to < from || to > bytes.length - start || to - from !== elementCount(shape) * ARRAY_OF_TYPE[type].BYTES_PER_ELEMENT) {
      throw refuse(`has tensor ${tensor} whose place [${from}, ${to}) does not fit its shape [${shape}] or the file`);
    }
    const values = valuesOfBytes(type, bytes.subarray(start + from, start + to));
    if (type === 'float32' && !(values as Float32Array).every(Number.isFinite)) {
      throw new BundleRefusal('bundle/not-finite', `${name}: tensor ${tensor} holds NaN or infinity`);
    }
    tensors[tensor] = { type, shape, values };
  }
  return { tensors, metadata: metadata.data };
}
