import { CodedRefusal } from '../../../models/checks/refusal.ts';

/** Every reason for which signed metadata, or what it names, is refused; those that are attacks carry the name that The Update Framework gives them. */
export const TRUST_REFUSALS = {
  'update/metadata': 'a metadata file is not JSON, or is not of the form that the specification and this gateway ask for',
  'update/endless-data': 'a file is longer than its signed length, or than the longest that its role may have',
  'update/partial': 'a file is shorter than its signed length',
  'update/mix-and-match': 'a file is not the one that the signed metadata names at this moment: another hash or another version',
  'update/arbitrary-software': 'a metadata file bears no valid signature of its role',
  'update/threshold': 'a metadata file bears fewer valid signatures than its role asks for, as a stolen key below the threshold makes them',
  'update/rollback': 'a metadata file, or one that it names, is older than what this gateway has trusted already',
  'update/fast-forward': 'a version leaps ahead, so that no later one could ever follow',
  'update/freeze': 'a metadata file has expired: somebody may be withholding newer ones',
  'update/missing': 'the server has no such file, or the signed metadata knows no such role',
  'update/wrong-target': 'a target is meant for another site, another hardware or another base',
} as const;

export type TrustRefusalCode = keyof typeof TRUST_REFUSALS;

/** Metadata or a target that is refused: one line that says what, where and what to do. What was trusted before still is. */
export class TrustRefusal extends CodedRefusal<TrustRefusalCode> {}
