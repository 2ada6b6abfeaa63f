import { freeSlot, type UpdateRecord, withFailed } from './record.ts';

/** Starts that end badly while something unconfirmed runs, after which it is given up. Source: AWS Greengrass nucleus. */
const MOST_CRASHES = 3;

/** After a start: counts it where something unconfirmed was at work, and gives that up after the third. To be called once, before anything is run. */
export function afterStart(record: UpdateRecord): UpdateRecord {
  const { trial, current, boots } = record;
  if (!trial && !current?.probing) return record.boots === 0 ? record : { ...record, boots: 0 };
  if (boots + 1 < MOST_CRASHES) return { ...record, boots: boots + 1, current: current && { ...current, probing: false } };
  const error = `update/crash: ${MOST_CRASHES} starts ended badly with it on trial`;
  if (trial) return revert(record, error);
  return withFailed({ ...record, current: undefined, boots: 0 }, current!.wanted.target.deployment, error);
}

/** The bundle that should decide cannot be proved on this machine: the one to try instead. @throws Error where it was the configuration's own */
export function afterUnproved(record: UpdateRecord, error: string): UpdateRecord {
  const { active, slots } = record;
  const before = afterUnstarted(record);
  return active === 'factory' ? before : withFailed(before, slots[active]!.deployment, error);
}

/**
 * The bundle that should decide could not be started, for a reason that is not its own: the one to try instead. It is not held against its deployment,
 * which is installed anew with the next timestamp.
 *
 * @throws Error where it was the configuration's own
 */
export function afterUnstarted(record: UpdateRecord): UpdateRecord {
  const { active, slots, trial } = record;
  if (active === 'factory') throw new Error('there is nothing to go back to');
  if (trial?.kind === 'bundle') return setAside(record);
  const other = freeSlot(record);
  return { ...record, active: slots[other] ? other : 'factory', slots: { ...slots, [active]: undefined } };
}

/** What is on trial is given up for what decided before, and not tried again. */
export function revert(record: UpdateRecord, error: string): UpdateRecord {
  return withFailed(setAside(record), record.trial!.deployment, error);
}

/** What is on trial gives way to what decided before, and may be tried again. */
export function setAside(record: UpdateRecord): UpdateRecord {
  const { trial, active, slots, adapters } = record;
  const ended = { ...record, trial: undefined, boots: 0 };
  if (trial!.kind === 'bundle') {
    const { previous } = trial!;
    const left = { ...slots, [active]: undefined };
    return { ...ended, slots: left, active: previous !== 'factory' && !left[previous] ? 'factory' : previous };
  }
  const { [trial!.stream]: _bad, ...others } = adapters;
  const unsettled = withStream(record.unsettled, trial!.stream);
  return { ...ended, unsettled, adapters: trial!.previous ? { ...others, [trial!.stream]: trial!.previous } : others };
}

export const withStream = (streams: readonly string[], stream: string): string[] => [...streams.filter((one) => one !== stream), stream];
