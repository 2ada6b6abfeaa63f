import { readFile } from 'node:fs/promises';
import { Refusal } from '../../refusal.ts';
import { channelNames, pathOf, type Recording, type RecordingEntry, type RecordingSet } from '../recording-set.ts';

/** Bytes of one moment of a recording: all its channels. */
export function rowBytes({ n_channels: channels, dtype }: RecordingEntry): number {
  return channels * (dtype === 'int16' ? 2 : 4);
}

/** A recording's file as it is. @throws Refusal data/file where it cannot be read or has another size than dataset.json promises */
export async function readRaw(set: RecordingSet, entry: RecordingEntry): Promise<Uint8Array> {
  const path = pathOf(set, entry);
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new Refusal('data/file', `${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? cause})`, { cause });
  }
  const promised = entry.n_samples * rowBytes(entry);
  if (bytes.length !== promised || promised === 0) {
    throw new Refusal('data/file', `${path} has ${bytes.length} bytes where dataset.json promises ${promised}; import the recording again`);
  }
  return bytes;
}

/**
 * Values of a file, as `readRecording` gives them, but also those that are no finite numbers: finding them is what cleaning is for.
 *
 * @param wanted channel names; all where absent
 * @throws Refusal data/channels
 */
export function decodeRaw(entry: RecordingEntry, bytes: Uint8Array, wanted?: readonly string[]): Recording {
  const names = channelNames(entry);
  const chosen = (wanted ?? names).map((name) => names.indexOf(name));
  const missing = wanted?.filter((_, index) => chosen[index] < 0);
  if (missing?.length) throw new Refusal('data/channels', `${entry.file} has no channel ${missing.join(', ')}; it has ${names.join(', ')}`);
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const numbers = aligned.byteLength / (entry.dtype === 'int16' ? 2 : 4);
  const stored =
    entry.dtype === 'int16'
      ? new Int16Array(aligned.buffer, aligned.byteOffset, numbers)
      : new Float32Array(aligned.buffer, aligned.byteOffset, numbers);
  const length = numbers / entry.n_channels;
  const samples = new Float32Array(length * chosen.length);
  for (let row = 0; row < length; row++) {
    for (let column = 0; column < chosen.length; column++) {
      const channel = chosen[column];
      samples[row * chosen.length + column] = stored[row * entry.n_channels + channel] * (entry.scale?.[channel] ?? 1);
    }
  }
  const channels = chosen.map((index) => names[index]);
  return { entry, label: entry.label, channels, sampleRateHz: entry.sample_rate_hz, samples, length };
}
