import { readFileSync } from 'node:fs';
import type { Frame, SampleFrame } from '../../../firmware-bridge/codec/index.ts';

/** One frame with its golden bytes: payload as in MQTT, serial with COBS and delimiter. Frames of devices were encoded by the C encoder. */
export interface Vector {
  readonly name: string;
  readonly frame: Frame;
  readonly payload: Uint8Array;
  readonly serial: Uint8Array;
}

type Stored = { name: string; frame: Frame; payload: string; serial: string };

export const vectorsFile = new URL('vectors.json', import.meta.url);

export const vectors: readonly Vector[] = (JSON.parse(readFileSync(vectorsFile, 'utf8')) as Stored[]).map((row) => ({
  name: row.name,
  frame: revive(row.frame),
  payload: fromHex(row.payload),
  serial: fromHex(row.serial),
}));

export function vector(name: string): Vector {
  const found = vectors.find((row) => row.name === name);
  if (!found) throw new Error(`no vector is named ${name}`);
  return found;
}

/** JSON has no typed arrays and no undefined. */
function revive(frame: Frame): Frame {
  if (frame.kind !== 'samples') return frame;
  const { scales, samples, shaftSpeedRpm } = frame as SampleFrame;
  return {
    ...frame,
    scales: Float32Array.from(scales),
    samples: Int16Array.from(samples),
    shaftSpeedRpm: shaftSpeedRpm ?? undefined,
  };
}

export function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
