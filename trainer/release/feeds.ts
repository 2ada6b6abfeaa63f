import { floatTensor, type TensorData } from '../../models/engine/engine.ts';
import type { Windows } from '../data/windows.ts';

/** int16 codes with one scale a window and channel, as a device sends them: [count, window, channels] and [count, channels]. */
export function encodeWindows(windows: Windows, channels: number): { codes: Int16Array; scales: Float32Array } {
  const size = windows.samples.length / windows.count;
  const codes = new Int16Array(windows.samples.length);
  const scales = new Float32Array(windows.count * channels);
  for (let row = 0; row < windows.count; row++) {
    for (let channel = 0; channel < channels; channel++) {
      let largest = 1e-9;
      for (let at = row * size + channel; at < (row + 1) * size; at += channels) largest = Math.max(largest, Math.abs(windows.samples[at]));
      const scale = Math.fround(largest / 32_767);
      scales[row * channels + channel] = scale;
      for (let at = row * size + channel; at < (row + 1) * size; at += channels) codes[at] = Math.round(windows.samples[at] / scale);
    }
  }
  return { codes, scales };
}

/**
 * Feeds of the deciding graph for some windows, all with row `adapter` of the bank.
 *
 * @param references bank [K, R] of a graph that takes them, of which each window gets its machine's row; row 0 where no machine is known
 */
export function inferenceFeeds(
  windows: Windows,
  { window, channels }: { window: number; channels: number },
  bank: TensorData,
  adapter: number,
  [from, count]: readonly [number, number] = [0, windows.count],
  references?: TensorData,
): Record<string, TensorData> {
  const { codes, scales } = encodeWindows(windows, channels);
  const size = window * channels;
  return {
    window: { type: 'int16', shape: [count, window, channels], values: codes.subarray(from * size, (from + count) * size) },
    scale: floatTensor(scales.subarray(from * channels, (from + count) * channels), [count, channels]),
    adapterBank: bank,
    adapterIndex: { type: 'int32', shape: [count], values: new Int32Array(count).fill(adapter) },
    ...(references && {
      referenceBank: references,
      referenceIndex: { type: 'int32', shape: [count], values: machinesOf(windows, from, count) },
    }),
  };
}

function machinesOf({ commissioning }: Windows, from: number, count: number): Int32Array {
  return commissioning ? commissioning.machines.slice(from, from + count) : new Int32Array(count);
}

/** A bank of no more references than some windows need: zero, and a row for each of their machines. */
export function ownReferences(windows: Windows, count: number, { values, shape }: TensorData): Record<string, TensorData> {
  const machines = machinesOf(windows, 0, count);
  const rows = [0, ...new Set(machines)];
  const bank = rows.flatMap((machine) => [...(values as Float32Array).subarray(machine * shape[1], (machine + 1) * shape[1])]);
  return {
    referenceBank: floatTensor(Float32Array.from(bank), [rows.length, shape[1]]),
    referenceIndex: { type: 'int32', shape: [count], values: machines.map((machine) => rows.lastIndexOf(machine)) },
  };
}
