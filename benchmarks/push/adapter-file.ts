import { writeFile } from 'node:fs/promises';
import { bankLayout } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { Random } from '../../models/networks/random.ts';

/** Writes an adapter of small random numbers that fits a bundle. @returns its path */
export async function writeAdapter(path: string, manifest: Manifest, seed: number): Promise<string> {
  const random = new Random(seed);
  const tensors = Object.fromEntries(
    bankLayout(manifest).parameters.map(({ name, shape, size }) => [
      name,
      { type: 'float32' as const, shape, values: Float32Array.from({ length: size }, () => 0.02 * random.normal()) },
    ]),
  );
  await writeFile(path, encodeSafetensors({ tensors, metadata: { base: manifest.base } }));
  return path;
}
