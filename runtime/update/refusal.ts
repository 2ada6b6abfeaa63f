import { CodedRefusal } from '../../models/checks/refusal.ts';

/**
 * Every reason for which an update comes to its end before it is confirmed. `final`: this deployment is not tried again; otherwise the next timestamp
 * lets the gateway look again. Names of attacks: The Update Framework 1.0.33, 1.5.2, and Uptane 2.1.
 */
export const UPDATE_REFUSALS = {
  'update/metadata': { final: false, meaning: 'the signed metadata are refused; the cause names the attack that it looks like' },
  'update/missing': { final: false, meaning: 'the server does not have an object that the signed metadata name' },
  'update/slow': { final: false, meaning: 'bytes come too slowly or not at all (slow retrieval, drop-request)' },
  'update/disk': { final: false, meaning: 'the disk takes or gives no bytes, or other ones than it took; or the system gives no thread' },
  'update/endless-data': { final: true, meaning: 'an object claims more bytes than the signed metadata allow (endless data)' },
  'update/length': { final: true, meaning: 'an object claims another length than the signed metadata (mix-and-match)' },
  'update/hash': { final: true, meaning: 'the bytes of an object are not those that were signed, twice (arbitrary software)' },
  'update/budget': { final: true, meaning: 'the update would move more bytes over the network than it may' },
  'update/bundle': { final: true, meaning: 'the bundle or adapter that arrived is not one, or a part of it is missing (partial bundle)' },
  'update/base': { final: true, meaning: 'the adapter was made for another base than the one that runs' },
  'update/recipe': { final: true, meaning: 'the bundle reads other windows than the streams give, so that no live window can compare it' },
  'update/answers': { final: true, meaning: 'the candidate gives other outputs than its known answers, or none, on this CPU' },
  'update/latency': { final: true, meaning: 'the candidate is slower on this CPU than its thresholds allow' },
  'update/memory': { final: true, meaning: 'the candidate takes more memory than its thresholds allow' },
  'update/agreement': {
    final: true,
    meaning: 'the candidate decides live windows otherwise than the active model, more often than its thresholds allow',
  },
  'update/alarm-share': {
    final: true,
    meaning: 'the candidate decides another share of live windows to be faulty than its thresholds allow',
  },
  'update/engine': { final: true, meaning: 'the candidate failed while it ran' },
  'update/crash': { final: true, meaning: 'the gateway crashed three times while the candidate was on trial' },
  'update/withdrawn': { final: true, meaning: 'the server has withdrawn what ran' },
} as const;

export type UpdateRefusalCode = keyof typeof UPDATE_REFUSALS;

/** An update that goes no further: one line that says what and where. */
export class UpdateRefusalError extends CodedRefusal<UpdateRefusalCode> {}
