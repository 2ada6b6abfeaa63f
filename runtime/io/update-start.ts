import { BundleRefusal, isProof } from '../../models/bundle/schema/refusal.ts';
import { decodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { activeSlot, type Slot, type SlotName, type UpdateRecord } from '../update/record.ts';
import { afterStart, afterUnproved, afterUnstarted } from '../update/revert.ts';
import type { AdapterStore } from './adapter-store.ts';
import type { UpdateStorage } from './update-storage.ts';

/** Starts of one bundle that fail for a reason that is not the bundle's, after which the one before it is tried. */
const MOST_TRIES = 2;

/** What decides, as far as a start must know it. */
interface Deciding {
  status(): { readonly bundle?: { readonly digest: string } };
  stop(): Promise<void>;
}

export interface ProvedStart<T> {
  readonly loop: T;
  readonly record: UpdateRecord;
  /** Of the bundle that decides. */
  readonly folder: string;
}

/**
 * Starts the bundle that the pointer names; where that cannot be proved on this machine, the one that decided before it, and at last the
 * configuration's. So a gateway is never without a model, and no model decides that is not what was signed. A bundle that is refused as it was signed is
 * not installed again; one that a disk has spoilt, or that could not be started for another reason, is, with the next timestamp.
 *
 * @param start proves the bundle in a folder by its digests and known answers, and makes it ready to decide
 * @param onTrouble something is not as it should be, and the gateway goes on
 * @throws what `start` throws for the configuration's bundle
 */
export async function startProved<T extends Deciding>(
  storage: UpdateStorage,
  factoryFolder: string,
  adapters: Pick<AdapterStore, 'read' | 'write' | 'remove'>,
  start: (folder: string) => Promise<T>,
  onTrouble: (error: string) => void,
): Promise<ProvedStart<T>> {
  const before = await storage.open();
  let record = await settleAdapters(afterStart(before), storage, adapters, onTrouble);
  const save = async () => {
    // A disk that takes nothing must not keep the gateway from deciding.
    await storage.write(record).catch((error: Error) => onTrouble(`the pointer cannot be written: ${error.message}`));
  };
  // Counted before anything runs: what ends this process must have left its trace.
  if (record !== before) await save();
  for (let tries = 1; ; tries++) {
    const slot = activeSlot(record);
    const folder = storage.activeFolder(record) ?? factoryFolder;
    try {
      const loop = await start(folder);
      const digest = loop.status().bundle?.digest;
      if (!slot || digest === slot.digest) return { loop, record, folder };
      await loop.stop();
      throw new BundleRefusal(
        'bundle/hash',
        `${folder} holds bundle ${digest?.slice(0, 12)} where ${slot.digest.slice(0, 12)} should decide`,
      );
    } catch (error) {
      if (!slot) throw error;
      const { message } = error as Error;
      onTrouble(`${slot.deployment} cannot decide: ${message}`);
      const refused = error instanceof BundleRefusal && (await isItsOwn(error, storage, record.active as SlotName, slot));
      // Memory, handles and disks have bad moments, which say nothing of the bundle.
      if (!refused && tries < MOST_TRIES) continue;
      tries = 0;
      const next = refused ? afterUnproved(record, `update/bundle: ${message}`) : afterUnstarted(record);
      record = await settleAdapters(next, storage, adapters, onTrouble);
      await save();
    }
  }
}

/** Whether what was signed is refused, and not what a disk has made of it. */
async function isItsOwn(refusal: BundleRefusal, storage: UpdateStorage, name: SlotName, slot: Slot): Promise<boolean> {
  return isProof(refusal) && (await storage.isSigned(name, slot).catch(() => false));
}

/** Adapters that were on their way to where they decide when the power went, and those that a disk has spoilt since. */
async function settleAdapters(
  record: UpdateRecord,
  storage: UpdateStorage,
  adapters: Pick<AdapterStore, 'read' | 'write' | 'remove'>,
  onTrouble: (error: string) => void,
): Promise<UpdateRecord> {
  const spoilt = Object.keys(record.adapters).filter((stream) => isSpoilt(adapters, stream));
  for (const stream of new Set([...record.unsettled, ...spoilt])) {
    const inUse = record.adapters[stream];
    try {
      const bytes = inUse && (await storage.objects.proves(inUse.digest)) ? await storage.objects.read(inUse.digest) : undefined;
      if (bytes) await adapters.write(stream, bytes);
      else adapters.remove(stream);
    } catch (error) {
      onTrouble(`the adapter of ${stream}: ${(error as Error).message}`);
      return record;
    }
  }
  return record.unsettled.length === 0 ? record : { ...record, unsettled: [] };
}

/**
 * Whether a stream's file is no adapter; one that cannot be read at the moment may be. One that is another than was pushed is what the gateway has learned
 * since, and none was taken back.
 */
function isSpoilt(adapters: Pick<AdapterStore, 'read'>, stream: string): boolean {
  try {
    const bytes = adapters.read(stream);
    if (bytes) decodeSafetensors(bytes, 'the adapter');
    return false;
  } catch (error) {
    return error instanceof BundleRefusal;
  }
}
