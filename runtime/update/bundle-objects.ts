import { parseManifest } from '../../models/bundle/schema/manifest.ts';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import type { Target } from '../contracts/update.ts';
import { UpdateRefusalError } from './refusal.ts';

/** Every runtime has it, but pure rooms compile without a runtime's types. */
declare const TextDecoder: new () => { decode(bytes: Uint8Array): string };

/** Name of the file that a bundle's target is; its digests name all the others. */
export const MANIFEST = 'manifest.json';

/** A file of a bundle, and the object that its bytes are. */
export interface BundleObject {
  readonly name: string;
  readonly sha256: string;
  readonly length: number;
}

/**
 * The files of the parts that a push asks for, besides the manifest.
 *
 * @throws UpdateRefusalError update/bundle where the manifest is none, has not all of these parts, or names two files alike
 */
export function bundleObjects(manifest: Uint8Array, { parts }: Extract<Target, { kind: 'bundle' }>): BundleObject[] {
  try {
    const listed = parseManifest(new TextDecoder().decode(manifest)).parts;
    const objects = parts.flatMap((part) => {
      const files = listed[part];
      if (!files) throw new UpdateRefusalError('update/bundle', `the bundle has no part ${part}: partial bundle`);
      return Object.entries(files).map(([name, { bytes, sha256 }]) => ({ name, sha256, length: bytes }));
    });
    const names = [MANIFEST, ...objects.map(({ name }) => name)];
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined) throw new UpdateRefusalError('update/bundle', `manifest.json: two files of the bundle are called ${twice}`);
    return objects;
  } catch (cause) {
    if (!(cause instanceof BundleRefusal)) throw cause;
    throw new UpdateRefusalError('update/bundle', cause.message, { cause });
  }
}
