import { CodedRefusal } from '../../checks/refusal.ts';

/** Every reason for which a bundle, or a part of one, is refused. */
export const BUNDLE_REFUSALS = {
  'bundle/missing': 'a file or folder that should be there is not',
  'bundle/part': 'the bundle has not the part that is asked for',
  'bundle/unreadable': 'a file is there, and the system does not give it: rights, handles, a disk that fails',
  'bundle/size': 'a file has another size than the manifest says',
  'bundle/hash': 'a file has another SHA-256 than the manifest says',
  'bundle/path': 'a file name leads out of the bundle folder or through a link',
  'bundle/manifest': 'the manifest is not JSON or does not fit its schema',
  'bundle/version': 'the bundle is of a format version that this program does not read',
  'bundle/graph': 'a graph cannot be decoded, or its inputs or outputs are not those the manifest promises',
  'bundle/engine': 'the engine cannot make a graph ready to run on this device',
  'bundle/tensors': 'a safetensors file is malformed, or claims more than it holds',
  'bundle/not-finite': 'a weight or an adapter holds NaN or infinity',
  'bundle/adapter': 'an adapter belongs to another base or has another shape',
  'bundle/occupied': 'a bundle would be written over something that is not a bundle',
  'bundle/answers': 'the graph gives other outputs than the known answers',
} as const;

export type BundleRefusalCode = keyof typeof BUNDLE_REFUSALS;

/** Of the folder and not of the bundle: a file that was lost, spoilt or cannot be read at the moment says nothing of what was put there. */
const OF_THE_FOLDER: ReadonlySet<BundleRefusalCode> = new Set([
  'bundle/missing',
  'bundle/unreadable',
  'bundle/size',
  'bundle/hash',
  'bundle/path',
]);

/** Whether a fresh copy of the same bundle may be better. */
export const isOfTheFolder = ({ code }: BundleRefusal): boolean => OF_THE_FOLDER.has(code);

/** Whether it says something of the bundle, wherever it lies: an engine without memory says nothing. */
export const isProof = (refusal: BundleRefusal): boolean => !isOfTheFolder(refusal) && refusal.code !== 'bundle/engine';

/** A bundle that is refused: one line that says what, where and what to do. */
export class BundleRefusal extends CodedRefusal<BundleRefusalCode> {}
