import { createForeignDecoder, type ForeignDecoder, foreignFormatSchema } from '../../../runtime/sources/index.ts';

export const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf8'));

/** A decoder with what it has brought: each sample with the number of samples that were refused just before it. */
export function recorder(format: unknown): { decoder: ForeignDecoder; samples: { lostBefore: number; values: number[] }[] } {
  const parsed = foreignFormatSchema.parse(format);
  const samples: { lostBefore: number; values: number[] }[] = [];
  const decoder = createForeignDecoder(parsed, (block) => {
    for (let at = 0; at < block.samples; at++) {
      const values = Array.from(block.values.subarray(at * parsed.channels, (at + 1) * parsed.channels));
      samples.push({ lostBefore: at === 0 ? block.lostBefore : 0, values });
    }
  });
  return { decoder, samples };
}
