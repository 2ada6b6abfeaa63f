import { BundleRefusal, isOfTheFolder } from '../../models/bundle/schema/refusal.ts';
import { decodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { Budget } from '../update/budget.ts';
import type { UpdateEffect, UpdateEvent } from '../update/machine.ts';
import { misfits, wantedBy } from '../update/plan.ts';
import { activeSlot, type Slot, type UpdateRecord, type Wanted } from '../update/record.ts';
import { type UpdateRefusalCode, UpdateRefusalError } from '../update/refusal.ts';
import type { UpdateTrust } from '../update/trust/refresh.ts';
import { Download, type DownloadProgress } from './update-download.ts';
import type { ChunkSink, UpdateFetcher } from './update-fetcher.ts';
import type { UpdateHost } from './update-host.ts';
import type { UpdateStorage } from './update-storage.ts';

/** Bytes that one look at the metadata may move: some times what all roles together may have. */
const METADATA_BUDGET_BYTES = 8 << 20;

/**
 * What is new is confirmed when it has decided for some time, and so many windows; where no window comes, when much time has passed. Milliseconds.
 */
const TRIAL: TrialTimes = { bundle: { leastMs: 1000, mostMs: 10_000 }, adapter: { leastMs: 300, mostMs: 600 } };
const TRIAL_WINDOWS = 20;
const WATCH_MS = 50;

export type TrialTimes = Readonly<Record<'bundle' | 'adapter', { readonly leastMs: number; readonly mostMs: number }>>;

export interface UpdateStepsOptions {
  readonly gateway: string;
  readonly trust: UpdateTrust;
  readonly storage: UpdateStorage;
  readonly fetcher: UpdateFetcher;
  readonly host: UpdateHost;
  readonly trial?: TrialTimes;
  readonly onProgress: (progress: DownloadProgress) => void;
  /** Bytes that the update under way has moved. */
  readonly onSpent: (bytes: number) => void;
  /** Targets that are meant for this gateway and cannot run here, each time that the metadata are read. */
  readonly onMisfit: (error: Error) => void;
  /** The verified metadata are not on disk: after a restart they are fetched again. */
  readonly onUnkept: (error: Error) => void;
}

/** Does what the machine asks for, one effect at a time, and says what came of it. */
export class UpdateSteps {
  readonly #options: UpdateStepsOptions;
  #trial: Awaited<ReturnType<UpdateHost['startTrial']>> | undefined;
  /** Moved by the latest look at the metadata: the update that it finds pays for it, and not for those that concerned other gateways. */
  #metadataBytes = 0;

  constructor(options: UpdateStepsOptions) {
    this.#options = options;
  }

  /** Fetches and verifies metadata. Never throws. */
  async refresh(timestamp: Uint8Array, signal: AbortSignal): Promise<UpdateEvent> {
    const { trust, storage, gateway, host, onMisfit, onUnkept } = this.#options;
    const budget = new Budget(METADATA_BUDGET_BYTES);
    try {
      const refresh = trust.refresh(timestamp, Date.now());
      let step = refresh.next();
      while (!step.done) step = refresh.next(await this.#metadata(step.value.object, step.value.maxBytes, budget, signal));
      const { targets, refusals } = step.value;
      const platform = `${process.platform}-${process.arch}`;
      const wanted = targets.map(({ target, sha256, length }) => ({ target, sha256, length }));
      for (const refusal of [...refusals, ...misfits(wanted, gateway, platform, host.running())]) onMisfit(refusal);
      return { kind: 'trusted', wanted: wantedBy(wanted, gateway, platform) };
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      return { kind: 'untrusted', error: `${code?.startsWith('update/') ? code : 'update/metadata'}: ${message}` };
    } finally {
      this.#metadataBytes = budget.spentBytes;
      await storage.writeTrust(trust.record).catch(onUnkept);
    }
  }

  /** @throws UpdateRefusalError, the signal's reason */
  async run(
    effect: Exclude<UpdateEffect, { kind: 'refresh' | 'cancel' | 'collect' }>,
    record: UpdateRecord,
    signal: AbortSignal,
  ): Promise<UpdateEvent> {
    switch (effect.kind) {
      case 'fetch':
        return this.#fetch(effect.wanted, effect.spentBytes, signal);
      case 'verify':
        return { kind: 'verified', ...(await this.#verify(effect)) };
      case 'answers':
        await this.#answers(effect, signal);
        return { kind: 'answered' };
      case 'warmUp':
        return { kind: 'warm', report: await this.#trial!.warmUp(signal) };
      case 'shadow':
        return { kind: 'shadowed', report: await this.#trial!.shadow(effect.wanted.target.thresholds, signal) };
      case 'activate':
        return this.#activate(record);
      case 'watch':
        return this.#watch(record.trial!.kind, signal);
    }
  }

  /** Ends the candidate, if there is one. */
  async endTrial(): Promise<void> {
    const trial = this.#trial;
    this.#trial = undefined;
    await trial?.stop();
  }

  async #metadata(object: string, maxBytes: number, budget: Budget, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const chunks = new Map<number, Uint8Array>();
    const sink: ChunkSink = { unsaved: 0, write: (index, bytes) => void chunks.set(index, bytes.slice()) };
    try {
      await this.#options.fetcher.fetch({ object, size: { atMost: maxBytes }, sink, budget }, signal);
    } catch (error) {
      if (error instanceof UpdateRefusalError && error.code === 'update/missing') return undefined;
      throw error;
    }
    return Buffer.concat([...chunks].sort(([one], [other]) => one - other).map(([, bytes]) => bytes));
  }

  async #fetch(wanted: Wanted, spentBytes: number, signal: AbortSignal): Promise<UpdateEvent> {
    const { fetcher, storage, onProgress, onSpent } = this.#options;
    const budget = new Budget(wanted.target.budgetBytes, spentBytes + this.#metadataBytes);
    this.#metadataBytes = 0;
    const tell = setInterval(() => onSpent(budget.spentBytes), 1000);
    try {
      await new Download(fetcher, storage.objects, budget, onProgress).run(wanted, signal);
      return { kind: 'fetched' };
    } finally {
      clearInterval(tell);
      onSpent(budget.spentBytes);
    }
  }

  async #verify({
    wanted,
    slot,
  }: Extract<UpdateEffect, { kind: 'verify' }>): Promise<{ readonly slot?: Slot; readonly replaces?: string }> {
    const { storage, host } = this.#options;
    const { target, sha256 } = wanted;
    if (target.kind === 'bundle') return { slot: await storage.assemble(slot, wanted) };
    if (!(await storage.objects.proves(sha256))) throw new UpdateRefusalError('update/disk', `adapter ${sha256} is not what was written`);
    const { base } = decodeSafetensors((await storage.objects.read(sha256))!, 'the adapter').metadata;
    const running = host.running().base;
    if (base !== target.base || base !== running)
      throw new UpdateRefusalError(
        'update/base',
        `the adapter is for base ${base?.slice(0, 12)}, was pushed for ${target.base.slice(0, 12)}, and ${running.slice(0, 12)} runs`,
      );
    const before = host.adapterOf(target.stream);
    // One of another base decides nothing now.
    const isUsed = before && decodeSafetensors(before, 'the adapter before it').metadata.base === running;
    return isUsed ? { replaces: await storage.objects.keep(before) } : {};
  }

  async #answers({ wanted, slot }: { readonly wanted: Wanted; readonly slot: 'a' | 'b' }, signal: AbortSignal): Promise<void> {
    const { storage, host } = this.#options;
    const { target, sha256 } = wanted;
    const candidate =
      target.kind === 'bundle'
        ? { folder: storage.slotFolder(slot) }
        : { stream: target.stream, bytes: (await storage.objects.read(sha256))! };
    const trial = await host.startTrial(candidate);
    if (signal.aborted) {
      await trial.stop();
      throw signal.reason;
    }
    this.#trial = trial;
    const expected = target.kind === 'bundle' ? sha256 : host.running().bundle;
    if (trial.digest !== expected)
      throw new UpdateRefusalError(
        'update/disk',
        `the candidate's thread read bundle ${trial.digest.slice(0, 12)} where ${expected.slice(0, 12)} was signed`,
      );
  }

  /** Makes what decides what the record says; what it decides with already is left alone. */
  async #activate(record: UpdateRecord): Promise<UpdateEvent> {
    const { storage, host } = this.#options;
    if (activeSlot(record)?.digest !== host.running().bundle) await host.swap(storage.activeFolder(record));
    for (const stream of record.unsettled) {
      const inUse = record.adapters[stream];
      const bytes = inUse && inUse.base === host.running().base ? await storage.objects.read(inUse.digest) : undefined;
      await host.setAdapter(stream, bytes);
    }
    return { kind: 'running', running: host.running(), settled: record.unsettled };
  }

  async #watch(kind: 'bundle' | 'adapter', signal: AbortSignal): Promise<UpdateEvent> {
    const { host, trial = TRIAL } = this.#options;
    const { leastMs, mostMs } = trial[kind];
    const before = host.windows();
    const beganMs = performance.now();
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
      signal.throwIfAborted();
      const { decided, unanswered } = host.windows();
      const faults = unanswered - before.unanswered;
      if (faults > 0) throw new UpdateRefusalError('update/engine', `${faults} windows got no answer since it decides`);
      const passedMs = performance.now() - beganMs;
      if (passedMs > mostMs || (passedMs > leastMs && decided - before.decided >= TRIAL_WINDOWS)) break;
    }
    return { kind: 'stood' };
  }
}

/** What Node.js says where the system gives no thread. */
const NO_THREAD = 'ERR_WORKER_INIT_FAILED';

/**
 * The refusal that an error of a step is. One that names none of its own is the fault of the candidate; files and threads that the system does not give
 * are not, and the objects that a candidate's folder is made of were proved when it was made.
 */
export function refusalOf(error: unknown, effect: UpdateEffect['kind']): { readonly code: UpdateRefusalCode; readonly error: string } {
  const { message } = error as Error;
  if (error instanceof UpdateRefusalError) return { code: error.code, error: message };
  if (error instanceof BundleRefusal) {
    const onThisDevice = error.code === 'bundle/answers' || error.code === 'bundle/engine';
    const code = isOfTheFolder(error) ? 'update/disk' : onThisDevice ? 'update/answers' : 'update/bundle';
    return { code, error: `${error.code}: ${message}` };
  }
  const { syscall, code: ofSystem } = error as NodeJS.ErrnoException;
  if (typeof syscall === 'string' || ofSystem === NO_THREAD) return { code: 'update/disk', error: message };
  return { code: effect === 'answers' ? 'update/answers' : 'update/engine', error: message };
}
