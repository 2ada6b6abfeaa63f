import { gatewayTopics, siteTopics } from '../contracts/topics.ts';
import type { UpdatePhase, UpdateState } from '../contracts/update.ts';
import { nextStep, type Step, startMachine, type UpdateEffect, type UpdateEvent, type UpdateMachine } from '../update/machine.ts';
import type { UpdateRecord } from '../update/record.ts';
import type { UpdateTrust } from '../update/trust/refresh.ts';
import type { BrokerLink } from './broker-link.ts';
import type { DownloadProgress } from './update-download.ts';
import { type FetchLink, UpdateFetcher } from './update-fetcher.ts';
import type { UpdateHost } from './update-host.ts';
import { refusalOf, type TrialTimes, UpdateSteps } from './update-steps.ts';
import type { UpdateStorage } from './update-storage.ts';

/** Between two messages that differ in numbers only, milliseconds. */
const STATE_MS = 3000;

/** What a log tells of an update. `deployment` is absent where the metadata themselves are refused. */
export interface UpdateMilestone {
  readonly phase: UpdatePhase;
  readonly deployment?: string;
  readonly error?: string;
}

const MILESTONES: ReadonlySet<UpdatePhase> = new Set(['verify', 'active', 'confirmed', 'rolledBack', 'refused']);

export interface UpdateServiceOptions {
  readonly site: string;
  readonly gateway: string;
  readonly trust: UpdateTrust;
  readonly storage: UpdateStorage;
  /** What was known at the start, as the start has left it. */
  readonly record: UpdateRecord;
  readonly host: UpdateHost;
  readonly link: FetchLink & Pick<BrokerLink, 'publish'>;
  /** False while another gateway has our name: then nothing is begun. */
  readonly mayWork: () => boolean;
  readonly onTrouble: (kind: string, error: string) => void;
  /** Called where an update gets on or ends; with refused metadata, each time. */
  readonly onMilestone?: (milestone: UpdateMilestone) => void;
  /** How long something new decides before it is confirmed. */
  readonly trial?: TrialTimes;
}

/** A word that got lost is said again after this, a timestamp that never came asked for again, and a way back tried again, milliseconds. */
const REPEAT_MS = 30_000;

/**
 * Updates of one gateway: feeds the machine with what comes from the broker and from its own steps, writes what must outlive a power cut, and then does
 * what the machine asks for. Nothing here is waited for by samples: they go another way, over another connection.
 */
export class UpdateService {
  readonly #options: UpdateServiceOptions;
  readonly #topics: ReturnType<typeof gatewayTopics>;
  readonly #timestampTopic: string;
  readonly #fetcher: UpdateFetcher;
  readonly #steps: UpdateSteps;
  #machine: UpdateMachine;
  #timestamp: Uint8Array | undefined;
  /** Of what is done for the update under way, and of all. */
  #update = new AbortController();
  readonly #all = new AbortController();
  /** The step under way that writes files. */
  #writing: Promise<void> = Promise.resolve();
  /** Saves and effects follow each other. */
  #queue: Promise<void> = Promise.resolve();
  #progress: DownloadProgress | undefined;
  #wireBytes = 0;
  #said = '';
  #milestone = '';
  #sayTimer: NodeJS.Timeout | undefined;
  #saidMs = Number.NEGATIVE_INFINITY;
  readonly #repeat: NodeJS.Timeout;

  constructor(options: UpdateServiceOptions) {
    const { site, gateway, trust, storage, record, host, link, trial } = options;
    this.#options = options;
    this.#topics = gatewayTopics(site, gateway);
    const { timestamp, chunks } = siteTopics(site);
    this.#timestampTopic = timestamp;
    this.#fetcher = new UpdateFetcher(link, { request: this.#topics.updateRequest, chunks }, () => performance.now());
    this.#steps = new UpdateSteps({
      gateway,
      trust,
      storage,
      fetcher: this.#fetcher,
      host,
      trial,
      onProgress: (progress) => {
        this.#progress = progress;
        this.#say();
      },
      onSpent: (bytes) => {
        this.#wireBytes = bytes;
        this.#dispatch({ kind: 'spent', bytes });
      },
      onMisfit: (error) => options.onTrouble('target', error.message),
      onUnkept: (error) => options.onTrouble('trust', error.message),
    });
    this.#repeat = setInterval(() => this.#sayAgain(), REPEAT_MS);
    const { machine, effects } = startMachine(record, host.running());
    this.#machine = machine;
    this.#begin({ machine, effects });
  }

  /** What a connection must listen to, besides the chunks that are being fetched. */
  static subscriptions(site: string, gateway: string): Record<string, { qos: 1 }> {
    return { [siteTopics(site).timestamp]: { qos: 1 }, [gatewayTopics(site, gateway).updateRefusal]: { qos: 1 } };
  }

  get machine(): UpdateMachine {
    return this.#machine;
  }

  onMessage(topic: string, payload: Uint8Array): void {
    if (!this.#options.mayWork()) return;
    if (topic === this.#timestampTopic) {
      this.#timestamp = payload.slice();
      this.#dispatch({ kind: 'timestamp' });
    } else if (topic === this.#topics.updateRefusal) this.#fetcher.refused(payload);
    else this.#fetcher.take(topic, payload);
  }

  onOnline(): void {
    this.#fetcher.resume();
    this.#said = '';
    this.#say();
  }

  #sayAgain(): void {
    const { link } = this.#options;
    this.#said = '';
    this.#sayNow();
    // On a way back that could not be gone: once more, though nobody signs anything new.
    if (this.#machine.astray && this.#timestamp) this.#dispatch({ kind: 'timestamp' });
    if (this.#timestamp || !link.online) return;
    // The broker sends what it keeps to whoever comes anew.
    link.unsubscribe(this.#timestampTopic);
    link.subscribe(this.#timestampTopic);
  }

  /** Ends what is under way; what has come stays on disk. A gateway that stops is not one that crashed. */
  async stop(): Promise<void> {
    this.#all.abort(new Error('the gateway stops'));
    this.#update.abort(this.#all.signal.reason);
    clearTimeout(this.#sayTimer);
    clearInterval(this.#repeat);
    await this.#queue;
    await this.#writing;
    await this.#steps.endTrial();
    const { record } = this.#machine;
    const { storage, onTrouble } = this.#options;
    if (record.trial || record.current)
      await storage
        .write({ ...record, boots: 0, current: record.current && { ...record.current, probing: false } })
        .catch((error: Error) => onTrouble('pointer', error.message));
  }

  #dispatch(event: UpdateEvent): void {
    if (this.#all.signal.aborted) return;
    const before = this.#machine;
    const step = nextStep(before, event);
    this.#machine = step.machine;
    this.#mark(before);
    if (step.machine.phase !== before.phase || step.machine.subject !== before.subject) this.#sayNow();
    else this.#say();
    if (step.machine.record !== before.record || step.effects.length > 0) this.#begin(step, before.record);
  }

  #mark({ phase: before }: UpdateMachine): void {
    const { phase, subject, error } = this.#machine;
    if (phase === before || !MILESTONES.has(phase)) return;
    const milestone: UpdateMilestone = { phase, deployment: subject?.deployment, error };
    const text = JSON.stringify(milestone);
    // After each look at the metadata it rests again where it rested.
    if (text === this.#milestone && subject) return;
    this.#milestone = text;
    this.#options.onMilestone?.(milestone);
  }

  /** Writes what must outlive a power cut, and only then does what follows from it. */
  #begin({ machine, effects }: Step, before?: UpdateRecord): void {
    // At once: what is under way must not go on until its turn comes.
    if (effects.some(({ kind }) => kind === 'cancel')) this.#cancel();
    const { signal } = this.#update;
    this.#queue = this.#queue.then(async () => {
      if (this.#all.signal.aborted) return;
      if (machine.record !== before && before && !(await this.#save(machine))) return;
      for (const effect of effects) await this.#do(effect, machine.record, signal);
    });
  }

  async #save({ record, phase }: UpdateMachine): Promise<boolean> {
    try {
      await this.#options.storage.write(record);
      return true;
    } catch (error) {
      this.#options.onTrouble('pointer', (error as Error).message);
      // What goes back goes back even so; what would go forward does not.
      if (phase === 'rolledBack' || phase === 'confirmed') return true;
      this.#dispatch({ kind: 'failed', code: 'update/disk', error: (error as Error).message });
      return false;
    }
  }

  /** Begins an effect; those that take long report later, and others are done when this resolves. */
  async #do(effect: UpdateEffect, record: UpdateRecord, signal: AbortSignal): Promise<void> {
    const { storage, onTrouble } = this.#options;
    switch (effect.kind) {
      case 'refresh':
        void this.#steps.refresh(this.#timestamp!, this.#all.signal).then((event) => this.#dispatch(event));
        return;
      case 'cancel':
        // Its last writes come before what follows, which may remove them.
        await this.#writing;
        await this.#steps.endTrial().catch((error: Error) => onTrouble('trial', error.message));
        return;
      case 'collect':
        await storage.collect(record).catch((error: Error) => onTrouble('objects', error.message));
        return;
      case 'activate':
        await this.#report(effect, record, signal);
        return;
      case 'fetch':
      case 'verify':
        this.#writing = this.#report(effect, record, signal);
        return;
      default:
        void this.#report(effect, record, signal);
    }
  }

  async #report(
    effect: Exclude<UpdateEffect, { kind: 'refresh' | 'cancel' | 'collect' }>,
    record: UpdateRecord,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const event = await this.#steps.run(effect, record, signal);
      if (!signal.aborted) this.#dispatch(event);
    } catch (error) {
      if (signal.aborted) return;
      const { code, error: message } = refusalOf(error, effect.kind);
      this.#options.onTrouble('update', `${code}: ${message}`);
      this.#dispatch({ kind: 'failed', code, error: message });
    }
  }

  #cancel(): void {
    this.#update.abort(new Error('the update was given up'));
    this.#update = new AbortController();
    this.#progress = undefined;
  }

  /** Where the gateway stands, as it says it. */
  state(): UpdateState {
    const { phase, record, subject, shadow, error } = this.#machine;
    const { gateway, host } = this.#options;
    const busy = record.current !== undefined;
    return {
      gateway,
      at: new Date().toISOString(),
      phase,
      ...subject,
      progress: busy ? this.#progress : undefined,
      wireBytes: subject ? this.#wireBytes : undefined,
      shadow,
      error,
      confirmed: [...record.confirmed],
      failed: [...record.failed],
      running: { bundle: host.running().bundle, adapters: this.#adapters() },
    };
  }

  /** What the bank holds; and of streams that send nothing, what it will hold when they do. */
  #adapters(): Record<string, string> {
    const { record, running } = this.#machine;
    const ours = Object.entries(record.adapters).filter(
      ([stream, { base }]) => base === running.base && !record.unsettled.includes(stream),
    );
    return { ...Object.fromEntries(ours.map(([stream, { digest }]) => [stream, digest])), ...this.#options.host.adapters() };
  }

  #say(): void {
    const waitMs = this.#saidMs + STATE_MS - performance.now();
    if (waitMs <= 0) this.#sayNow();
    else
      this.#sayTimer ??= setTimeout(() => {
        this.#sayTimer = undefined;
        this.#sayNow();
      }, waitMs);
  }

  #sayNow(): void {
    if (this.#all.signal.aborted || !this.#options.mayWork()) return;
    const state = this.state();
    // Neither the time nor the bytes on the wire are worth bytes on the wire.
    const text = JSON.stringify({ ...state, at: undefined, wireBytes: undefined });
    if (text === this.#said) return;
    if (!this.#options.link.publish(this.#topics.updateState, JSON.stringify(state), true)) return;
    this.#said = text;
    this.#saidMs = performance.now();
  }
}
