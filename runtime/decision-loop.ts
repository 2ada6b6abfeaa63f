import type { SampleFrame } from '../firmware-bridge/codec/frame.ts';
import { readManifest } from '../models/bundle/bundle.ts';
import type { Manifest } from '../models/bundle/schema/manifest.ts';
import type { AlarmState } from './contracts/alarm-state.ts';
import type { Diagnosis, OperatorCommand, Status } from './contracts/messages.ts';
import type { KeptAlarm } from './decide/alarm-states.ts';
import { Decisions, type OnCommissioned, type WindowAnswer } from './decide/decisions.ts';
import { diagnose } from './diagnose.ts';
import { AdapterStore } from './io/adapter-store.ts';
import { decisionOptions, memoryOf, readReferences, sameDecisions, sameRecipe, startThread, streamOptions } from './io/bundle-parts.ts';
import type { InferenceThread } from './io/inference-thread.ts';
import { LARGEST_BATCH, MODEL, RESULT } from './io/protocol.ts';
import { ReferenceStore } from './io/reference-store.ts';
import { StreamAdapters } from './io/stream-adapters.ts';
import type { StreamReferences } from './io/stream-references.ts';
import { BatchPlanner } from './stream/batch-planner.ts';
import { type FrameRefusal, StreamGateway, type WindowJob } from './stream/stream-gateway.ts';
import type { StreamMemory } from './stream/stream-memory.ts';

/** Longest that a window is to wait for its answer, as long as the model keeps up. */
const LATENCY_BOUND_MS = 50;

export interface DecisionLoopOptions {
  readonly bundleFolder: string;
  readonly engine: 'onnxruntime' | 'wasm';
  /** Threads inside one run. Default 1. */
  readonly threads?: number;
  /** Most windows that share one run, at most LARGEST_BATCH, which is the default. */
  readonly largestBatch?: number;
  readonly largestStreams: number;
  /**
   * Whether a model that is too slow for the stream's pace gives way to the back-up (default). Not where recordings are played: their pace is the
   * machine's own, and the same windows must be decided alike on every one.
   */
  readonly paced?: boolean;
  /** Folder with inference-worker.js and the .wasm files, as a URL with a closing slash. */
  readonly programs: URL;
  /** Where the machines' references are kept; without it they are forgotten at the end. */
  readonly referencesFolder?: string;
  /** Alarms from before a restart. */
  readonly keptAlarms?: ReadonlyMap<string, KeptAlarm>;
  /** Where streams' adapters are kept, and the files of those that begin with one; without it what is given is forgotten at the end. */
  readonly adapters?: { readonly folder: string; readonly configured?: Readonly<Record<string, string>> };
}

export interface DecisionLoopEvents {
  /** A window was decided. `answer`: what the graph gave for it, valid during the call. */
  onDiagnosis(diagnosis: Diagnosis, job: WindowJob, answer: WindowAnswer): void;
  /** Another bundle decides from now on. */
  onBundle?(): void;
  /** A stream was silent for so long that its slot is free again. */
  onFree?(stream: string): void;
  /** The model failed on a batch of windows. */
  onFailure(failure: string, windows: number): void;
  onReferenceError(error: Error, path?: string): void;
  /** A stream is decided with another adapter from now on, or with the base again. */
  onAdapter?(stream: string): void;
  /** A stream's adapter is not used, or not kept; without it the base decides. */
  onAdapterError?(error: Error, stream: string): void;
  /** The inference thread ended unasked: nothing is decided any more. */
  onExit(error: Error): void;
}

/** What comes and goes with a bundle. */
interface Deciding {
  readonly bundleFolder: string;
  readonly manifest: Manifest;
  readonly inference: InferenceThread;
  readonly decisions: Decisions;
  readonly references: StreamReferences;
  readonly adapters: StreamAdapters;
}

/** A candidate that looks on: told of each window that was decided. */
export type WindowTap = (job: WindowJob, decided: string) => void;

/**
 * Frames in, diagnoses out: rings, windows, batches, the inference thread, decisions and alarms. What the gateway, live, and `tremolo replay`, from
 * recordings, have in common, so that both decide alike. Knows no broker and no port.
 */
export class DecisionLoop {
  readonly #options: DecisionLoopOptions;
  readonly #events: DecisionLoopEvents;
  #deciding: Deciding;
  #memory: StreamMemory;
  #streams: StreamGateway;
  #planner: BatchPlanner;
  #runningSinceMs: number | undefined;
  #onIdle: (() => void)[] = [];
  /** Runs the windows that gather between two runs. */
  #pause: NodeJS.Timeout | undefined;
  /** Called once, between two batches. */
  #atBoundary: (() => void) | undefined;
  #tap: WindowTap | undefined;

  private constructor(options: DecisionLoopOptions, events: DecisionLoopEvents, memory: StreamMemory, deciding: Deciding) {
    this.#options = options;
    this.#planner = planner(options);
    this.#events = events;
    this.#memory = memory;
    this.#deciding = deciding;
    this.#streams = new StreamGateway(streamOptions(deciding.manifest), memory, this.#hooks());
  }

  /** Resolves when the bundle is proved on this machine. @throws BundleRefusal where it is refused */
  static async start(options: DecisionLoopOptions, events: DecisionLoopEvents): Promise<DecisionLoop> {
    const { bundleFolder, largestStreams, referencesFolder } = options;
    const { manifest, digest } = await readManifest(bundleFolder);
    const memory = memoryOf(manifest, largestStreams);
    const inference = await startThread(options, events, bundleFolder, memory, digest);
    const store = referencesFolder === undefined ? undefined : new ReferenceStore(referencesFolder);
    const references = await readReferences(inference, manifest.base, store, events, referencesFolder);
    const adapters = new StreamAdapters(
      inference,
      manifest,
      options.adapters && new AdapterStore(options.adapters.folder, options.adapters.configured),
      (error, stream) => events.onAdapterError?.(error, stream),
    );
    const decisions = new Decisions(
      decisionOptions(manifest, largestStreams),
      (...commissioned) => loop.#commissioned(...commissioned),
      options.keptAlarms,
    );
    const loop = new DecisionLoop(options, events, memory, { bundleFolder, manifest, inference, decisions, references, adapters });
    return loop;
  }

  get manifest(): Manifest {
    return this.#deciding.manifest;
  }

  /** Where the bundle that decides was read. */
  get bundleFolder(): string {
    return this.#deciding.bundleFolder;
  }

  /** Rings of the streams, for a candidate that reads the same windows. */
  get memory(): StreamMemory {
    return this.#memory;
  }

  /** Tells of each decided window, after its diagnosis; one at a time. */
  setTap(tap: WindowTap | undefined): void {
    this.#tap = tap;
  }

  /**
   * Lets another bundle decide, from a batch on: no window is lost, and none is decided twice. Rings, counts and alarms go on; references and adapters too
   * where they fit its base. Where it reads other windows, those that wait are refused as `replaced` and each stream fills its first window anew.
   *
   * Resolves when it decides; until then, and where it is refused, the old one does.
   *
   * @throws BundleRefusal where it is refused, Error where its thread fails
   */
  async swap(bundleFolder: string): Promise<void> {
    const { largestStreams, referencesFolder } = this.#options;
    const { manifest, digest } = await readManifest(bundleFolder);
    const old = this.#deciding;
    const sameWindows = sameRecipe(manifest, old.manifest);
    const memory = sameWindows ? this.#memory : memoryOf(manifest, largestStreams);
    const inference = await startThread(this.#options, this.#events, bundleFolder, memory, digest);
    const sameBase = manifest.base === old.manifest.base;
    const store = referencesFolder === undefined ? undefined : new ReferenceStore(referencesFolder);
    const read = sameBase ? undefined : await readReferences(inference, manifest.base, store, this.#events, referencesFolder);
    await new Promise<void>((resolve) => {
      this.#atBoundary = () => {
        const options = decisionOptions(manifest, largestStreams);
        const onCommissioned: OnCommissioned = (...commissioned) => this.#commissioned(...commissioned);
        const decisions =
          sameDecisions(manifest, old.manifest) && sameBase ? old.decisions : Decisions.after(old.decisions, options, onCommissioned);
        const references = read ?? old.references.movedTo(inference);
        const adapters = old.adapters.movedTo(inference, manifest);
        this.#deciding = { bundleFolder, manifest, inference, decisions, references, adapters };
        this.#planner = planner(this.#options);
        if (sameWindows) {
          this.#streams.forEach((name, slot) => {
            this.#streams.setReference(name, references.open(name, slot));
            this.#streams.setAdapter(name, adapters.open(name, slot));
          });
        } else {
          this.#memory = memory;
          this.#streams = StreamGateway.after(this.#streams, streamOptions(manifest), memory, this.#hooks());
        }
        this.#events.onBundle?.();
        resolve();
      };
      this.#pump();
    });
    await old.inference.stop();
  }

  /** The commissioning reference that a stream's windows are decided with, for a candidate of the same base. */
  referenceOf(stream: string): Float32Array | undefined {
    return this.#deciding.references.of(stream);
  }

  #hooks() {
    return {
      onOpen: (name: string, slot: number) => ({
        reference: this.#deciding.references.open(name, slot),
        adapter: this.#deciding.adapters.open(name, slot),
      }),
      onFree: (name: string) => {
        // First: whoever keeps something of the stream keeps it with the adapter that it has.
        this.#events.onFree?.(name);
        this.#deciding.adapters.free(name);
        this.#deciding.decisions.forget(name);
      },
    };
  }

  #commissioned(name: string, values: Float32Array, windows: number): void {
    this.#deciding.references.commissioned(this.#streams, name, values, windows);
  }

  get framesRefused(): Readonly<Record<FrameRefusal, number>> {
    return this.#streams.framesRefused;
  }

  /** Takes a frame, which may be used again afterwards. @returns why it was refused, or undefined */
  accept(stream: string, frame: SampleFrame, nowMs: number): FrameRefusal | undefined {
    const refusal = this.#streams.accept(stream, frame, nowMs);
    this.#pump();
    return refusal;
  }

  /** Hands an operator's word to a stream. @returns the alarm's state afterwards, undefined where the stream is not known */
  operate(stream: string, command: Exclude<OperatorCommand['command'], 'revertAdapter'>): AlarmState | undefined {
    const { decisions } = this.#deciding;
    if (command !== 'healthy') return decisions[command](stream);
    decisions.vouch(stream);
    return decisions.alarmOf(stream);
  }

  /**
   * Decides a stream's windows that are cut from now on with another adapter, which takes its place between two batches; kept over a restart. One that
   * is refused changes nothing.
   *
   * @param bytes a safetensors file; undefined for what the configuration names, or none
   * @returns SHA-256 of the file that decides now; undefined where the base decides
   * @throws BundleRefusal bundle/tensors, bundle/not-finite, bundle/adapter
   */
  setAdapter(stream: string, bytes: Uint8Array | undefined): string | undefined {
    const digest = this.#deciding.adapters.set(this.#streams, stream, bytes);
    this.#events.onAdapter?.(stream);
    return digest;
  }

  /** All alarms that are not normal: what must outlive a restart. */
  keptAlarms(): ReadonlyMap<string, KeptAlarm> {
    return this.#deciding.decisions.keptAlarms();
  }

  /** SHA-256 of the adapter that a stream is decided with; undefined where the base decides. */
  adapterOf(stream: string): string | undefined {
    return this.#deciding.adapters.digestOf(stream);
  }

  /** Copies the codes of a window [window, channels], for whoever listens to `onDiagnosis`. @returns false where newer samples have overwritten it */
  copyWindow(job: WindowJob, into: Int16Array): boolean {
    return this.#streams.copyWindow(job, into);
  }

  /** The adapter file that a stream has, or would be decided with if it came. */
  keptAdapter(stream: string): Uint8Array | undefined {
    return this.#deciding.adapters.bytesOf(stream);
  }

  /** The adapter file that decides a stream's windows; undefined where the base does. */
  adapterFile(stream: string): Uint8Array | undefined {
    return this.#deciding.adapters.fileOf(stream);
  }

  freeIdle(nowMs: number, idleMs: number): number {
    return this.#streams.freeIdle(nowMs, idleMs);
  }

  /** What a status says of the model and its windows. */
  status(): Pick<Status, 'bundle' | 'engine' | 'running' | 'streams' | 'ledger' | 'dual'> {
    const { manifest, inference, adapters } = this.#deciding;
    return {
      bundle: { name: manifest.name, digest: inference.proof.digest },
      engine: inference.proof.engine,
      running: { adapters: adapters.digests },
      streams: this.#streams.streamCount,
      ledger: this.#streams.ledger(),
      dual: inference.results.dualStatus(),
    };
  }

  /** How long the model has been at work on one batch, milliseconds; 0 while it rests. */
  busyMs(nowMs: number): number {
    return this.#runningSinceMs === undefined ? 0 : nowMs - this.#runningSinceMs;
  }

  /** Windows that wait for the model. */
  get waiting(): number {
    return this.#streams.waiting;
  }

  /** Resolves when no window waits or runs. */
  async idle(): Promise<void> {
    if (!this.#deciding.inference.busy && this.#streams.waiting === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle.push(resolve);
      this.#pump();
    });
  }

  /** Refuses what waits and ends the inference thread. */
  async stop(): Promise<void> {
    clearTimeout(this.#pause);
    this.refuseWaiting();
    await this.#deciding.inference.stop();
    await this.#deciding.adapters.settled();
  }

  /** Resolves when the adapter that a stream was given last, or that it has none, is on disk. @throws Error of the file system where it is not */
  adapterSaved(stream: string): Promise<void> {
    return this.#deciding.adapters.saved(stream);
  }

  /** What waits is refused with the cause `stopped`. */
  refuseWaiting(): void {
    this.#streams.refuseWaiting('stopped');
  }

  #pump(): void {
    if (this.#deciding.inference.busy) return;
    this.#atBoundary?.();
    this.#atBoundary = undefined;
    const { inference } = this.#deciding;
    const { waiting } = this.#streams;
    if (waiting === 0) {
      if (this.#onIdle.length > 0) for (const resolve of this.#onIdle.splice(0)) resolve();
      return;
    }
    const now = performance.now();
    // Where somebody waits for the end, nothing more comes that could share a run.
    const pauseMs = this.#onIdle.length > 0 ? 0 : this.#planner.pauseMs(waiting, now);
    if (pauseMs > 0) {
      this.#pause ??= setTimeout(() => {
        this.#pause = undefined;
        this.#pump();
      }, pauseMs);
      return;
    }
    this.#planner.begin(now);
    const jobs = this.#streams.take(this.#planner.size(waiting, this.#streams.oldestWaitMs(now)));
    if (jobs.length === 0) {
      this.#pump();
      return;
    }
    this.#runningSinceMs = now;
    inference.run(jobs, ({ failure, runMs }) => {
      this.#runningSinceMs = undefined;
      this.#planner.observe(jobs.length, runMs);
      if (failure) this.#events.onFailure(failure, jobs.length);
      // One moment for all: what a batch decides, it decides together.
      const [at, nowMs] = [new Date().toISOString(), performance.now()];
      for (let row = 0; row < jobs.length; row++) {
        const job = jobs[row];
        const state = inference.results.states[row];
        const outcome = failure ? 'failed' : state === RESULT.decided ? 'decided' : state === RESULT.overrun ? 'overrun' : 'notFinite';
        if (outcome === 'decided') this.#decide(job, row, at, nowMs);
        this.#streams.settle(job, outcome);
      }
      this.#pump();
    });
  }

  #decide(job: WindowJob, row: number, at: string, nowMs: number): void {
    const { manifest, inference, decisions } = this.#deciding;
    const answer = inference.answer(row);
    const model = inference.results.models[row] === MODEL.backup ? 'backup' : 'primary';
    const bundle = inference.proof.digest.slice(0, 12);
    const diagnosis = diagnose(job, answer, { classes: manifest.classes, decisions, model, bundle, at, nowMs });
    this.#events.onDiagnosis(diagnosis, job, answer);
    this.#tap?.(job, diagnosis.decision);
  }
}

function planner({ largestBatch = LARGEST_BATCH }: DecisionLoopOptions): BatchPlanner {
  return new BatchPlanner(largestBatch, LATENCY_BOUND_MS);
}
