import { bankRow } from '../../models/adapters/scheme.ts';
import { bankLayout, readAdapter } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import type { ShadowReport, Thresholds } from '../contracts/update.ts';
import type { WindowJob } from '../stream/stream-gateway.ts';
import { StreamMemory } from '../stream/stream-memory.ts';
import { UpdateRefusalError } from '../update/refusal.ts';
import { p99, ShadowComparison } from '../update/shadow-comparison.ts';
import type { WarmUpReport } from '../update/thresholds.ts';
import { type InferenceOptions, InferenceThread } from './inference-thread.ts';
import { MODEL, RESULT } from './protocol.ts';

/** Runs that the latency is measured with, or as many as fit into the time, but no fewer than the least. */
const WARM_RUNS = 200;
const LEAST_WARM_RUNS = 30;
const WARM_MS = 5000;

/** Share of a core that a candidate takes beside the active model. */
const DUTY = 0.25;

/** Windows that a candidate looks at in one run. */
const SHADOW_BATCH = 8;

/** The active model as a candidate sees it. */
export interface ActiveModel {
  readonly manifest: Manifest;
  readonly memory: StreamMemory;
  setTap(tap: ((job: WindowJob, decided: string) => void) | undefined): void;
  referenceOf(stream: string): Float32Array | undefined;
  /** SHA-256 of the adapter that a stream is decided with, and its file. */
  adapterOf(stream: string): string | undefined;
  adapterFile(stream: string): Uint8Array | undefined;
}

export interface TrialOptions extends Pick<InferenceOptions, 'engine' | 'threads' | 'programs'> {
  readonly active: ActiveModel;
  /** Of the candidate, or for an adapter of the active model. */
  readonly bundleFolder: string;
  readonly manifest: Manifest;
  readonly adapter?: { readonly stream: string; readonly bytes: Uint8Array };
}

/** A candidate in an inference thread of its own, beside the one that decides: it answers, and nobody hears it. */
export class UpdateTrial {
  readonly #options: TrialOptions;
  readonly #thread: InferenceThread;
  readonly #residentBefore: number;
  readonly #comparable: boolean;
  readonly #sameBase: boolean;
  /** What lies in the rows of the banks: a stream may be commissioned, or be given another adapter, while its windows are compared. */
  readonly #adapterRows = new Map<number, string>();
  readonly #referenceRows = new Map<number, Float32Array>();
  /** Rejects when the thread ends unasked. */
  readonly #died: Promise<never>;
  /** Measured before the shadow: what the gateway takes for other things meanwhile is not the candidate's. */
  #warm: WarmUpReport = { latencyMs: Number.NaN, memoryBytes: 0 };

  private constructor(options: TrialOptions, thread: InferenceThread, died: Promise<never>, residentBefore: number, comparable: boolean) {
    this.#options = options;
    this.#thread = thread;
    this.#died = died;
    this.#residentBefore = residentBefore;
    this.#comparable = comparable;
    this.#sameBase = options.manifest.base === options.active.manifest.base;
  }

  /** Resolves when the candidate has given its known answers on this machine. @throws BundleRefusal */
  static async start(options: TrialOptions): Promise<UpdateTrial> {
    const { active, bundleFolder, manifest, adapter, engine, threads, programs } = options;
    const { recipe } = manifest;
    const { shape } = active.memory;
    const comparable = shape.window === recipe.window && shape.channels === recipe.channels.length;
    const memory = comparable ? active.memory : new StreamMemory({ streams: 1, window: recipe.window, channels: recipe.channels.length });
    const residentBefore = process.memoryUsage.rss();
    let onExit: (error: Error) => void = () => {};
    const died = new Promise<never>((_, reject) => {
      onExit = (error) =>
        reject(new UpdateRefusalError('update/engine', `the candidate's thread ended: ${error.message}`, { cause: error }));
    });
    // Looked at by each run; between two of them nobody does.
    died.catch(() => {});
    // Not paced: at the lowest priority it may be slow, and its back-up must not answer for it.
    const thread = await InferenceThread.start(
      { bundleFolder, memory, engine, threads, paced: false, programs, adapter: adapter?.bytes },
      (error) => onExit(error),
    );
    return new UpdateTrial(options, thread, died, residentBefore, comparable);
  }

  /** SHA-256 of the bundle's manifest, as the candidate's thread proved it. */
  get digest(): string {
    return this.#thread.proof.digest;
  }

  /** Measures single runs on this CPU, with pauses, for the active model decides meanwhile. */
  async warmUp(signal: AbortSignal): Promise<WarmUpReport> {
    const job = { ...SILENT_JOB, scales: new Float32Array(this.#options.manifest.recipe.channels.length) };
    const beganMs = performance.now();
    const latenciesMs: number[] = [];
    while (latenciesMs.length < LEAST_WARM_RUNS || (latenciesMs.length < WARM_RUNS && performance.now() - beganMs < WARM_MS)) {
      const runMs = await this.#run([job], signal);
      latenciesMs.push(runMs);
      await pause(runMs / DUTY - runMs, signal);
    }
    this.#warm = { latencyMs: p99(latenciesMs), memoryBytes: Math.max(0, process.memoryUsage.rss() - this.#residentBefore) };
    return this.#warm;
  }

  /**
   * Lets the candidate decide copies of live windows until it has decided enough, or the time is over.
   *
   * @throws UpdateRefusalError update/recipe, update/engine
   */
  async shadow(limits: Thresholds, signal: AbortSignal): Promise<ShadowReport> {
    const { active, manifest, adapter } = this.#options;
    const normal = (of: Manifest) => of.decision?.normal ?? 'normal';
    const comparison = new ShadowComparison({ active: normal(active.manifest), candidate: normal(manifest) });
    if (!this.#comparable && limits.agreement > 0)
      throw new UpdateRefusalError(
        'update/recipe',
        'reads windows that the active model does not, and its thresholds ask for agreement with that',
      );
    if (!this.#comparable || limits.shadowWindows === 0) return comparison.report(this.#warm);
    this.#thread.toBackground();
    const untilMs = performance.now() + 1000 * limits.shadowSeconds;
    let waiting: { job: WindowJob; decided: string }[] = [];
    active.setTap((job, decided) => {
      if (waiting.length < SHADOW_BATCH && (!adapter || adapter.stream === job.name)) waiting.push({ job, decided });
    });
    try {
      while (comparison.windows < limits.shadowWindows && performance.now() < untilMs) {
        const taken = waiting;
        waiting = [];
        const runMs = taken.length > 0 ? await this.#compare(taken, comparison, signal) : 0;
        await pause(Math.max(10, runMs / DUTY - runMs), signal);
      }
    } finally {
      active.setTap(undefined);
    }
    return comparison.report(this.#warm);
  }

  async stop(): Promise<void> {
    await this.#thread.stop();
  }

  async #compare(
    taken: readonly { job: WindowJob; decided: string }[],
    comparison: ShadowComparison,
    signal: AbortSignal,
  ): Promise<number> {
    const { classes } = this.#options.manifest;
    const runMs = await this.#run(
      taken.map(({ job }) => this.#jobOf(job)),
      signal,
    );
    const { states, models } = this.#thread.results;
    taken.forEach(({ decided }, row) => {
      // Overwritten before it was read: nobody's fault.
      if (states[row] === RESULT.overrun) return;
      // Its back-up spoke for it: then it gave no numbers.
      const answered = states[row] === RESULT.decided && models[row] === MODEL.primary;
      const { probabilities } = this.#thread.answer(row);
      const best = probabilities.indexOf(Math.max(...probabilities));
      comparison.add({ active: decided, candidate: answered ? classes[best] : undefined });
    });
    return runMs;
  }

  /** A live window for the candidate: with the stream's own rows where they fit its base. */
  #jobOf(job: WindowJob): WindowJob {
    const { active, adapter } = this.#options;
    if (!this.#sameBase) return { ...job, adapter: 0, reference: 0 };
    const row = job.stream + 1;
    let digest = adapter ? CANDIDATE : job.adapter > 0 ? active.adapterOf(job.name) : undefined;
    if (digest !== undefined && this.#adapterRows.get(row) !== digest) {
      const bytes = adapter?.bytes ?? active.adapterFile(job.name);
      if (bytes) this.#writeAdapter(row, bytes, digest);
      else digest = undefined;
    }
    const reference = job.reference > 0 ? active.referenceOf(job.name) : undefined;
    if (reference && this.#referenceRows.get(row) !== reference) {
      this.#thread.setReference(row, reference);
      this.#referenceRows.set(row, reference);
    }
    return { ...job, adapter: digest === undefined ? 0 : row, reference: reference ? row : 0 };
  }

  #writeAdapter(row: number, bytes: Uint8Array, digest: string): void {
    const { manifest } = this.#options;
    const flat = readAdapter({ manifest }, bytes, 'adapter');
    this.#thread.setAdapter(row, new Float32Array(bankRow(manifest.adapter, bankLayout(manifest), flat)));
    this.#adapterRows.set(row, digest);
  }

  async #run(jobs: readonly WindowJob[], signal: AbortSignal): Promise<number> {
    signal.throwIfAborted();
    const { runMs, failure } = await untilAborted(
      Promise.race([new Promise<{ runMs: number; failure?: string }>((resolve) => this.#thread.run(jobs, resolve)), this.#died]),
      signal,
    );
    if (failure !== undefined) throw new UpdateRefusalError('update/engine', `the candidate failed on live windows: ${failure}`);
    return runMs;
  }
}

/** Stands for the digest of the adapter on trial. */
const CANDIDATE = 'candidate';

/** A window of the first slot, whatever lies there: the time of a run does not depend on it. */
const SILENT_JOB: WindowJob = {
  stream: 0,
  end: 0,
  name: '',
  epoch: 0,
  endSequence: 0,
  endDeviceUs: 0,
  arrivedMs: 0,
  adapter: 0,
  reference: 0,
  scales: new Float32Array(),
};

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return untilAborted(new Promise<void>((resolve) => setTimeout(resolve, ms)), signal);
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort!);
  }
}
