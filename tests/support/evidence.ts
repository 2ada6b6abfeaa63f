import type { Recording } from '../../trainer/data/recording-set.ts';
import type { LabelledWindow, RawWindow } from '../../trainer/server/store.ts';

/** Windows of a recording as a gateway sends them. */
export function rawWindows({ read, channels, length }: Recording, window: number, stride: number, epoch = 1): RawWindow[] {
  const size = window * channels.length;
  const made: RawWindow[] = [];
  for (let start = 0; start + window <= length; start += stride) {
    const own = read(start, window);
    const scales = channels.map((_, channel) => {
      let largest = 1e-6;
      for (let at = channel; at < size; at += channels.length) largest = Math.max(largest, Math.abs(own[at]));
      return largest / 32_767;
    });
    const codes = Buffer.alloc(2 * size);
    own.forEach((value, at) => {
      codes.writeInt16LE(Math.round(value / scales[at % channels.length]), 2 * at);
    });
    made.push({ epoch, endSequence: start + window, scales, codes: codes.toString('base64') });
  }
  return made;
}

/** The same with a label each: an annotator's word. */
export function labelledWindows(
  recordings: readonly Recording[],
  {
    count,
    annotator = 'ann-1',
    tier = 'first',
    named = (label: string) => label,
  }: { count: number; annotator?: string; tier?: 'first' | 'expert'; named?: (label: string) => string },
): LabelledWindow[] {
  return recordings.flatMap((recording, epoch) =>
    rawWindows(recording, 512, 512, epoch)
      .slice(0, count)
      .map((raw, index) => ({
        ...raw,
        site: 'plant',
        gateway: 'hall',
        stream: 'press',
        asset: 'asset-1',
        class: named(recording.label!),
        label: { gateway: 'hall', id: `${annotator}-${epoch}-${index}`, annotator, tier, number: index },
      })),
  );
}
