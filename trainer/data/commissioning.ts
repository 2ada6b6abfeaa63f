import { Refusal } from '../refusal.ts';
import type { Recording, RecordingEntry } from './recording-set.ts';

/** Label of the recordings that a machine's reference is made of. */
const HEALTHY = 'normal';
export const REFERENCE_SHOTS = 5;

/** The first `shots` healthy recordings of each value of the field `key` are that machine's commissioning reference. */
export interface ReferenceRule {
  readonly key: string;
  readonly shots: number;
}

/** Recordings dealt out by a {@link ReferenceRule}. */
export interface Commissioned {
  /** What every machine's reference is made of; to be left out of training, validation and test. */
  readonly references: readonly RecordingEntry[];
  /** All others, in their order; those without a label as well. */
  readonly rest: readonly RecordingEntry[];
  /** Row of the reference bank: 1 for the first machine in file order, and so on. */
  machineOf(entry: RecordingEntry): number;
}

/** @throws Refusal data/reference where a machine with a labelled recording has too few healthy ones */
export function commission(recordings: readonly RecordingEntry[], { key, shots }: ReferenceRule): Commissioned {
  const labelled = recordings.filter(({ label }) => label !== null);
  const nameless = labelled.find((entry) => !(key in entry));
  if (nameless)
    throw new Refusal('data/reference', `${nameless.file} has no field ${key} to say which machine it is; data info lists the fields`);
  const machines = [...new Set(labelled.map((entry) => String(entry[key])))];
  const references = machines.flatMap((machine) => {
    const healthy = labelled.filter((entry) => String(entry[key]) === machine && entry.label === HEALTHY);
    if (healthy.length >= shots) return healthy.slice(0, shots);
    throw new Refusal(
      'data/reference',
      `${key}=${machine} has ${healthy.length} recordings labelled ${HEALTHY} where its reference needs ${shots}; record more, say --reference-shots, or --relabel PATTERN=${HEALTHY}`,
    );
  });
  const taken = new Set(references);
  return {
    references,
    rest: recordings.filter((entry) => !taken.has(entry)),
    machineOf: (entry) => machines.indexOf(String(entry[key])) + 1,
  };
}

/** Recordings that know their machine and what all machines' references are made of. @param references of {@link Commissioned}, read */
export function withReferences<T extends Recording>(
  recordings: readonly T[],
  references: readonly Recording[],
  { machineOf }: Pick<Commissioned, 'machineOf'>,
): T[] {
  const known = references.map((recording) => ({ recording, machine: machineOf(recording.entry) }));
  return recordings.map((recording) => ({ ...recording, commissioning: { machine: machineOf(recording.entry), references: known } }));
}
